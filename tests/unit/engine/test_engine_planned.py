"""Submissions that rest on a plan: accepted only if nothing has happened since, and nothing is left of them else."""

from dataclasses import replace
from typing import Any

from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.model import events as e
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.protocol import Accepted, Submit


def planned(name: str, seq: int, **fields: Any) -> Submit:
    return Submit(request_id=name, arrays=(array(name),), specs=((spec_hash(SPEC), SPEC),), plan_seq=seq, **fields)


def ask(hands: Hands, submit: Submit) -> Any:
    hands.engine.submit(submit, hands.answers.append)
    hands.tick()
    return hands.answers[-1]


def with_node() -> Hands:
    hands = Hands()
    hands.greet()
    hands.tick()
    return hands


def test_it_is_accepted_where_nothing_has_happened() -> None:
    hands = with_node()
    assert ask(hands, planned("p", hands.journal.last_seq)).job_count == 1


def test_nothing_is_left_of_it_where_something_has() -> None:
    hands = with_node()
    seq = hands.journal.last_seq
    hands.submit(request="other")
    before, state = hands.journal.last_seq, hands.engine.state
    answer = ask(hands, planned("p", seq))
    assert answer == Accepted(stale=True)
    assert (hands.journal.last_seq, len(state.jobs), state.next_key) == (before, 1, 2)
    assert hands.journal.request("p") is None
    assert hands.journal.resolve("default", "p") is None


def test_what_comes_with_it_goes_before_it_or_behind_it() -> None:
    hands = with_node()
    seq = hands.journal.last_seq
    first, last = planned("first", 0), planned("last", 0)
    for submit in (first, planned("p", seq), last):
        hands.engine.submit(submit, hands.answers.append)
    hands.tick()
    assert [answer.stale for answer in hands.answers] == [False, True, False]
    seq = hands.journal.last_seq
    for submit in (planned("q", seq), planned("beside", 0)):
        hands.engine.submit(submit, hands.answers.append)
    hands.tick()
    assert [answer.stale for answer in hands.answers[3:]] == [False, False]
    frames = [[x.request_id for x in f.events if isinstance(x, e.JobsSubmitted)] for f in hands.journal.frames(seq)]
    assert frames == [["q"], ["beside"]]


def test_an_answer_that_was_lost_is_given_again() -> None:
    hands = with_node()
    submit = planned("p", hands.journal.last_seq)
    assert ask(hands, submit) == ask(hands, submit)
    assert len(hands.engine.state.jobs) == 1


def test_what_attempts_only_say_changes_no_plan() -> None:
    hands = with_node()
    hands.submit(request="other")
    seq = hands.journal.last_seq
    said = e.ProgressMade(node=NODE.id, keys=(JobKey(1),), attempts=(1,), shares=(5_000,), texts=("half",))
    hands.engine.post(said)
    hands.tick()
    assert hands.journal.last_seq > seq
    assert ask(hands, planned("p", seq)).job_count == 1
    hands.report(ended(1))
    assert ask(hands, planned("q", hands.journal.last_seq)).stale


def test_time_changes_plans_as_well() -> None:
    hands = with_node()
    hands.submit(request="other")
    hands.report(ended(1))
    hands.tick()
    seq = hands.journal.last_seq
    # the idle slot closes by then, in the very tick that looks at the submission
    hands.time_us += 10_000_000
    assert ask(hands, planned("p", seq)).stale
    hands.tick()
    assert ask(hands, replace(planned("q", 0), plan_seq=hands.journal.last_seq)).job_count == 1
