"""What a pass remembers to be quick changes no decision: a twin that forgets it before each step decides the same.

So does one that sits out the passes in which nothing happens and nothing is decided: a rehearsal knows of no others.
"""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Eviction, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Model, Policy
from kos_ray.model.resources import Resources
from kos_ray.scheduler.fragments import Fragments
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.parking import Parking
from kos_ray.scheduler.state import State
from tests.properties.test_order import RUNS, SECOND_US, History

#: few claims, so that the heads behind them are parked
_POLICIES = tuple(
    Policy(claims_max=claims, exempt_us=SECOND_US, slice_us=(0, *(2 * SECOND_US,) * 5)) for claims in (0, 1)
)

_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.integers(1, 4),
            st.integers(0, 5),
            st.sampled_from((Eviction.REQUEUE, Eviction.CHECKPOINT, Eviction.NEVER)),
            st.booleans(),
        ),
        st.tuples(st.just("end"), st.integers(0, 100), st.sampled_from((0, 1_000))),
        st.tuples(st.just("wait"), st.sampled_from((SECOND_US // 10, SECOND_US, 3 * SECOND_US))),
        st.tuples(st.just("stir")),
        st.tuples(st.just("cancel"), st.integers(0, 100)),
    ),
    min_size=20,
    max_size=80,
)


class Twins(History):
    """Each step is done by two others as well: one remembers nothing that is derived, one knows frames alone."""

    def __init__(self, policy: Policy, nodes: int) -> None:
        self.twin, self.lazy = State(), State()
        super().__init__(policy, nodes)

    def step(self, events: list[e.Event]) -> None:
        forget(self.twin)
        decisions = step(self.state, events, self.now_us)
        assert decisions == step(self.twin, events, self.now_us)
        if events or decisions:
            assert decisions == step(self.lazy, events, self.now_us)

    def cancel(self, number: int) -> None:
        """Somebody who waits is not wanted any more."""
        waiting = [key for key, job in self.state.jobs.items() if job.state is JobState.READY]
        if waiting:
            self.step([e.CancelRequested(request_id="", keys=(waiting[number % len(waiting)],))])

    def stir(self) -> None:
        """Too much has changed for one of them to know what."""
        self.state.rooms.stir()


def forget(state: State) -> None:
    """Forget what is derived."""
    state.rooms.reset()
    state.able.clear()
    state.steps.clear()
    state.of_shapes.clear()
    state.never.clear()
    state.shares_now.clear()
    state.aside.clear()
    state.fragments = Fragments()
    for job_class in state.classes.values():
        job_class.rests.clear()
        job_class.parked = None


def play(twins: Twins, operations: list[Any]) -> None:
    for name, *arguments in operations:
        if name == "submit":
            cpus, band, eviction, *single_use = arguments
            twins.submit(cpus=cpus, band=band, namespace="a", eviction=eviction, single_use=single_use != [False])
        else:
            getattr(twins, name)(*arguments)


@RUNS
@given(st.sampled_from(_POLICIES), _OPERATIONS, st.integers(1, 4))
def test_what_is_remembered_changes_no_decision(policy: Policy, operations: list[Any], nodes: int) -> None:
    play(Twins(policy, nodes), operations)


@RUNS
@given(st.sampled_from(_POLICIES), _OPERATIONS, st.integers(1, 6), st.integers(1, 6))
def test_changes_that_are_too_long_ago_to_be_known_are_missed_by_nobody(
    policy: Policy, operations: list[Any], nodes: int, known: int
) -> None:
    with patch("kos_ray.scheduler.rooms._CHANGES_MAX", known):
        play(Twins(policy, nodes), operations)


def test_a_search_that_a_claim_had_made_vain_is_done_again_without_the_claim() -> None:
    twins = Twins(_POLICIES[1], 1)
    play(twins, [("submit", 1, 5, Eviction.CHECKPOINT), ("submit", 3, 1, Eviction.REQUEUE)])
    # it waits for those three CPUs and keeps the fourth: nobody else can make use of the room of the first job
    play(twins, [("submit", 4, 1, Eviction.NEVER), ("wait", SECOND_US), ("submit", 1, 3, Eviction.CHECKPOINT)])
    assert not twins.state.nominated
    twins.cancel(0)
    assert list(twins.state.nominated) == [max(twins.state.jobs)]


def test_a_parked_head_waits_in_a_lane_as_soon_as_it_may() -> None:
    twins = Twins(Policy(claims_max=0, ahead_max=2), 1)
    short = ("submit", 4, 2, Eviction.NEVER, False)
    play(twins, [short, ("end", 0, 1_000), ("submit", 4, 1, Eviction.NEVER, False), short, short])
    (lane,) = next(iter(twins.state.nodes.values())).lanes.values()
    assert list(lane.held) == [2, 3]
    twins.step([e.CancelRequested(request_id="", keys=(JobKey(3),))])
    play(twins, [("end", 0, 0), ("wait", SECOND_US)])
    assert JobKey(4) in lane.held


def test_a_parked_head_starts_on_a_node_that_joins() -> None:
    twins = Twins(_POLICIES[0], 1)
    play(twins, [("submit", 4, 2, Eviction.NEVER), ("submit", 3, 3, Eviction.NEVER), ("wait", SECOND_US)])
    node = Node(NodeId("late"), "late", Resources.of({"CPU": 4}), incarnation="1")
    twins.step([e.NodesJoined(nodes=(node,))])
    assert [len(lane.held) for lane in twins.state.nodes[node.id].lanes.values()] == [1]


class Declared(Twins):
    """Jobs whose specs are given in whole."""

    def give(self, *specs: Spec, gang: bool = False, more: tuple[e.Event, ...] = ()) -> JobKey:
        """Submit a job of each of these specs, as a gang or not; the first of them. `more` happens at that instant."""
        new = [spec for spec in specs if spec not in self.specs]
        for spec in new:
            self.specs[spec] = SpecKey(len(self.specs) + 1)
        first = self.state.next_key
        submitted = e.JobsSubmitted(
            request_id=str(first),
            first=first,
            ids=tuple(str(first + number) for number in range(len(specs))),
            counts=(-1,) * len(specs),
            specs=tuple(self.specs[spec] for spec in specs),
            args=(b"",) * len(specs),
            new_specs=tuple((self.specs[spec], spec) for spec in new),
            gangs=(e.NewGang(name="g", ranges=((first, len(specs)),), least=len(specs)),) if gang else (),
        )
        self.step([*more, submitted])
        return first

    def over(self, key: JobKey, run_us: int) -> e.AttemptsEnded:
        """A job has succeeded after so long."""
        job = self.state.jobs[key]
        assert job.node is not None
        return e.AttemptsEnded(
            node=job.node,
            keys=(key,),
            attempts=(job.attempt,),
            ends=(int(AttemptEnd.SUCCEEDED),),
            entered_us=(self.now_us - run_us,),
            ended_us=(self.now_us,),
            pids=(1,),
            results=(b"",),
        )

    def runs(self, key: JobKey) -> bool:
        return self.state.jobs[key].node is not None


def _spec(cpus: int, band: int = 3, *, run_s: int = 0, type_: str = "") -> Spec:
    amounts = Resources.of({"CPU": cpus})
    return Spec(entry="m:f", type=type_, band=band, resources=amounts, run_ms=run_s * 1_000, single_use=True)


def test_a_parked_head_starts_beside_a_claim_once_enough_is_overdue() -> None:
    twins = Declared(Policy(claims_max=1, preemption=False), 1)
    twins.give(_spec(1, run_s=10), _spec(1, run_s=20), _spec(1))
    twins.give(_spec(2, 2))  # claims the node: the first of those is to be over soon
    small = twins.give(_spec(1))
    twins.wait(15 * SECOND_US)
    assert not twins.runs(small)
    twins.wait(10 * SECOND_US)
    assert twins.runs(small), "only time has passed: both should be over, and leave room for two"


def test_a_parked_gang_starts_before_a_claim_once_all_its_members_are_known_to_be_short() -> None:
    twins = Declared(Policy(claims_max=1, preemption=False, model=Model.PREDICTIVE), 2)
    one, other = _spec(1, type_="one"), _spec(1, type_="other")
    first = twins.give(one)
    twins.wait(SECOND_US)
    twins.step([twins.over(first, SECOND_US)])
    twins.wait(3 * SECOND_US)
    twins.give(_spec(2, run_s=1_000))
    twins.give(_spec(3))
    second = twins.give(other)
    twins.give(_spec(4, 2))  # claims the node on which a declared end is awaited
    leader = twins.give(one, other, gang=True)
    assert twins.state.jobs[leader].job_class.parked is not None
    twins.wait(SECOND_US)
    # what this leaves is taken at once by somebody more urgent
    twins.give(_spec(1, 0), more=(twins.over(second, SECOND_US),))
    assert twins.runs(leader)


@pytest.mark.parametrize("name", ["stays", "all_stay"])
def test_heads_are_parked_at_all(monkeypatch: Any, name: str) -> None:
    stayed: list[bool] = []
    stays = getattr(Parking, name)

    def spy(*arguments: Any, **named: Any) -> bool:
        stayed.append(stays(*arguments, **named))
        return stayed[-1]

    monkeypatch.setattr(Parking, name, spy)
    twins = Twins(_POLICIES[0], 1)
    play(twins, [("submit", 4, 2, Eviction.NEVER)] * 1 + [("submit", n, 3, Eviction.REQUEUE) for n in (4, 3, 2, 1)])
    play(twins, [("wait", SECOND_US), ("wait", SECOND_US)])
    assert any(stayed)
