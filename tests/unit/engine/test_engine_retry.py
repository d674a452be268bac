"""Retries by cause: what a job's code, its spec and its time allow, through the engine and its journal."""

from dataclasses import replace

from engine_build import SPEC, Hands, array, ended

from kos_ray.journal.store import Journal
from kos_ray.model.events import AttemptError
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, Backoff, JobState, Spec
from kos_ray.model.reasons import Reason

S = 1_000_000
TRIED = replace(SPEC, retries=3, backoff=Backoff(first_ms=1_000, factor=1.0, jitter=0.0))


def _failed(spec: Spec, again_ms: int = 0, hands: Hands | None = None, number: int = 1) -> Hands:
    """One attempt of job 1 fails, and says when it is to be tried again."""
    if hands is None:
        hands = Hands()
        hands.greet()
        hands.submit(array(spec=spec), spec=spec)
    error = AttemptError(index=0, type="E", message="m", again_ms=again_ms)
    hands.report(ended(1, number, AttemptEnd.FAILED, errors=(error,)), number=number)
    hands.tick()
    return hands


def _stands(hands: Hands) -> tuple[JobState, Reason]:
    state, reason, _ = hands.journal.ends([JobKey(1)])[JobKey(1)]
    return state, Reason(reason)


def _at(hands: Hands, time_us: int) -> int:
    """Attempts that were sent by then."""
    hands.time_us = time_us - 1_000
    hands.tick()
    return len(hands.launched())


def test_without_a_word_the_backoff_holds() -> None:
    hands = _failed(TRIED)
    assert _at(hands, hands.time_us + S - 2_000) == 1
    assert _at(hands, hands.time_us + 2_000) == 2


def test_a_pause_that_was_asked_for_stands_in_for_the_backoff() -> None:
    hands = _failed(TRIED, 5_000)
    failed_us = hands.time_us
    assert hands.engine.state.jobs[JobKey(1)].due_us == failed_us + 5 * S
    assert _at(hands, failed_us + 5 * S - 1_000) == 1
    assert _at(hands, failed_us + 5 * S) == 2
    assert not hands.engine.state.todo.asked_ms
    hands = _failed(TRIED, hands=hands, number=2)
    assert hands.engine.state.jobs[JobKey(1)].due_us == hands.time_us + S, "it was for one attempt"


def test_a_pause_that_was_asked_for_is_charged() -> None:
    spec = replace(TRIED, retries=1)
    hands = _failed(spec, 5_000)
    assert _at(hands, hands.time_us + 5 * S) == 2
    assert _stands(_failed(spec, 5_000, hands, 2)) == (JobState.FAILED, Reason.USER_ERROR)


def test_what_is_not_to_be_tried_again_fails_at_once() -> None:
    hands = _failed(TRIED, -1)
    assert _stands(hands) == (JobState.FAILED, Reason.NOT_RETRYABLE)
    assert _at(hands, hands.time_us + 60 * S) == 1


def test_a_late_word_of_another_attempt_is_not_heard() -> None:
    hands = _failed(TRIED)
    assert _at(hands, hands.time_us + 2 * S) == 2
    error = AttemptError(index=0, type="E", message="m", again_ms=-1)
    hands.report(ended(1, 1, AttemptEnd.FAILED, errors=(error,)), number=2)
    hands.tick()
    assert _stands(hands)[0] is JobState.LAUNCHED
    assert not hands.engine.state.todo.asked_ms


def test_no_attempt_starts_when_the_time_for_all_is_over() -> None:
    spec = replace(TRIED, elapsed_ms_max=3_000)
    hands = _failed(spec)
    assert _at(hands, hands.time_us + S) == 2
    hands = _failed(spec, hands=hands, number=2)
    assert _stands(hands)[0] is JobState.BACKOFF
    assert _at(hands, hands.time_us + S) == 3
    assert _stands(_failed(spec, hands=hands, number=3)) == (JobState.FAILED, Reason.RETRY_TIME_OVER)
    assert _stands(_failed(spec, 3_100)) == (JobState.FAILED, Reason.RETRY_TIME_OVER)


def test_a_journal_brings_it_all_back() -> None:
    hands = _failed(TRIED, 5_000)
    due_us = hands.engine.state.jobs[JobKey(1)].due_us
    again = Hands(Journal.on(hands.journal.connection), hands.time_us)
    assert again.engine.state.jobs[JobKey(1)].due_us == due_us
