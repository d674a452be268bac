"""Records as lifecycle events: each name, each job, no start told twice."""

import dataclasses

import pytest

from kos_ray.model import decisions, events
from kos_ray.model.job import AttemptEnd, JobState, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.model.views import EventView
from kos_ray.model.wire import to_plain
from kos_ray.observe.lifecycle import LIFECYCLE, Lifecycle, LifecycleEvent

S = 1_000_000


def record(seq: int, one: object) -> EventView:
    return EventView(seq=seq, at_us=seq * S, epoch=2, kind=type(one).__name__, detail=to_plain(one))


def submitted(first: int = 1) -> events.JobsSubmitted:
    return events.JobsSubmitted(
        request_id="r",
        first=first,  # type: ignore[arg-type]
        ids=("j", "arr"),
        counts=(-1, 2),
        specs=(1, 1),  # type: ignore[arg-type]
        args=(b"", b"", b""),
        names=((0, "solo"), (1, "w/many")),
    )


def entered(*keys: int, attempt: int = 1, at: int = 3) -> events.AttemptsEntered:
    count = len(keys)
    return events.AttemptsEntered(node="n", keys=keys, attempts=(attempt,) * count, entered_us=(at * S,) * count)  # type: ignore[arg-type]


def ended(key: int, end: AttemptEnd, *, entered_s: int = 3, error: bool = False) -> events.AttemptsEnded:
    return events.AttemptsEnded(
        node="n",  # type: ignore[arg-type]
        keys=(key,),  # type: ignore[arg-type]
        attempts=(1,),
        ends=(int(end),),
        entered_us=(entered_s * S,),
        ended_us=(9 * S,),
        pids=(7,),
        results=(b"",),
        errors=(events.AttemptError(index=0, type="ValueError", message="boom"),) if error else (),
    )


def finish(state: JobState, *keys: int, reason: int = 21) -> decisions.Finish:
    return decisions.Finish(keys=keys, state=int(state), reason=reason)  # type: ignore[arg-type]


def read(*records: object, since: int = 0) -> list[LifecycleEvent]:
    life = Lifecycle(since)
    return [life.named(event) for event in life.read(record(since + i, one) for i, one in enumerate(records, 1))]


def test_jobs_and_items_have_their_names() -> None:
    found = read(submitted())
    assert [(event.name, event.job, event.label, event.key) for event in found] == [
        ("job_submitted", "j", "solo", 1),
        ("job_submitted", "arr.0", "w/many.0", 2),
        ("job_submitted", "arr.1", "w/many.1", 3),
    ]


def test_a_life() -> None:
    launch = decisions.Launch(
        node="n",  # type: ignore[arg-type]
        kind=SlotKind(resources=Resources()),
        slots=1,
        keys=(1,),  # type: ignore[arg-type]
        attempts=(1,),
    )
    retry = decisions.RetryLater(keys=(1,), due_us=(5,), reasons=(21,))  # type: ignore[arg-type]
    found = read(launch, entered(1), ended(1, AttemptEnd.FAILED, error=True), retry, finish(JobState.SUCCEEDED, 1))
    assert [(event.name, event.detail) for event in found] == [
        ("job_started", ""),
        ("job_retried", "ValueError: boom"),
        ("job_completed", ""),
    ]
    assert found[0].node == "n"
    assert found[0].attempt == 1


def test_short_attempts_are_told_of_as_started_by_their_end() -> None:
    found = read(ended(1, AttemptEnd.SUCCEEDED), finish(JobState.SUCCEEDED, 1))
    assert [event.name for event in found] == ["job_started", "job_completed"]
    assert found[0].at_us == 3 * S
    never = ended(1, AttemptEnd.RECALLED, entered_s=0)
    assert read(never) == []


def test_reading_from_the_middle_tells_no_old_start() -> None:
    assert [e.name for e in read(ended(1, AttemptEnd.SUCCEEDED), since=5)] == []
    assert [e.name for e in read(ended(1, AttemptEnd.SUCCEEDED, entered_s=6), since=5)] == ["job_started"]


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (JobState.SUCCEEDED, ["job_completed"]),
        (JobState.FAILED, ["job_failed", "agent.signal.taskFailure"]),
        (JobState.LOST, ["job_failed", "agent.signal.taskFailure"]),
        (JobState.CANCELLED, ["job_cancelled"]),
        (JobState.SKIPPED, ["job_skipped"]),
    ],
)
def test_ends(state: JobState, names: list[str]) -> None:
    found = read(finish(state, 4, 5))
    assert [event.name for event in found] == names * 2
    assert {event.label for event in found} == {"#4", "#5"}
    if state is JobState.FAILED:
        assert found[0].detail == "user error"


def test_what_people_asked_for() -> None:
    found = read(
        events.HoldRequested(request_id="r", keys=(1,)),  # type: ignore[arg-type]
        events.HoldRequested(request_id="r", keys=(1,), stop=True),  # type: ignore[arg-type]
        events.ReleaseRequested(request_id="r", keys=(1,)),  # type: ignore[arg-type]
        events.PriorityChanged(request_id="r", keys=(1,), band=1),  # type: ignore[arg-type]
    )
    assert [event.name for event in found] == ["job_held", "job_paused", "job_released", "job_reprioritised"]
    assert found[-1].detail == "to realtime"


def test_nodes_and_the_scheduler() -> None:
    from kos_ray.model.node import Node

    fields = {field.name for field in dataclasses.fields(Node)}
    node = Node(**{"id": "n", "name": "host", **({"resources": Resources()} if "resources" in fields else {})})  # type: ignore[arg-type]
    found = read(
        events.SchedulerStarted(epoch=2, version="0.1.0"),
        events.NodesJoined(nodes=(node,)),
        events.NodeLost(node="n", cause="killed"),  # type: ignore[arg-type]
    )
    assert [event.name for event in found] == ["scheduler_started", "node_joined", "node_lost"]
    assert (found[1].node, found[1].detail) == ("n", "host")
    assert found[2].detail == "killed"
    assert found[0].detail == "epoch 2, 0.1.0"


def test_every_record_in_the_table_exists_and_is_read() -> None:
    kinds = {one.__name__ for one in (*events.EVENT_TYPES, *decisions.DECISION_TYPES)}
    assert set(LIFECYCLE) <= kinds
    assert set(LIFECYCLE) == set(Lifecycle._readers)


def test_jobs_that_are_not_known_are_asked_for() -> None:
    life = Lifecycle(5)
    found = life.read([record(6, finish(JobState.SUCCEEDED, 8))])
    assert life.unnamed(found) == {8}
    life.learn({8: ("id8", "name8")})
    assert life.unnamed(found) == set()
    assert life.named(found[0]).label == "name8"


def test_deadlines_that_are_missed_and_plugins_that_are_disabled() -> None:
    found = read(
        submitted(),
        decisions.MarkMissed(keys=(1, 3)),  # type: ignore[arg-type]
        events.PluginDisabled(plugin="mine", why="it crashed"),
    )
    assert [(event.name, event.label) for event in found[3:]] == [
        ("deadline_missed", "solo"),
        ("deadline_missed", "w/many.1"),
        ("plugin_disabled", ""),
    ]
    assert found[-1].detail == "mine: it crashed"


def test_trouble_of_the_journal_has_its_beginning_and_its_end() -> None:
    found = read(events.JournalResumed(since_us=0, reason="database or disk is full"))
    assert [(event.name, event.at_us, event.detail) for event in found] == [
        ("journal_trouble", S, "database or disk is full"),
        ("journal_resumed", S, "after 1.0 s"),
    ]


def test_what_is_moved_away_from_a_pressed_node_and_let_back() -> None:
    found = read(
        submitted(),
        events.NodePressed(node="n", kinds=("battery", "memory"), loads=(900, 950)),  # type: ignore[arg-type]
        decisions.Stop(node="n", keys=(1,), attempts=(2,), grace_ms=5, reason=Reason.MOVED),  # type: ignore[arg-type]
        decisions.Stop(node="n", keys=(2,), attempts=(1,), grace_ms=5, reason=Reason.SUSPENDED),  # type: ignore[arg-type]
        decisions.Stop(node="n", keys=(3,), attempts=(1,), grace_ms=5, reason=Reason.DRAINED),  # type: ignore[arg-type]
        events.NodeCalm(node="n", kinds=("memory",), loads=(300,)),  # type: ignore[arg-type]
        decisions.LetBack(keys=(2,), reason=Reason.NODE_CALM),  # type: ignore[arg-type]
    )
    assert [(event.name, event.label, event.attempt, event.detail) for event in found[3:]] == [
        ("node_pressed", "", 0, "memory 95 %, battery 10 %"),
        ("job_moved", "solo", 2, ""),
        ("job_suspended", "w/many.0", 1, ""),
        ("node_calm", "", 0, "memory 30 %"),
        ("job_let_back", "w/many.0", 0, "node calm"),
    ]
