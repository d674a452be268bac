"""Every way of writing a job: what it means, what runs today, and what is refused by name."""

import importlib
import io
import json
import pickle
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kos_ray.model import payload
from kos_ray.model.dispatch import To
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
RUNS = (
    "job.json",
    "task-once.yaml",
    "task-reaction.yaml",
    "task-stream.yaml",
    *(f"unified-{kind}.json" for kind in NINE),
)
#: what is not supported yet, by example
REFUSED = {
    "handoff.json": ("type: job_handoff", "job_id", "receiver", "payload_hash", "signature"),
    "task-external.yaml": ("type: external", "requires_trust"),
    "klp-task.json": ("kind", "origin", "target", "signature"),
    "registration.json": (
        "agent_id in a document of jobs: `kos agent register FILE` takes an agent",
        "capabilities",
        "exec_env",
    ),
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


def arguments(draft: Draft) -> Any:
    data = payload.open_payload(draft.args[0])
    assert isinstance(data, bytes)
    return pickle.load(io.BytesIO(data))


def call(draft: Draft) -> Any:
    """What a worker would do, here: import, unpickle, call."""
    module, _, name = draft.spec.entry.partition(":")
    args, kwargs = arguments(draft)
    return getattr(importlib.import_module(module), name)(*args, **kwargs)


def test_every_example_is_listed_here() -> None:
    assert {path.name for path in FORMS.iterdir()} - {"README.md"} == {
        *RUNS,
        *REFUSED,
        "task-cron.json",
        "job-to-receiver.json",
    }


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
    text = "- run: fine\n- {id: b, type: computation, data: {}, scope: hybrid}"
    with pytest.raises(InvalidSpec, match=r"x.yaml:2: not supported yet: scope: hybrid$"):
        read(text)


def test_a_job_with_a_receiver_or_a_role_is_a_message_to_its_method_of_that_type() -> None:
    text = (Path(__file__).parents[2] / "acceptance" / "documents").glob("000*")
    sample = _sample(next(text).read_text(encoding="utf-8"), '"sender"').replace("{ ... }", '{"width": 3}')
    draft = read(sample)
    assert (draft.spec.receiver, draft.spec.entry, draft.spec.to) == ("agentB", "image_generation", None)
    assert not draft.spec.resources.amounts
    assert list(arguments(draft)[0]) == [{"width": 3}]
    named = read("{type: tighten, payload: x, role: LLMService}").spec
    assert (named.to, named.entry, named.type) == (To(role="LLMService"), "tighten", "LLMService.tighten")
    mapped = read(
        "type: tighten\npayload: x\nreceiver: {role: writer, capabilities: [german], fallback: [helper]}"
    ).spec
    assert mapped.to == To(role="writer", capabilities=("german",), fallback=("helper",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("to: {}\nmethod: work", "to: expected a role, capabilities or skills"),
        ("to: {rol: x}\nmethod: work", "expected a known field, found 'rol'"),
        ("to: critic", "expected to (an agent) and method, found to alone"),
        ("to: critic\nmethod: work\nresources: {cpu: 2}", "resources: expected it where the agent is registered"),
        ("to: critic\nmethod: work\nrun: ls", "run: expected it where the agent is registered"),
    ],
)
def test_a_message_says_whom_it_is_for_and_nothing_that_is_its_agents(text: str, told: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read(text)
    assert told in str(refused.value)


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
    samples = [
        _sample(texts["000"], "job_handoff"),
        _sample(texts["001"], "klp/task")
        .replace("{ ...task object... }", '{"type": "once", "action": ACTION}')
        .replace("ACTION", '{"module": "m", "function": "f"}'),
        _sample(texts["002"], "agent_id"),
    ]
    for sample in samples:
        document = load_text(sample, "sample.json", SETTINGS)
        with pytest.raises(InvalidSpec, match="not supported yet"):
            lower([document])


def test_the_documents_task_is_a_schedule_as_it_is_printed() -> None:
    text = (Path(__file__).parents[2] / "acceptance" / "documents").glob("001*")
    task = re.sub(r"  +//.*", "", _sample(next(text).read_text(encoding="utf-8"), '"run_at"'))
    draft = read(re.sub(r'"cron" \| .*"', '"cron"', task))
    assert (draft.name, draft.spec.band, draft.spec.tags) == ("task-f3e1", 3, ("reminder", "calendar"))
    assert draft.after == (("task-a", After.OK), ("task-b", After.OK))
    assert draft.schedule is not None
    assert draft.schedule.when == ("0 */6 * * *",)
    assert draft.schedule.terms()["start"] == datetime(2025, 6, 30, 12, tzinfo=UTC)


def test_reactions_and_streams_are_for_events() -> None:
    """By default those that have the task's name; a stream takes them one after another."""
    task = "{type: %s, id: t, action: {module: a, function: b}%s}"
    for kind, overlap in (("reaction", "allow_all"), ("stream", "buffer_all")):
        for more, events in (("", ("t",)), (", on: [file.*, x]", ("file.*", "x"))):
            found = read(task % (kind, more)).schedule
            assert found is not None
            assert (found.on, found.overlap, found.when) == (events, overlap, ())
    with pytest.raises(InvalidSpec, match=r"x.yaml:1: type: expected on"):
        read("{type: reaction, action: {module: a, function: b}}")
    with pytest.raises(InvalidSpec, match="expected type reaction or stream with on"):
        read(task % ("once", ", on: [x]"))


def test_a_task_of_type_once_runs_at_its_time_and_now_where_that_is_over() -> None:
    task = "{id: t, type: once, action: {module: a, function: b}, run_at: %s}"
    later = read(task % "2999-01-01T00:00:00Z").schedule
    assert later is not None
    assert later.when == ("2999-01-01T00:00:00+00:00",)
    assert read(task % "2025-06-30T12:00:00Z").schedule is None


def _sample(text: str, word: str) -> str:
    blocks = [block.partition("```")[0] for block in text.split("```json\n")[1:]]
    return next(block for block in blocks if word in block)


@pytest.mark.parametrize("kind", NINE)
def test_each_of_the_nine_types_has_a_handler(kind: str) -> None:
    assert read(f"{{type: {kind}, data: {{}}, scope: local}}").spec.type == kind


@pytest.mark.parametrize(("weight", "band"), [(100, 0), (75, 1), (50, 3), (25, 4)])
def test_weights_are_bands(weight: int, band: int) -> None:
    assert load_text(f"run: x\npriority: {weight}", settings=Settings()).jobs[0].priority == band
