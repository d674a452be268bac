"""`retry` as a number and as a mapping."""

import pytest

from kos_ray.model.errors import InvalidSpec
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
    ],
)
def test_what_it_cannot_be(text, told):
    with pytest.raises(InvalidSpec) as error:
        _spec(text)
    assert told in str(error.value)


def test_python_says_the_same():
    assert checked({"retry": {"times": 1, "not_on": ["A"]}}).retry.not_on == ("A",)
    with pytest.raises(InvalidSpec, match="expected retry 0 with at_most_once"):
        checked({"retry": {"times": 1}, "guarantee": "at_most_once"})
