"""Leaf functions of the scheduler: backoff, what is due, folding."""

from dataclasses import replace

import pytest

from kos_ray.model import events as e
from kos_ray.model.errors import IllegalMove
from kos_ray.model.ids import MS_US
from kos_ray.model.job import After, Backoff, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Rate
from kos_ray.model.resources import Resources
from kos_ray.model.windows import Windows
from kos_ray.scheduler import invariants
from kos_ray.scheduler.changes import opened
from kos_ray.scheduler.gates import units_left
from kos_ray.scheduler.machine import next_due_us, recover, step
from kos_ray.scheduler.retry import backoff_us, lease_over_us
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State

SPEC = Spec(resources=Resources.of({"CPU": 1}), single_use=True)


def submitted(first: int = 1, count: int = 1, **fields: object) -> e.JobsSubmitted:
    columns = {"request_id": str(first), "first": first, "ids": (str(first),), "counts": (count,), "specs": (1,)}
    new_specs = ((1, SPEC),) if first == 1 else ()
    return e.JobsSubmitted(**columns | {"args": (b"",) * count, "new_specs": new_specs} | fields)


def joined(cpus: int = 1) -> e.NodesJoined:
    return e.NodesJoined(nodes=(Node("n", "n", Resources.of({"CPU": cpus})),))


@pytest.mark.parametrize(("failures", "expected_ms"), [(1, 100), (2, 300), (3, 900), (4, 1_000), (90, 1_000)])
def test_pauses_grow_by_their_factor_up_to_their_ceiling(failures: int, expected_ms: int) -> None:
    backoff = Backoff(first_ms=100, factor=3.0, max_ms=1_000, jitter=0.0)
    assert backoff_us(backoff, 1, failures) == expected_ms * MS_US


def test_a_rate_saves_up_no_more_than_its_burst() -> None:
    state, rate = State(), Rate(name="calls", amount=10, per_us=1_000_000, burst=10)
    state.buckets["calls"] = (4, 0)
    assert [units_left(state, rate, now_us) for now_us in (0, 300_000, 600_000, 60_000_000)] == [4, 7, 10, 10]


def test_a_window_that_opens_as_the_job_ends_is_part_of_the_wider_one() -> None:
    state = State()
    step(state, [joined(), submitted(new_specs=((1, replace(SPEC, run_ms=1)),))], 0)
    state.windows["node:n"] = Windows(scope="node:n", text="", open=((2_000, 3_000), (9_000, 9_500)), until_us=10_000)
    (change,) = opened(state, state.jobs[1], 1_000)
    assert change.events[0].windows.open == ((1_000, 3_000), (9_000, 9_500))


def test_a_lease_is_waited_for_with_a_tenth_more() -> None:
    """A clock at the node may be slow by so much: until then its work may still go on."""
    assert lease_over_us(30_000_000) == 33_000_000


def test_jitter_is_a_hash_not_chance() -> None:
    backoff = Backoff(first_ms=1_000, jitter=0.5)
    pauses = [backoff_us(backoff, key, 1) for key in range(100)]
    assert pauses == [backoff_us(backoff, key, 1) for key in range(100)]
    assert len(set(pauses)) > 90
    assert 500 * MS_US <= min(pauses) < 600 * MS_US
    assert 900 * MS_US < max(pauses) <= 1_000 * MS_US


@pytest.mark.parametrize("kind", After)
@pytest.mark.parametrize("parent", JobState)
def test_dependencies_know_when_they_are_met(kind: After, parent: JobState) -> None:
    succeeded = parent is JobState.SUCCEEDED
    met = {After.OK: succeeded, After.CORR: succeeded, After.NOT_OK: not succeeded}
    assert kind.verdict(parent) is (met.get(kind, True) if parent.final else None)


def test_nothing_is_due_in_an_empty_cluster() -> None:
    assert next_due_us(State(), 0) is None


def test_an_idle_slot_and_a_retry_are_due() -> None:
    state = State()
    step(state, [joined(), submitted()], 0)
    end = {"keys": (1,), "attempts": (1,), "entered_us": (0,), "ended_us": (1,), "pids": (1,), "results": (b"",)}
    step(state, [e.AttemptsEnded(node="n", ends=(0,), **end)], 5)
    assert next_due_us(state, 5) == 5 + state.policy.idle_slot_us


def test_jobs_are_numbered_without_gaps() -> None:
    with pytest.raises(IllegalMove, match="numbered from 1 on, found 2"):
        step(State(), [submitted(first=2)], 0)


def test_an_illegal_move_tells_the_story_of_the_job() -> None:
    state = State()
    decisions = step(state, [joined(), submitted()], 0)
    with pytest.raises(IllegalMove, match=r"job 1 \(function, launched, attempt 1.*cannot become launched"):
        recover(state, [], decisions, 1)


def test_a_fold_leaves_queues_as_placement_did() -> None:
    """A launched job that comes back stands in its queue once."""
    live, folded = State(), State()
    end = {"keys": (1,), "attempts": (1,), "entered_us": (0,), "ended_us": (1,), "pids": (1,), "results": (b"",)}
    for now_us, events in enumerate(([joined(), submitted(count=3)], [e.AttemptsEnded(node="n", ends=(9,), **end)])):
        recover(folded, events, step(live, events, now_us), now_us)
    assert invariants.check(folded) == []
    more = [e.NodesJoined(nodes=(Node("m", "m", Resources.of({"CPU": 9})),))]
    assert step(folded, more, 9) == step(live, more, 9)


def test_a_job_that_changes_its_band_twice_is_launched_once() -> None:
    state = State()
    step(state, [submitted(count=3)], 0)
    for band in (0, 3):
        step(state, [e.PriorityChanged(request_id="", keys=(2,), band=band)], 1)
    (launch,) = step(state, [joined(8)], 2)
    assert launch.keys == (1, 2, 3)


def test_a_cancellation_of_what_stops_already_is_nothing_left_to_decide() -> None:
    live, folded = State(), State()
    cancel = e.CancelRequested(request_id="", keys=(1,))
    for now_us, events in enumerate(([joined(), submitted()], [cancel], [cancel])):
        recover(folded, events, step(live, events, now_us), now_us)
    assert invariants.check(folded) == []
    assert state_to_plain(state_from_plain(state_to_plain(folded))) == state_to_plain(folded)


def test_a_snapshot_is_taken_between_steps_only() -> None:
    state = State()
    step(state, [submitted()], 0)
    state.todo.cancelled[1] = None
    with pytest.raises(ValueError, match="between steps"):
        state_to_plain(state)
    assert "settled: events are left to be decided" in invariants.check(state)


def test_invariants_find_what_is_broken() -> None:
    state = State()
    step(state, [joined(2), submitted(count=2)], 0)
    assert invariants.check(state) == []
    state.nodes["n"].free["CPU"] += 1
    state.nodes["n"].slots += 1
    state.jobs[1].node = None
    found = "\n".join(invariants.check(state))
    for words in ("reservations fit: node n CPU", "counts 3 slots", "one place: job 1"):
        assert words in found
