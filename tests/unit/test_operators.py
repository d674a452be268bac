"""Hold, release, pause and reprioritise: what somebody wants of jobs that wait or run."""

import pytest

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.job import AttemptEnd, Guarantee, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.scheduler.invariants import check
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State


class World:
    """A scheduler with one node of one CPU, and three jobs of one CPU each: the first is launched."""

    def __init__(self, guarantee: Guarantee = Guarantee.AT_LEAST_ONCE, retries: int = 0) -> None:
        self.state, self.now = State(), 0
        # one attempt per slot: nothing is queued ahead, so that each launch shows the order
        spec = Spec(resources=Resources.of({"CPU": 1}), guarantee=guarantee, retries=retries, single_use=True)
        node = Node("n", "n", Resources.of({"CPU": 1}), incarnation="i")
        self.step(e.SchedulerStarted(epoch=1, version="0"), e.NodesJoined(nodes=(node,)))
        self.step(
            e.JobsSubmitted(
                request_id="r", first=1, ids=("a",), counts=(3,), specs=(1,), args=(b"",) * 3, new_specs=((1, spec),)
            )
        )

    def step(self, *events: e.Event) -> list[d.Decision]:
        self.now += 1_000
        decisions = step(self.state, events, self.now)
        assert check(self.state) == []
        self.state = state_from_plain(state_to_plain(self.state))  # a snapshot between any two steps loses nothing
        assert check(self.state) == []
        return decisions

    def end(self, key: int, end: AttemptEnd = AttemptEnd.SUCCEEDED) -> list[d.Decision]:
        attempt = self.state.jobs[key].attempt
        columns = {"entered_us": (1,), "ended_us": (2,), "pids": (1,), "results": (b"",)}
        return self.step(e.AttemptsEnded(node="n", keys=(key,), attempts=(attempt,), ends=(int(end),), **columns))

    def hold(self, *keys: int, stop: bool = False) -> list[d.Decision]:
        return self.step(e.HoldRequested(request_id="h", keys=keys, stop=stop))

    def release(self, *keys: int) -> list[d.Decision]:
        return self.step(e.ReleaseRequested(request_id="r", keys=keys))

    def states(self) -> dict[int, JobState]:
        return {key: job.state for key, job in self.state.jobs.items()}


def launched(decisions: list[d.Decision]) -> list[int]:
    return [key for decision in decisions if isinstance(decision, d.Launch) for key in decision.keys]


def test_a_held_job_lets_others_pass_and_takes_its_old_place_when_released() -> None:
    world = World()
    assert world.hold(2) == [d.Hold(keys=(2,), reason=Reason.HELD_BY_USER)]
    assert launched(world.end(1)) == [3]
    assert world.states() == {2: JobState.HELD, 3: JobState.LAUNCHED}
    assert launched(world.release(2)) == []
    assert launched(world.end(3)) == [2]


def test_holding_twice_and_releasing_twice_changes_nothing() -> None:
    world = World()
    world.hold(2)
    assert world.hold(2) == []
    world.release(2)
    assert world.release(2) == []
    assert launched(world.end(1)) == [2]
    assert launched(world.end(2)) == [3]


def test_a_hold_leaves_running_work_alone_and_a_pause_takes_it_back_uncharged() -> None:
    world = World()
    assert world.hold(1) == []
    world.release(1)
    (stop,) = world.hold(1, stop=True)
    assert isinstance(stop, d.Stop)
    assert stop.reason == Reason.PAUSED_BY_USER
    decisions = world.end(1, AttemptEnd.STOPPED)
    assert decisions[0] == d.Hold(keys=(1,), reason=Reason.HELD_BY_USER)
    assert launched(decisions) == [2]
    assert world.state.jobs[1].failures == 0
    world.release(1)
    assert launched(world.end(2)) == [1]


def test_a_paused_attempt_that_succeeds_all_the_same_is_done() -> None:
    world = World()
    world.hold(1, stop=True)
    decisions = world.end(1)
    assert decisions[0] == d.Finish(keys=(1,), state=JobState.SUCCEEDED, reason=Reason.SUCCEEDED)


def test_a_paused_job_can_be_cancelled_while_its_attempt_stops() -> None:
    world = World()
    world.hold(1, stop=True)
    (stop,) = world.step(e.CancelRequested(request_id="c", keys=(1,)))
    assert isinstance(stop, d.Stop)
    assert stop.reason == Reason.CANCELLED_BY_USER
    assert world.end(1, AttemptEnd.STOPPED)[0] == d.Finish(
        keys=(1,), state=JobState.CANCELLED, reason=Reason.CANCELLED_BY_USER
    )


def test_a_pause_leaves_an_at_most_once_job_running() -> None:
    world = World(Guarantee.AT_MOST_ONCE)
    assert world.hold(1, stop=True) == []
    assert world.end(1)[0] == d.Finish(keys=(1,), state=JobState.SUCCEEDED, reason=Reason.SUCCEEDED)


def test_a_held_job_is_cancelled_at_once() -> None:
    world = World()
    world.hold(2)
    (finish,) = world.step(e.CancelRequested(request_id="c", keys=(2,)))
    assert finish == d.Finish(keys=(2,), state=JobState.CANCELLED, reason=Reason.CANCELLED_BY_USER)


@pytest.mark.parametrize("end", [AttemptEnd.RECALLED, AttemptEnd.UNDELIVERED, AttemptEnd.LOST])
def test_a_held_job_that_comes_back_waits(end: AttemptEnd) -> None:
    world = World()
    world.hold(1)
    world.end(1, end)
    assert world.state.jobs[1].state is JobState.HELD
    assert world.state.jobs[1].losses == (end is AttemptEnd.LOST)


def test_a_job_of_another_band_goes_first() -> None:
    world = World()
    world.step(e.PriorityChanged(request_id="p", keys=(3,), band=0))
    assert launched(world.end(1)) == [3]
    world.step(
        e.PriorityChanged(request_id="p", keys=(2,), band=5), e.PriorityChanged(request_id="q", keys=(2,), band=3)
    )
    assert launched(world.end(3)) == [2]


def test_a_change_of_band_survives_hold_and_release() -> None:
    world = World()
    world.hold(2, 3)
    world.step(e.PriorityChanged(request_id="p", keys=(3,), band=0))
    world.release(2, 3)
    assert launched(world.end(1)) == [3]
    assert launched(world.end(3)) == [2]


def test_a_hold_and_release_do_not_shorten_a_backoff() -> None:
    world = World(retries=1)
    (later,) = [d_ for d_ in world.end(1, AttemptEnd.FAILED) if isinstance(d_, d.RetryLater)]
    assert world.hold(1) == []
    assert world.release(1) == []
    assert world.states()[1] is JobState.BACKOFF
    world.hold(1)
    world.now = later.due_us[0]
    assert world.step()[0] == d.Hold(keys=(1,), reason=Reason.HELD_BY_USER)
