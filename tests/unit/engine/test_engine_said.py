"""What attempts say while they run: stored before it is acknowledged, fenced, and handed to the next attempt."""

from dataclasses import replace
from typing import Any

from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, Backoff
from kos_ray.model.protocol import Report, Submit

RETRIED = replace(SPEC, retries=3, backoff=Backoff(first_ms=0, jitter=0.0))


def saved(key: int, attempt: int, number: int, payload: bytes) -> e.CheckpointsStored:
    return e.CheckpointsStored(
        node=NODE.id, keys=(JobKey(key),), attempts=(attempt,), numbers=(number,), payloads=(payload,), at_us=(1,)
    )


def running(hands: Hands) -> Hands:
    """One job that has been launched."""
    hands.submit(array(spec=RETRIED), spec=RETRIED)
    hands.greet()
    hands.tick()
    return hands


def say(hands: Hands, number: int, *events: object) -> None:
    kinds = {"checkpoints": e.CheckpointsStored, "ended": e.AttemptsEnded, "progress": e.ProgressMade}
    fields = {name: tuple(x for x in events if isinstance(x, kind)) for name, kind in kinds.items()}
    report = Report(node=NODE.id, incarnation=NODE.incarnation, number=number, **fields)  # type: ignore[arg-type]
    hands.engine.report(report, hands.answers.append)
    hands.tick()


def restored(hands: Hands) -> list[tuple[int, tuple[tuple[int, bytes], ...]]]:
    """Of each launch: the attempt, and what it was handed."""
    return [(launch.attempts[0], launch.restored) for _, orders in hands.sent for launch in orders.launches]


def test_the_next_attempt_gets_the_last_state_also_from_another_scheduler() -> None:
    hands = running(Hands())
    say(hands, 1, saved(1, 1, 1, b"one"), saved(1, 1, 2, b"two"))
    assert hands.answers[-1].stored == ((1, 1, 1), (1, 1, 2))
    say(hands, 2, ended(1, end=AttemptEnd.FAILED))
    hands.tick()
    assert restored(hands) == [(1, ()), (2, ((0, b"two"),))]
    again = Hands(hands.journal, hands.time_us)
    again.greet(queued=(), entered=())
    again.tick()
    again.tick()
    assert restored(again) == [(3, ((0, b"two"),))], "its second attempt was never delivered"


def test_a_checkpoint_in_the_report_of_the_end_counts() -> None:
    hands = running(Hands())
    say(hands, 1, saved(1, 1, 1, b"one"), ended(1, end=AttemptEnd.CRASHED))
    hands.tick()
    assert restored(hands)[-1] == (2, ((0, b"one"),))


def test_unacknowledged_checkpoints_that_a_greeting_brings_come_before_their_end() -> None:
    hands = running(Hands())
    first = Report(node=NODE.id, incarnation=NODE.incarnation, number=1, checkpoints=(saved(1, 1, 1, b"one"),))
    second = Report(node=NODE.id, incarnation=NODE.incarnation, number=2, ended=(ended(1, end=AttemptEnd.FAILED),))
    hands.greet(session=2, reports=(first, second))
    hands.tick()
    hands.tick()
    assert restored(hands)[-1] == (2, ((0, b"one"),))
    hands.engine.report(first, hands.answers.append)
    hands.tick()
    assert hands.answers[-1].stored == ((1, 1, 1),), "it is the newest still"


def test_a_checkpoint_that_is_sent_again_is_stored_still() -> None:
    hands = running(Hands())
    say(hands, 1, saved(1, 1, 1, b"one"))
    say(hands, 1, saved(1, 1, 1, b"one"))
    assert hands.answers[-1].stored == ((1, 1, 1),)


def test_a_checkpoint_of_another_attempt_is_fenced() -> None:
    hands = running(Hands())
    say(hands, 1, ended(1, end=AttemptEnd.FAILED))
    hands.tick()
    say(hands, 2, saved(1, 1, 1, b"late"))
    assert hands.answers[-1].stored == ()
    assert restored(hands)[-1] == (2, ())
    say(hands, 3, saved(1, 2, 7, b"newer"))
    say(hands, 4, saved(1, 1, 2, b"late, of a lower number"))
    assert hands.answers[-1].stored == ()


def child(hands: Hands, attempt: int, request: str = "child") -> Any:
    one = array(request)
    submit = Submit(
        request_id=request, arrays=(one,), specs=((one.spec, SPEC),), parent=JobKey(1), parent_attempt=attempt
    )
    hands.engine.submit(submit, hands.answers.append)
    hands.tick()
    return hands.answers[-1]


def test_a_child_is_made_once_and_only_by_the_current_attempt() -> None:
    hands = running(Hands())
    assert child(hands, 1).first == 2
    say(hands, 1, ended(1, end=AttemptEnd.FAILED))
    hands.tick()
    assert child(hands, 2).first == 2, "the next attempt makes the same call"
    refused = child(hands, 1, request="late")
    assert isinstance(refused, Refused)
    assert "attempt 1 of the job that asks is over" in str(refused)
    assert child(hands, 2, request="another").first == 3
    events = [x for frame in hands.journal.frames() for x in frame.events if isinstance(x, e.JobsSubmitted)]
    assert [event.parent for event in events] == [0, 1, 1]
