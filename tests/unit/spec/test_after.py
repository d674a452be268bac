"""What people write under `after`: names, kinds, rules, lines, Slurm's text; and what is said of what is wrong."""

from typing import Any

import pytest

from kos_ray.client.calls import Call, conditions
from kos_ray.model.dependency import Conditions, Rule
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After, Children
from kos_ray.spec.after import parse_conditions
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from kos_ray.spec.schema import JobSpec

OK, ANY, NOT_OK, STARTED = After.OK, After.ANY, After.NOT_OK, After.STARTED


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a", Conditions(parents=(("a", OK),))),
        (["a", "afterok:x"], Conditions(parents=(("a", OK), ("afterok:x", OK)))),
        ({"started": "a", "corr": ["b"]}, Conditions(parents=(("a", STARTED), ("b", After.CORR)))),
        ("afterok:a:b,afterany:c", Conditions(parents=(("a", OK), ("b", OK), ("c", ANY)))),
        ("afterok:a?afternotok:b", Conditions(parents=(("a", OK), ("b", NOT_OK)), rule=Rule.ONE_MET)),
        ("after:a,singleton", Conditions(parents=(("a", STARTED),), by_type=True)),
        ({"rule": "one_success", "of": ["a"]}, Conditions(parents=(("a", ANY),), rule=Rule.ONE_SUCCESS)),
        ({"rule": "one_met", "ok": "a", "any": "b"}, Conditions(parents=(("a", OK), ("b", ANY)), rule=Rule.ONE_MET)),
        (
            {"rule": "all_done_setup_success", "setup": "s", "of": "a"},
            Conditions(parents=(("s", OK), ("a", ANY)), rule=Rule.ALL_DONE_SETUP_SUCCESS),
        ),
        ({"singleton": "db"}, Conditions(singleton="db")),
        ({"singleton": False}, Conditions()),
        ([], Conditions()),
    ],
)
def test_what_is_written_is_read(written: Any, expected: Conditions) -> None:
    assert parse_conditions(written) == expected
    assert conditions(written) == expected


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"okk": ["a"]}, "found 'okk'; did you mean \"ok\"?"),
        ({"rule": "one_sucess", "of": ["a"]}, 'did you mean "one_success"?'),
        ({"rule": "all_done", "ok": ["a"]}, "expected jobs under of with the rule all_done, found ok"),
        ({"of": ["a"]}, "with no rule, found of"),
        ({"singleton": 3}, "expected true, or a key, under singleton"),
        ({"ok": ["a"], "any": ["a"]}, "expected every job once"),
        ("afterok:a,afterok:b?afterok:c", "expected either , (all of them) or ? (one of them)"),
        ("afterokk:b", 'did you mean "afterok"?'),
        ("afterok:", "expected job names behind afterok:"),
        ("after:a+5", "expected no delay behind after:"),
        (3, "expected a list of job names, a mapping of ok, any"),
    ],
)
def test_what_is_wrong_is_said(written: Any, words: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_conditions(written)
    assert words in str(caught.value)
    if written != 3:
        with pytest.raises(InvalidSpec):
            conditions(written)


def test_a_document_says_all_of_it() -> None:
    text = """
- {id: a, run: [x], count: 3, at_most: 2, max_failures: 1, children: wait}
- {id: b, run: [x], count: 3, after: {corr: a, singleton: true}, type: load}
- {id: c, run: [x], after: "afterok:a?afternotok:b"}
"""
    a, b, c = lower([load_text(text)])
    assert (a.at_most, a.max_failures, a.spec.children) == (2, 1, Children.WAIT)
    assert (b.after, b.singleton) == ((("a", After.CORR),), "load")
    assert (c.after, c.rule) == ((("a", OK), ("b", NOT_OK)), Rule.ONE_MET)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{run: [x], at_most: 2}", "expected at_most of an array only"),
        ("{run: [x], count: 2, max_failures: 0}", "expected a number of items from 1"),
        ("{run: [x], children: cancell}", 'did you mean "cancel"?'),
        ("{entry: 'm:f', args: [{from: p}], after: {rule: all_done, of: [p]}}", "expected ok for 'p'"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load_text(text)
    assert words in str(caught.value)


def test_a_call_and_a_schema_have_the_same_words() -> None:
    assert JobSpec.model_validate({"run": ["x"], "after": "afterany:p"}).parents == (("p", ANY),)
    assert Call(print, after={"rule": "all_done", "of": ["p"]}).after
