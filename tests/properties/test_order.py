"""Laws of order, of quota and of what gives way, in random histories: nothing here knows how the scheduler works."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Eviction, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Namespace, Policy
from kos_ray.model.resources import UNIT, Resources
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import next_due_us, step
from kos_ray.scheduler.state import State

SECOND_US = 1_000_000
RUNS = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, print_blob=False
)


class History:
    """Nodes of four CPUs, jobs, and somebody who looks at each decision before it is carried out."""

    def __init__(self, policy: Policy, nodes: int = 1) -> None:
        self.state = State()
        self.now_us = 1
        self.specs: dict[Spec, SpecKey] = {}
        self.submitted_us: dict[JobKey, int] = {}
        self.evicted: dict[JobKey, int] = {}
        self.evictions = 0
        joined = tuple(Node(NodeId(f"n{i}"), f"n{i}", Resources.of({"CPU": 4}), incarnation="1") for i in range(nodes))
        self.step([e.SchedulerStarted(epoch=1, version="0", policy=policy), e.NodesJoined(nodes=joined)])

    def submit(
        self, *, cpus: int, band: int, namespace: str, eviction: Eviction = Eviction.REQUEUE, single_use: bool = True
    ) -> None:
        spec = Spec(
            entry="m:f",
            namespace=namespace,
            band=band,
            resources=Resources.of({"CPU": cpus}),
            single_use=single_use,
            eviction=eviction,
        )
        new = spec not in self.specs
        key = self.specs.setdefault(spec, SpecKey(len(self.specs) + 1))
        first = self.state.next_key
        self.submitted_us[first] = self.now_us
        self.step(
            [
                e.JobsSubmitted(
                    request_id=str(first),
                    first=first,
                    ids=(str(first),),
                    counts=(-1,),
                    specs=(key,),
                    args=(b"",),
                    new_specs=((key, spec),) if new else (),
                )
            ]
        )

    def end(self, number: int, run_us: int = 0) -> None:
        """One attempt is over: one that was asked to stop has stopped, any other has succeeded.

        It has run for so long, 0: from the beginning.
        """
        held = [key for node in self.state.nodes.values() for lane in node.lanes.values() for key in lane.held]
        if not held:
            return
        job = self.state.jobs[held[number % len(held)]]
        end = AttemptEnd.STOPPED if job.state is JobState.STOPPING else AttemptEnd.SUCCEEDED
        assert job.node is not None
        self.step(
            [
                e.AttemptsEnded(
                    node=job.node,
                    keys=(job.key,),
                    attempts=(job.attempt,),
                    ends=(int(end),),
                    entered_us=(max(1, self.now_us - run_us) if run_us else 1,),
                    ended_us=(self.now_us,),
                    pids=(1,),
                    results=(b"",),
                )
            ]
        )

    def wait(self, us: int) -> None:
        """Time goes on, with a step at each instant that the scheduler has announced."""
        end_us = self.now_us + us
        while (due := next_due_us(self.state, self.now_us)) is not None and self.now_us < due < end_us:
            self.now_us = due
            self.step([])
        self.now_us = end_us
        self.step([])

    def step(self, events: list[e.Event]) -> None:
        before = self.free()
        decisions = step(self.state, events, self.now_us)
        assert invariants.check(self.state) == []
        for decision in decisions:
            self.look(decision, before)

    def look(self, decision: Any, before: dict[NodeId, int]) -> None:
        """For those who want to know."""

    def free(self) -> dict[NodeId, int]:
        return {node_id: node.free.get("CPU", 0) for node_id, node in self.state.nodes.items()}


_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 4), st.integers(0, 5), st.sampled_from(("a", "b", "c"))),
        st.tuples(st.just("end"), st.integers(0, 100)),
        st.tuples(st.just("wait"), st.sampled_from((SECOND_US // 10, SECOND_US, 3 * SECOND_US))),
    ),
    min_size=5,
    max_size=60,
)


class Waiting(History):
    """Jobs of one size: whoever became ready after another was overdue starts after it."""

    aging_us = (1 * SECOND_US, 2 * SECOND_US, 3 * SECOND_US, 4 * SECOND_US, 5 * SECOND_US, 6 * SECOND_US)
    promoted = 0

    def look(self, decision: Any, before: dict[NodeId, int]) -> None:
        if isinstance(decision, d.Promote):
            self.promoted += len(decision.keys)
        if not isinstance(decision, d.Launch):
            return
        waiting = [job for job in self.state.jobs.values() if job.state is JobState.READY]
        for key in decision.keys:
            for job in waiting:
                overdue_us = self.submitted_us[job.key] + self.aging_us[job.job_class.band]
                assert not overdue_us <= self.submitted_us[key] or job.evictions, f"{key} passed {job.key}"


@RUNS
@given(operations=_OPERATIONS)
def test_nothing_that_comes_later_passes_a_job_that_has_waited_its_bound(operations: list[tuple[Any, ...]]) -> None:
    history = Waiting(Policy(aging_us=Waiting.aging_us, preemption=False, burst_jobs=2, burst_us=SECOND_US))
    for verb, *values in operations:
        if verb == "submit":
            history.submit(cpus=4, band=values[1], namespace=values[2])
        else:
            getattr(history, verb)(*values)


LIMITS = {"a": 2, "b": 5}


@RUNS
@given(operations=_OPERATIONS)
def test_no_limit_is_exceeded_at_any_instant(operations: list[tuple[Any, ...]]) -> None:
    namespaces = tuple(Namespace(name=name, limit=(("CPU", cpus * UNIT),)) for name, cpus in LIMITS.items())
    history = History(Policy(namespaces=namespaces), nodes=2)
    for verb, *values in operations:
        if verb == "submit":
            history.submit(cpus=values[0], band=values[1], namespace=values[2])
        else:
            getattr(history, verb)(*values)
        for name, cpus in LIMITS.items():
            held = sum(
                lane.slots * dict(lane.kind.resources.amounts)["CPU"]
                for node in history.state.nodes.values()
                for lane in node.lanes.values()
                if lane.kind.namespace == name
            )
            assert held <= cpus * UNIT


class GivingWay(History):
    """Each eviction is legal, is enough, and is not more than is needed."""

    def look(self, decision: Any, before: dict[NodeId, int]) -> None:
        if not isinstance(decision, d.Evict):
            return
        self.evictions += 1
        claimer = self.state.jobs[decision.wanted_by]
        victims = [self.state.jobs[key] for key in decision.keys]
        assert decision.node == decision.target, "without quotas nobody elsewhere can help"
        for victim in victims:
            assert victim.entry.spec.eviction is not Eviction.NEVER
            assert victim.job_class.band > claimer.job_class.band
            assert victim.evictions <= self.state.policy.evictions_max
        wanted = dict(claimer.entry.kind.resources.amounts)["CPU"]
        others = sum(
            dict(self.state.jobs[key].entry.kind.resources.amounts)["CPU"]
            for key, node in self.state.nominated.items()
            if node == decision.target and key != claimer.key
        )
        node = self.state.nodes[decision.target]
        leaving = sum(
            dict(job.kind.resources.amounts)["CPU"]
            for lane in node.lanes.values()
            for job in (self.state.jobs[key] for key in lane.held)
            if job.state is JobState.STOPPING and job not in victims
        )
        idle = sum(lane.idle * dict(lane.kind.resources.amounts)["CPU"] for lane in node.lanes.values())
        room = node.free["CPU"] + leaving + idle - others
        freed = [dict(victim.kind.resources.amounts)["CPU"] for victim in victims]
        assert room + sum(freed) >= wanted, "it would not fit"
        assert all(room + sum(freed) - one < wanted for one in freed), "one of them need not have gone"


#: mostly small jobs that nobody hurries, now and then one that is wanted at once
_CROWDED = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 3), st.sampled_from((4, 5)), st.just("a")),
        st.tuples(st.just("submit"), st.integers(1, 2), st.sampled_from((4, 5)), st.just("a")),
        st.tuples(st.just("submit"), st.integers(2, 4), st.sampled_from((0, 1)), st.just("a")),
        st.tuples(st.just("end"), st.integers(0, 100)),
        st.tuples(st.just("wait"), st.sampled_from((SECOND_US // 10, SECOND_US))),
    ),
    min_size=12,
    max_size=60,
)


@RUNS
@given(
    operations=_CROWDED,
    evictions=st.lists(st.sampled_from((Eviction.REQUEUE, Eviction.CHECKPOINT, Eviction.NEVER)), min_size=1),
)
def test_who_gives_way_must_and_was_needed(operations: list[tuple[Any, ...]], evictions: list[Eviction]) -> None:
    history = GivingWay(Policy(exempt_us=SECOND_US // 2, slice_us=(0,) * 6, aging_us=(0,) * 6), nodes=2)
    for number, (verb, *values) in enumerate(operations):
        if verb == "submit":
            eviction = evictions[number % len(evictions)]
            history.submit(cpus=values[0], band=values[1], namespace=values[2], eviction=eviction)
        else:
            getattr(history, verb)(*values)
