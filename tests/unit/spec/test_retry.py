"""`retry` as a number and as a mapping."""

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import MoreMemory
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.options import checked


def _spec(retry: str):
    (draft,) = lower([load_text(f"run: x\nretry: {retry}")])
    return draft.spec.retries, draft.spec.not_on, draft.spec.elapsed_ms_max


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", (2, (), 0)),
        ("{times: 2}", (2, (), 0)),
        (
            "{times: 3, not_on: [ValueError, mine.Broken], max_elapsed: 10m}",
            (3, ("ValueError", "mine.Broken"), 600_000),
        ),
        ("{not_on: KeyError}", (0, ("KeyError",), 0)),
        ("{}", (0, (), 0)),
    ],
)
def test_a_number_or_a_mapping(text, expected):
    assert _spec(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("-1", "2: retry: expected a number of retries from 0 to"),
        ("{times: x}", "2: retry: expected a number of retries from 0 to"),
        ("{tims: 2}", "found 'tims'; did you mean \"times\"?"),
        ("{not_on: [1]}", "the class of an exception"),
        ("{not_on: [a b]}", "the class of an exception"),
        ("{max_elapsed: soon}", "retry: expected a time"),
        ("{times: 1, on_oom: 2}", "retry: expected a mapping of memory_factor and memory_max"),
        ("{times: 1, on_oom: {memory_facto: 2}}", "found 'memory_facto'; did you mean \"memory_factor\"?"),
        ("{times: 1, on_oom: {memory_factor: 1}}", "retry: expected a number from 1.001 to 100"),
        ("{times: 1, on_oom: {memory_max: lots}}", "retry: expected"),
        ("{on_oom: {memory_factor: 2}}", "on_oom: expected retries (times), found none"),
        ("{times: 1, on_oom: {}}", "expected memory under resources with on_oom"),
        (
            "{times: 1, on_oom: {}}\nresources: {memory: 1GiB}\ncount: 2\ngang: 2",
            "expected no on_oom with a gang, whose members stay alike",
        ),
    ],
)
def test_what_it_cannot_be(text, told):
    with pytest.raises(InvalidSpec) as error:
        _spec(text)
    assert told in str(error.value)


def test_more_memory_and_a_queue_timeout():
    text = (
        "run: x\nresources: {memory: 1GiB}\nqueue_timeout: 10m\n"
        "retry: {times: 2, on_oom: {memory_factor: 1.5, memory_max: 8GiB}}"
    )
    (draft,) = lower([load_text(text)])
    assert draft.spec.on_oom == MoreMemory(thousandths=1_500, most=8 * 2**30)
    assert draft.spec.queue_ms == 600_000
    found = checked({"retry": {"times": 1, "on_oom": {}}, "resources": {"memory": "1GiB"}}).retry.on_oom
    assert found == MoreMemory(thousandths=2_000, most=0)


def test_python_says_the_same():
    assert checked({"retry": {"times": 1, "not_on": ["A"]}}).retry.not_on == ("A",)
    with pytest.raises(InvalidSpec, match="expected retry 0 with at_most_once"):
        checked({"retry": {"times": 1}, "guarantee": "at_most_once"})


def test_a_heartbeat_timeout_is_for_functions():
    (draft,) = lower([load_text("entry: module:function\nheartbeat_timeout: 30s")])
    assert draft.spec.heartbeat_ms == 30_000
    with pytest.raises(InvalidSpec) as error:
        lower([load_text("run: x\nheartbeat_timeout: 30s")])
    assert "expected no heartbeat_timeout for a command" in str(error.value)
