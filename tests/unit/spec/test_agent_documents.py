"""Agents as people write them: registrations, documents, classes and what is said of them."""

from pathlib import Path

import pytest

import kos_ray as kos
from kos_ray.client.agents import _carrying
from kos_ray.client.declared import SAID
from kos_ray.model.dispatch import Needs
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Eviction
from kos_ray.model.resources import Resources
from kos_ray.model.where import Selector
from kos_ray.spec.agents import agent_form, load_agents, methods_of, split_terms
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.options import checked
from kos_ray.spec.settings import VARIABLE

FORMS = Path(__file__).parents[3] / "configs" / "examples" / "forms"


def loaded(tmp_path: Path, text: str) -> list:
    path = tmp_path / "agents.yaml"
    path.write_text(text, encoding="utf-8")
    return load_agents(path)


def test_the_registration_of_the_document_is_an_agent(tmp_path: Path) -> None:
    text = (FORMS / "registration.json").read_text(encoding="utf-8").replace('"docker"', '"subprocess"')
    (form,) = loaded(tmp_path, text)
    spec = form.lower("default")
    assert spec.command == ("/app/start.sh",)
    assert (spec.type, spec.band, spec.tags) == ("prompt_optimizer", 1, ("llm", "nlp"))
    assert spec.resources == Resources.of({"CPU": 2, "GPU": 1, "memory": 4_000_000_000})
    assert form.kept()["capabilities"] == ("prompt_analysis", "optimization")


@pytest.mark.parametrize("env", ["docker", "systemd", "sandbox"])
def test_what_is_not_built_yet_is_refused_by_name(tmp_path: Path, env: str) -> None:
    with pytest.raises(
        InvalidSpec, match=rf"agents.yaml:2: exec_env: expected actor or subprocess, found {env}: it is"
    ):
        loaded(tmp_path, f"agent_id: a\nexec_env: {env}\nentry_point: /app/start.sh")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: job\nagent_id: a\nentry_point: m:C", "1: kind: expected agent"),
        ("agent_id: a\nentry_point: m:C\nconcurency: 2", 'did you mean "concurrency"'),
        ("- agent_id: a\n  entry_point: m:C\n- agent_id: b\n  entry_point: m:C\n  snapshot_every: -1", "5: "),
        ("agent_id: a\nentry_point: m:C\nhook_timeout: soon", "3: hook_timeout: expected"),
        ("[]", "expected at least one agent"),
        ("[1]", "expected an agent"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        loaded(tmp_path, text)
    assert said in str(caught.value)


def test_a_document_says_what_the_process_has_to_know(tmp_path: Path) -> None:
    text = "kind: agent\nagent_id: a\nentry_point: m:C\ncpu: 0.5\nconcurrency: 3\nhook_timeout: 5s\nmax_crashes: 2\n"
    (form,) = loaded(tmp_path, text + "reschedule_on_crash: false\nlifetime: on_demand\nnamespace: team")
    carries = form.carries()
    assert (carries.name, carries.concurrency, carries.hook_ms, carries.crashes_max, carries.restart) == (
        *("a", 3, 5_000, 2),
        False,
    )
    spec = form.lower("default")
    assert (spec.entry, spec.command, spec.namespace) == ("m:C", (), "team")
    assert spec.resources == Resources.of({"CPU": 0.5})
    assert form.kept()["kind"] == "on_demand"


def test_a_document_says_how_it_takes_part(tmp_path: Path) -> None:
    (form,) = loaded(
        tmp_path,
        "agent_id: a\nentry_point: m:C\nstandby: hot\ntrust: low\nverify_after: 3\nafter: [b]\nidle_sleep: 10m\n"
        "needs: {models: [m], config: {LANG: de}, files: [/data]}",
    )
    kept = form.kept()
    assert (kept["standby"], kept["trust"], kept["verify_after"], kept["after"]) == ("hot", "low", 3, ("b",))
    assert kept["idle_sleep_ms"] == 600_000
    assert kept["requires"] == Needs(models=("m",), config=(("LANG", "de"),), files=("/data",))
    assert (form.carries().config, form.carries().files) == ((("LANG", "de"),), ("/data",))
    spec = _carrying(form.lower("default"), form)
    assert spec.where.labels == (Selector("model.m"),)
    assert spec.timeout_ms == 0


def test_only_an_agent_of_a_class_has_a_state_that_is_saved_when_it_has_to_go(tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text("")
    entries = ("m:C", "watch.py")
    text = "".join(f"- {{agent_id: a{number}, entry_point: {said}}}\n" for number, said in enumerate(entries))
    found = [_carrying(form.lower("default"), form).eviction for form in loaded(tmp_path, text)]
    assert found == [Eviction.CHECKPOINT, Eviction.REQUEUE]


def test_what_a_message_begins_does_not_stay_for_ever(tmp_path: Path) -> None:
    lifetimes = ("lifetime: on_demand", "standby: cold", "lifetime: ephemeral", "lifetime: persistent")
    text = "".join(f"- {{agent_id: a{number}, entry_point: m:C, {said}}}\n" for number, said in enumerate(lifetimes))
    forms = loaded(tmp_path, text)
    assert [form.kept()["idle_sleep_ms"] for form in forms] == [60_000, 60_000, 0, 0]
    assert [form.carries().restart for form in forms] == [True, True, False, True]


def test_an_ephemeral_agent_is_limited_by_the_settings(tmp_path: Path) -> None:
    (form,) = loaded(tmp_path, "agent_id: a\nentry_point: m:C\nlifetime: ephemeral")
    assert form.limit_ms == checked({"agent": True}).timeout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lifetime: cascading", "expected parent (an agent) with lifetime cascading"),
        ("after: [a]", "after: expected other agents, found a itself"),
        ("standby: lukewarm", "standby: expected"),
        ("trust: full", "trust: expected"),
        ("needs: {model: x}", 'did you mean "models"'),
    ],
)
def test_what_cannot_take_part_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        loaded(tmp_path, f"agent_id: a\nentry_point: m:C\n{text}")
    assert said in str(caught.value)


def test_among_jobs_a_registration_says_where_it_goes() -> None:
    text = (FORMS / "registration.json").read_text(encoding="utf-8")
    with pytest.raises(InvalidSpec, match="`kos agent register FILE` takes an agent"):
        lower([load_text(text, "x.json")])


def test_hooks_and_hidden_methods_are_not_called() -> None:
    class Some:
        def pre_start(self) -> None: ...
        def snapshot(self) -> None: ...
        def _own(self) -> None: ...
        def one(self) -> None: ...
        async def two(self) -> None: ...

    assert methods_of(Some) == ("one", "two")
    with pytest.raises(InvalidSpec, match="at least one public method"):
        methods_of(type("Empty", (), {}))


def test_what_is_said_of_a_class_stays_with_it() -> None:
    @kos.agent(name="c", concurrency=2, resources={"cpu": 0.1}, tags=("x",))
    class Some:
        pass

    terms, options = split_terms(getattr(Some, SAID))
    assert terms == {"concurrency": 2}
    assert options == {"name": "c", "resources": {"cpu": 0.1}, "tags": ("x",)}
    assert isinstance(Some, type)
    with pytest.raises(TypeError, match="expected a class"):
        kos.agent(lambda: None)


def test_terms_in_python_are_checked_as_documents_are() -> None:
    with pytest.raises(InvalidSpec, match="concurrency: expected"):
        agent_form({"agent_id": "a", "entry_point": "m:C", "concurrency": 0})


def test_a_document_says_when_it_saves_and_how_long_its_start_may_take(tmp_path: Path) -> None:
    text = "agent_id: a\nentry_point: m:C\nsnapshot_interval: 10m\nsnapshots_kept: 3\nstart_timeout: 5s\n"
    text += "heartbeat_timeout: 2s\n"
    (form,) = loaded(tmp_path, text)
    assert (form.carries().interval_ms, form.carries().start_ms) == (600_000, 5_000)
    assert form.carries().silent_ms == 2_000
    assert form.kept()["snapshots_kept"] == 3
    (plain,) = loaded(tmp_path, "agent_id: a\nentry_point: m:C\n")
    assert (plain.carries().interval_ms, plain.carries().start_ms) == (0, 0)
    assert plain.kept()["snapshots_kept"] == 20


def test_where_it_does_not_say_its_start_is_limited_by_the_settings_and_its_life_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("agent_timeout_default: 90\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine.yaml"))
    text = "- {agent_id: a, entry_point: 'm:C'}\n- {agent_id: b, entry_point: 'm:C', start_timeout: 0}\n"
    said, free = loaded(tmp_path, text)
    assert [form.carries().start_ms for form in (said, free)] == [90_000, 0]
    assert [_carrying(form.lower("default"), form).timeout_ms for form in (said, free)] == [0, 0]
