"""Every way of writing a job: what it means, what runs today, and what is refused by name."""

import importlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from kos_ray.model import payload
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After
from kos_ray.spec.forms import PAYLOAD
from kos_ray.spec.load import load_file, load_text
from kos_ray.spec.lower import Draft, lower
from kos_ray.spec.settings import Settings, load_settings

EXAMPLES = Path(__file__).parents[3] / "configs" / "examples"
FORMS = EXAMPLES / "forms"
SETTINGS = load_settings(EXAMPLES / "handlers.yaml")
NINE = (
    "download",
    "scrape",
    "file-process",
    "agent-task",
    "research",
    "computation",
    "data-analysis",
    "code-review",
    "testing",
)
RUNS = ("job.json", "task-once.yaml", *(f"unified-{kind}.json" for kind in NINE))
#: what is not supported yet, by example
REFUSED = {
    "job-to-receiver.json": ("receiver",),
    "handoff.json": ("type: job_handoff", "job_id", "receiver", "payload_hash", "signature"),
    "task-cron.json": ("type: cron", "run_at", "repeat"),
    "task-stream.yaml": ("type: stream",),
    "task-reaction.yaml": ("type: reaction",),
    "task-external.yaml": ("type: external", "requires_trust"),
    "klp-task.json": ("kind", "origin", "target", "signature"),
    "registration.json": ("agent_id", "capabilities", "exec_env"),
    "unified-hybrid.json": ("scope: hybrid",),
    "unified-network.json": (
        "scope: network",
        "requirements.capabilities",
        "requirements.security",
        "requirements.reputation",
        "network.issuer",
        "network.signature",
        "network.ttl",
        "network.maxHops",
        "network.reward",
    ),
}


def read(text: str, settings: Settings = SETTINGS) -> Draft:
    return lower([load_text(text, "x.yaml", settings)])[0]


def call(draft: Draft) -> Any:
    """What a worker would do, here: import, unpickle, call."""
    module, _, name = draft.spec.entry.partition(":")
    data = payload.open_payload(draft.args[0])
    assert isinstance(data, bytes)
    args, kwargs = pickle.load(io.BytesIO(data))
    return getattr(importlib.import_module(module), name)(*args, **kwargs)


def test_every_example_is_listed_here() -> None:
    assert {path.name for path in FORMS.iterdir()} - {"README.md"} == {*RUNS, *REFUSED}


@pytest.mark.parametrize("name", RUNS)
def test_what_acts_is_lowered_and_its_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (draft,) = lower([load_file(FORMS / name, SETTINGS)])
    assert draft.name
    assert draft.spec.timeout_ms in (90_000, 120_000)
    assert call(draft) is not None


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_act_yet_is_valid_and_refused_by_name(name: str) -> None:
    document = load_file(FORMS / name, SETTINGS)
    with pytest.raises(InvalidSpec) as refused:
        lower([document])
    lines = str(refused.value).splitlines()
    assert [line.partition("not supported yet: ")[2] for line in lines] == list(REFUSED[name])
    assert all(line.startswith(f"{FORMS / name}:") for line in lines)


def test_each_wish_is_found_on_its_line() -> None:
    text = "type: computation\nscope: network\ndata: {expression: 1}\nnetwork:\n  ttl: 60\n  maxHops: 2\n"
    with pytest.raises(InvalidSpec) as refused:
        lower([load_text(text, "x.yaml", SETTINGS)])
    assert str(refused.value).splitlines() == [
        "x.yaml:2: not supported yet: scope: network",
        "x.yaml:5: not supported yet: network.ttl",
        "x.yaml:6: not supported yet: network.maxHops",
    ]


def test_one_wish_refuses_the_whole_document() -> None:
    text = "- run: fine\n- {id: b, type: computation, payload: {}, role: LLMService}"
    with pytest.raises(InvalidSpec, match=r"x.yaml:2: not supported yet: role$"):
        read(text)


def test_a_payload_is_the_argument_of_its_handler() -> None:
    draft = read('{type: computation, payload: {expression: "1 + 1"}, id: sum, sender: agentA, tags: [x]}')
    assert (draft.spec.type, draft.spec.entry) == ("computation", "configs.examples.handlers:computation")
    assert draft.spec.tags == ("x", "sender:agentA")
    assert call(draft) == 2


def test_a_payload_may_hold_a_result() -> None:
    draft = read("{type: computation, payload: {expression: {from: a}}}")
    assert draft.inputs == ("a",)
    assert draft.after == (("a", After.OK),)


def test_dependencies_of_a_job_are_its_parents() -> None:
    draft = read("{type: computation, payload: {}, dependencies: [preprocess-xyz], retry: 3, timeout: 120}")
    assert draft.after == (("preprocess-xyz", After.OK),)
    assert (draft.spec.retries, draft.spec.timeout_ms) == (3, 120_000)


def test_a_command_finds_the_payload_in_its_environment() -> None:
    draft = read("{type: notify, payload: {who: anna, n: [1]}, env: {A: b}}")
    assert draft.spec.command[:2] == ("sh", "-c")
    assert json.loads(dict(draft.spec.env)[PAYLOAD]) == {"who": "anna", "n": [1]}
    assert dict(draft.spec.env)["A"] == "b"
    with pytest.raises(InvalidSpec, match=r"payload: expected no \{from: job\}"):
        read("{type: notify, payload: {who: {from: a}}}")
    with pytest.raises(InvalidSpec, match="expected at most 100000 bytes"):
        read("{type: notify, payload: " + "x" * 100_001 + "}")


def test_a_job_without_payload_gives_its_handler_an_empty_one() -> None:
    draft = read("type: computation")
    data = payload.open_payload(draft.args[0])
    assert isinstance(data, bytes)
    assert pickle.loads(data) == (({},), {})


def test_a_task_calls_its_action() -> None:
    draft = read("{type: once, action: {module: a.b, function: c.d, args: [1, {from: p}]}, priority: 5}")
    assert (draft.spec.entry, draft.spec.type, draft.spec.band) == ("a.b:c.d", "c.d", 5)
    assert draft.inputs == ("p",)


def test_a_unified_job_holds_what_it_requires() -> None:
    text = "{type: computation, data: {}, created: 2025-01-30T09:00:00Z, requirements: {resources: {gpu: 1}}}"
    spec = read(text).spec
    assert spec.resources.as_units() == {"CPU": 1, "GPU": 1}
    assert spec.tags == ("created:2025-01-30T09:00:00+00:00",)


def test_forms_stand_together_in_a_workflow() -> None:
    document = load_text(
        """
        name: w
        jobs:
          - {id: a, run: "true"}
          - {id: b, type: computation, payload: {expression: {from: a}}}
          - {id: c, type: once, action: {module: m, function: f, args: [{from: b}]}}
          - {id: d, type: testing, scope: local, data: {source: ""}, dependencies: [c]}
        """,
        settings=SETTINGS,
    )
    assert [(draft.name, draft.inputs) for draft in lower([document])] == [
        ("w/a", ()),
        ("w/b", ("w/a",)),
        ("w/c", ("w/b",)),
        ("w/d", ()),
    ]


def test_documents_as_they_stand_are_valid() -> None:
    """The samples of the documents, with what they leave out (`...`) filled in."""
    folder = Path(__file__).parents[2] / "acceptance" / "documents"
    texts = {path.name[:3]: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    task = _sample(texts["001"], '"run_at"').replace('"cron" | "once" | "stream" | "reaction" | "external"', '"cron"')
    task = task.replace("  // optional: cron expression", "").replace("   // 0 = critical, 5 = low", "")
    samples = [
        _sample(texts["000"], '"sender"').replace("{ ... }", "{}"),
        _sample(texts["000"], "job_handoff"),
        task.replace("  // 0 = critical, 5 = low", ""),
        _sample(texts["001"], "klp/task")
        .replace("{ ...task object... }", '{"type": "once", "action": ACTION}')
        .replace("ACTION", '{"module": "m", "function": "f"}'),
        _sample(texts["002"], "agent_id"),
    ]
    for sample in samples:
        document = load_text(sample, "sample.json", SETTINGS)
        with pytest.raises(InvalidSpec, match="not supported yet"):
            lower([document])


def _sample(text: str, word: str) -> str:
    blocks = [block.partition("```")[0] for block in text.split("```json\n")[1:]]
    return next(block for block in blocks if word in block)


@pytest.mark.parametrize("kind", NINE)
def test_each_of_the_nine_types_has_a_handler(kind: str) -> None:
    assert read(f"{{type: {kind}, data: {{}}, scope: local}}").spec.type == kind


@pytest.mark.parametrize(("weight", "band"), [(100, 0), (75, 1), (50, 3), (25, 4)])
def test_weights_are_bands(weight: int, band: int) -> None:
    assert load_text(f"run: x\npriority: {weight}", settings=Settings()).jobs[0].priority == band
