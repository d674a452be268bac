"""What is refused, in what words, and that nothing is left of it."""

from dataclasses import replace
from typing import Any

import pytest
from engine_build import SPEC, Hands, array

from kos_ray.model.dependency import Rule
from kos_ray.model.errors import Refused
from kos_ray.model.events import CancelRequested
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import After, Backoff, JobState, Spec
from kos_ray.model.protocol import Accepted, Array, Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": "3.9"}, "packed by Python 3.9, the cluster runs Python 3.11"),
        ({"band": 6}, "band: expected 0 to 5, found 6"),
        ({"retries": 1001}, "retries: expected 0 to 1000, found 1001"),
        ({"entry": ""}, "needs a function, an entry point or a command"),
        ({"timeout_ms": -1}, "timeout: expected 0 or more milliseconds, found -1"),
        ({"backoff": Backoff(factor=1e9)}, "a factor of 1 to 100"),
        ({"backoff": Backoff(first_ms=-1)}, "pauses of 0 or more"),
        ({"backoff": Backoff(jitter=2.0)}, "a jitter of 0 to 1, found 2.0"),
        ({"resources": Resources((("CPU", 0),))}, "resources: expected positive amounts"),
        ({"resources": Resources((("b", 1), ("a", 1)))}, "in the order of names"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(change: dict[str, Any], words: str) -> None:
    hands = Hands()
    spec = replace(SPEC, **change)
    answer = hands.submit(array(spec=spec), spec=spec)
    assert isinstance(answer, Refused)
    assert words in str(answer)
    assert hands.journal.request("r") is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([array(count=0)], "a request holds 1 to 20000 jobs, found 0"),
        ([Array(id="a", count=2, spec=spec_hash(SPEC), args=(b"",))], "array a: 2 jobs with 1 arguments"),
        ([array(id_="")], "every array needs an id of its own"),
        ([array(), array()], "every array needs an id of its own"),
        ([array("a", name="x"), array("b", name="x")], "the name 'x' is taken in namespace 'default'"),
        ([array(after=(("ghost", 0),))], "depends on 'ghost': there is no such job in namespace 'default'"),
        ([array("a", after=(("a", 0),))], "depends on itself or on a job behind it"),
        ([array("a", after=(("b", 0),)), array("b")], "depends on itself or on a job behind it"),
        ([array("p", count=2), array("a", inputs=("p.2",))], "depends on 'p.2'"),
        ([array(after=(("a", 9),))], "after: expected kinds [0, 1, 2, 3, 4], found [9]"),
        ([array(rule=99)], "rule: expected 0 to 14, found 99"),
        ([array("p"), array("a", inputs=("p",), rule=4)], "expected no rule, found all_done"),
        ([array(singleton="x" * 201)], "singleton: expected at most 200 characters"),
        ([array(at_most=-1)], "expected at_most and max_failures of 0 or more, found -1 and 0"),
        ([array("p", count=2), array("a", count=3, after=(("p", 4),))], "as many items as p has (2), found 3"),
        ([array("p", count=2), array("a", after=(("p", 4),))], "as many items as p has (2), found one job"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(arrays: list[Array], words: str) -> None:
    hands = Hands()
    answer = hands.submit(*arrays)
    assert isinstance(answer, Refused)
    assert words in str(answer)
    assert not hands.engine.state.jobs


def test_an_id_or_a_name_that_somebody_has_is_refused_whenever_it_came() -> None:
    hands = Hands()
    assert hands.submit(array("a", name="x")).first == 1
    other = replace(SPEC, namespace="other")
    for taken in (array("a"), array("x"), array("b", name="x"), array("b", name="a")):
        assert "taken" in str(hands.submit(taken, request="again"))
    assert "taken" in str(hands.submit(array("a", spec=other), request="again", spec=other))
    assert hands.submit(array("b", name="x", spec=other), request="other", spec=other).first == 2


def test_requests_of_one_tick_see_each_other() -> None:
    hands = Hands()
    specs = ((spec_hash(SPEC), SPEC),)
    for request, sent in [("1", array("p", count=2)), ("2", array("j", after=(("p.1", 0),))), ("3", array("p"))]:
        hands.engine.submit(Submit(request_id=request, arrays=(sent,), specs=specs), hands.answers.append)
    hands.tick()
    first, second, third = hands.answers
    assert (first, second) == (Accepted(first=1, job_count=2, epoch=1), Accepted(first=3, job_count=1, epoch=1))
    assert "every array needs an id of its own" in str(third)
    assert hands.engine.state.jobs[3].dependency.after == ((2, 1, After.OK),)


def test_a_request_said_again_is_answered_again_and_changes_nothing() -> None:
    hands = Hands()
    assert hands.submit(array(count=3)) == hands.submit(array(count=3)) == Accepted(first=1, job_count=3, epoch=1)
    assert len(hands.engine.state.jobs) == 3


def test_a_spec_that_nobody_knows_is_asked_for() -> None:
    hands = Hands()
    hands.engine.submit(Submit(request_id="r", arrays=(array(),)), hands.answers.append)
    hands.tick()
    assert hands.answers == [Accepted(unknown_specs=(spec_hash(SPEC),))]


def test_a_refused_request_leaves_no_spec_behind() -> None:
    """Its spec's key goes to the next spec; the hash must not lead to that one."""
    hands = Hands()
    other = Spec(entry="module:other", tags=("other",))
    assert isinstance(hands.submit(array(after=(("ghost", 0),))), Refused)
    assert hands.submit(array("b", spec=other), request="2", spec=other).first == 1
    assert hands.submit(array("c"), request="3").first == 2
    assert hands.engine.state.jobs[1].entry.spec == other
    assert hands.engine.state.jobs[2].entry.spec == SPEC


def test_inputs_are_waited_for_as_successes() -> None:
    hands = Hands()
    hands.submit(array("p", count=2), array("q"), array("j", inputs=("p", "q"), after=(("q", int(After.OK)),)))
    dependency = hands.engine.state.jobs[4].dependency
    assert dependency.inputs == ((1, 2), (3, -1))
    assert dependency.after == ((3, 1, After.OK), (1, 2, After.OK))


def test_items_of_two_arrays_are_paired_and_conditions_go_with_each_job() -> None:
    hands = Hands()
    hands.submit(array("p", count=2), array("j", count=2, after=(("p", int(After.CORR)),), singleton="db"))
    dependencies = [hands.engine.state.jobs[key].dependency for key in (3, 4)]
    assert [found.after for found in dependencies] == [((1, 1, After.CORR),), ((2, 1, After.CORR),)]
    assert {found.singleton for found in dependencies} == {"db"}


def test_of_a_parent_that_is_over_admission_tells_how_rules_count_it() -> None:
    hands = Hands()
    hands.submit(array("p"))
    hands.engine.post(CancelRequested(request_id="c", keys=(1,)))
    hands.tick()
    rule = {"rule": int(Rule.ONE_DONE)}
    hands.submit(array("j", after=(("p", int(After.ANY)),), **rule), request="2")
    assert hands.journal.ends([1, 2]) == {
        1: (JobState.CANCELLED, Reason.CANCELLED_BY_USER, 0),
        2: (JobState.SKIPPED, Reason.SKIPPED_BY_RULE, 0),
    }


def test_limits_of_arrays_hold_for_their_group() -> None:
    hands = Hands()
    hands.submit(array("p", count=2, at_most=1), request="1")
    hands.submit(array("q", count=2, at_most=1, group="p"), request="2")
    assert {name: list(group.live) for name, group in hands.engine.state.groups.items()} == {"default\0p": [1, 2, 3, 4]}


def test_a_spec_that_was_forgotten_and_comes_again_gives_its_neighbours_key_to_nobody() -> None:
    """In one round with a new one: that was launched as the job whose spec had been accepted after the forgotten."""
    hands = Hands()
    hands.engine.state.policy = replace(hands.engine.state.policy, idle_specs_max=0)
    known = [replace(SPEC, type=name) for name in ("first", "second")]
    for spec in known:
        key = hands.submit(array(spec.type, spec=spec), request=spec.type, spec=spec).first
        hands.engine.post(CancelRequested(request_id="", keys=(key,)))
        hands.tick()
    assert not hands.engine.state.specs
    for name, spec in (("again", known[0]), ("new", replace(SPEC, type="new"))):
        request = Submit(request_id=name, arrays=(array(name, spec=spec),), specs=((spec_hash(spec), spec),))
        hands.engine.submit(request, hands.answers.append)
    hands.tick()
    found = hands.journal.spec_by_hash(spec_hash(replace(SPEC, type="new")))
    assert found is not None
    assert (found[0], found[1].type) == (3, "new")
    assert {entry.spec.type for entry in hands.engine.state.specs.values()} == {"first", "new"}
