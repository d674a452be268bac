"""Settings files: what acts, what is only checked, what is refused."""

from pathlib import Path

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.settings import VARIABLE, load_settings, parse_settings

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize("name", ["scheduler.yaml", "scheduler_config.yaml", "examples/queue-redis.yaml"])
def test_settings_files_are_those_of_the_documents(name: str) -> None:
    folder = CONFIGS.parent / "tests" / "acceptance" / "documents"
    blocks = [path.read_text(encoding="utf-8") for path in folder.iterdir()]
    content = (CONFIGS / name).read_text(encoding="utf-8")
    assert any(f"```yaml\n{content}```" in block for block in blocks)


def test_scheduler_yaml_as_it_stands() -> None:
    found = load_settings(CONFIGS / "scheduler.yaml")
    assert found.weights == {100: 0, 75: 1, 50: 3, 25: 4}
    assert (found.timeout_ms, found.max_retry) == (90_000, 5)
    assert found.not_yet == ()
    assert found.scheduling["policy"] == {"queue": "redis", "heartbeat_us": 5_000_000, "telemetry": True}


def test_scheduler_config_yaml_as_it_stands() -> None:
    found = load_settings(CONFIGS / "scheduler_config.yaml")
    assert found.not_yet == ()
    assert found.agent_timeout_ms == 600_000
    assert found.scheduling["policy"] == {
        "agents_max": 12,
        "discipline": 0,
        "plugin": "",
        "heartbeat_us": 5_000_000,
        "agents_give_way": True,
        "memory_share": 850,
        "log_days": 30,
        "agents_restart": True,
    }


def test_the_queue_of_the_other_file_acts_later() -> None:
    assert load_settings(CONFIGS / "examples" / "queue-redis.yaml").not_yet == ("queue",)


def test_users_edit_the_weights() -> None:
    found = parse_settings("priorities: {critical: 9000, high: 10, background: 7}")
    assert load_text("run: x\npriority: 9000", settings=found).jobs[0].priority == 0
    assert load_text("run: x\npriority: 7", settings=found).jobs[0].priority == 5
    with pytest.raises(InvalidSpec, match="one of the weights 9000, 10, 7, found 75"):
        load_text("run: x\npriority: 75", settings=found)


def test_job_timeout_default_is_for_jobs_that_name_none() -> None:
    found = parse_settings("job_timeout_default: 90")
    assert load_text("run: x", settings=found).jobs[0].timeout == 90_000
    assert load_text("run: x\ntimeout: 0", settings=found).jobs[0].timeout == 0
    assert load_text("run: x\ntimeout: 2m", settings=found).jobs[0].timeout == 120_000


def test_job_timeout_default_is_for_one_attempt() -> None:
    """Each attempt may take so long, however many there are: the agent counts from the entry of each."""
    found = parse_settings("job_timeout_default: 90")
    spec = lower([load_text("{run: x, retry: 2}", settings=found)])[0].spec
    assert (spec.timeout_ms, spec.retries) == (90_000, 2)


def test_agent_timeout_default_is_for_agents_that_name_none() -> None:
    found = parse_settings("job_timeout_default: 90\nagent_timeout_default: 600")
    assert load_text("{run: x, agent: true}", settings=found).jobs[0].timeout == 600_000
    assert load_text("{timeout: 5, run: x, agent: true}", settings=found).jobs[0].timeout == 5_000
    assert load_text("run: x", settings=found).jobs[0].timeout == 90_000
    alone = parse_settings("job_timeout_default: 90")
    assert load_text("{run: x, agent: true}", settings=alone).jobs[0].timeout == 90_000


def test_max_retry_is_the_most_that_a_job_may_ask_for() -> None:
    found = parse_settings("max_retry: 5\nretry_backoff: exponential")
    assert load_text("run: x\nretry: 5", settings=found).jobs[0].retry.times == 5
    with pytest.raises(InvalidSpec, match=r"expected at most 5 \(max_retry of the settings\), found 6"):
        load_text("run: x\nretry: 6", settings=found)


def test_the_environment_names_a_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('handlers: {shout: "m:f"}\nqueue: {backend: redis}\n')
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.warns(UserWarning, match="not supported yet: queue"):
        (draft,) = lower([load_text("{type: shout, payload: hello}")])
    assert draft.spec.entry == "m:f"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent.yaml"))
    with pytest.raises(InvalidSpec, match="cannot be read"):
        load_text("run: x")


def test_a_handler_may_be_a_command() -> None:
    found = parse_settings('handlers: {a: "m:f", b: [prog, x], c: "echo hi"}')
    assert found.handlers == {"a": "m:f", "b": ("prog", "x"), "c": ("sh", "-c", "echo hi")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml:1: expected a mapping of settings, found nothing"),
        ("- a", "expected a mapping of settings, found a list of 1"),
        ("max_retri: 3", 'did you mean "max_retry"?'),
        ("retry_backoff: linear", "expected exponential, found 'linear'"),
        ("max_retry: many", "expected a whole number from 0 to 1000, found 'many'"),
        ("job_timeout_default: soon", "expected a time"),
        ("default_queue: kafka", "expected one of sqlite, redis, rabbitmq, nats, zeromq, found 'kafka'"),
        ("telemetry: 1", "expected true or false, found 1"),
        ("priorities: [1]", "expected a mapping of priorities"),
        ("priorities: {hihg: 10}", 'did you mean "high"?'),
        ("priorities: {high: 3}", "expected a weight from 6"),
        ("priorities: {high: 10, low: 10}", "expected a weight of its own"),
        ("priorities: {high: 10, low: 20}", "expected heavier weights for more urgent bands"),
        ("handlers: [a]", "expected a mapping of job types"),
        ("handlers: {a: 3}", 'a: a handler is "module:function" or a command'),
        ("handlers: {'a b': x}", "found 'a b'"),
        ("queue: {backend: redis, port: 0}", "queue.port: expected a port from 1 to 65535"),
        ("queue: {host: x}", "expected the field 'backend'"),
        ("queue: {backend: redis, hots: x}", 'did you mean "host"?'),
        ("queue: {backend: redis, host: 'a b'}", "expected a host"),
        ("max_memory_usage: 850%", "expected a share such as 85%"),
        ("max_memory_usage: much", "expected a share such as 85%"),
        ("scheduler_mode: random", "expected one of priority, fifo"),
        ("log_retention_days: -1", "from 0 to 36500, found -1"),
        ("max_concurrent_agents: 0", "found 0"),
    ],
)
def test_malformed_settings(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_settings(text, "s.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("s.yaml:1: ")
