"""Deadlines: whether each can still be met, and when it is too late for a job that waits.

The verdict is computed when somebody asks, by what is declared or learnt. For a job that waits, only the instant at
which it becomes too late is kept (its deadline less its declared run time): then a decision says so. Jobs without a
deadline cost nothing.
"""

from collections.abc import Sequence
from enum import IntEnum
from heapq import heappop
from typing import NamedTuple

from kos_ray.model import decisions as d
from kos_ray.model.dependency import Rule
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, JobState
from kos_ray.model.resources import add
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.fit import able_nodes, wanted_kind
from kos_ray.scheduler.jobs import LATER, Job
from kos_ray.scheduler.models import estimate_of, must_start_us
from kos_ray.scheduler.queues import order_of
from kos_ray.scheduler.state import NodeState, State

#: how far back along a chain of parents the earliest end looks, and at how many parents of one range
_CHAIN_MAX = 1_000
_PARENTS_MAX = 1_000
_ON_NODE = (JobState.LAUNCHED, JobState.RUNNING, JobState.STOPPING)


class Verdict(IntEnum):
    """Whether a deadline can still be met."""

    NONE = 0  #: there is none
    UNKNOWN = 1  #: nobody said how long it runs, or what runs before it
    MEETS = 2  #: with all work ahead of it, at the best use of the cluster
    AT_RISK = 3  #: it could if it started now, but there is too much ahead of it, or others like it have run longer
    MISSED = 4  #: it cannot any more, whatever happens


class Forecast(NamedTuple):
    """A verdict, and the instants it rests on: the earliest end, and the likely one; 0 where nobody knows."""

    verdict: Verdict
    earliest_us: int
    likely_us: int


def judge(state: State, now_us: int) -> list[d.Decision]:
    """Say which waiting jobs have become too late, and let those go by their bands that must start just in time."""
    missed: set[JobKey] = set()
    must_start: dict[int, set[JobKey]] = {}
    while state.deadlines and state.deadlines[0][0] <= now_us:
        for key in heappop(state.deadlines)[1]:
            job = state.jobs.get(key)
            if job is None:
                continue
            if key not in state.missed and job.state not in _ON_NODE and _too_late(job, now_us):
                missed.add(key)
            if job.job_class.order == LATER and must_start_us(state, job.entry.spec) <= now_us:
                name = job.job_class.name
                order = order_of(state.discipline(name.kind.namespace), name).order
                must_start.setdefault(order, set()).add(key)
    # sorted: what else stands there depends on the steps there were
    decisions: list[d.Decision] = [
        d.Promote(keys=tuple(sorted(keys)), order=order) for order, keys in sorted(must_start.items())
    ]
    if missed:
        decisions.append(d.MarkMissed(keys=tuple(sorted(missed))))
    for decision in decisions:
        apply_decision(state, decision, now_us)
    return decisions


def _too_late(job: Job, now_us: int) -> bool:
    spec = job.entry.spec
    return bool(spec.deadline_us) and now_us + spec.run_ms * 1_000 > spec.deadline_us


def forecast(state: State, job: Job, ahead: Sequence[Job], now_us: int) -> Forecast:
    """The verdict on a live job. `ahead`: the READY jobs that have their turn before it."""
    deadline_us = job.entry.spec.deadline_us
    if not deadline_us:
        return Forecast(Verdict.NONE, 0, 0)
    if job.state in _ON_NODE:
        return _of_running(state, job, now_us)
    least_us, _, run_us = _length(state, job)
    earliest_us = now_us + _chain_us(state, job, now_us) + least_us
    if earliest_us > deadline_us:
        return Forecast(Verdict.MISSED, earliest_us, 0)
    able = able_nodes(state, wanted_kind(state, job.job_class), job.job_class.where)
    if not run_us or not able:
        return Forecast(Verdict.AT_RISK if run_us else Verdict.UNKNOWN, earliest_us, 0)
    wait_us, sure = _wait(state, job, able, ahead, now_us)
    likely_us = max(earliest_us, now_us + wait_us + run_us)
    if likely_us > deadline_us:
        return Forecast(Verdict.AT_RISK, earliest_us, likely_us)
    return Forecast(Verdict.MEETS if sure else Verdict.UNKNOWN, earliest_us, likely_us)


def _of_running(state: State, job: Job, now_us: int) -> Forecast:
    deadline_us = job.entry.spec.deadline_us
    least_us, _, run_us = _length(state, job)
    earliest_us = max(now_us, job.started_us + least_us)
    if earliest_us > deadline_us:
        return Forecast(Verdict.MISSED, earliest_us, 0)
    if not run_us:
        return Forecast(Verdict.UNKNOWN, earliest_us, 0)
    likely_us = max(now_us, job.started_us + run_us)
    return Forecast(Verdict.AT_RISK if likely_us > deadline_us else Verdict.MEETS, earliest_us, likely_us)


def _length(state: State, job: Job) -> tuple[int, int, int]:
    """How long a job runs: at least, in the middle, hardly longer than; 0 where nobody knows.

    As declared or learnt; where nothing is, as its own spec was measured to.
    """
    found = estimate_of(state, job)
    if found.mid_us:
        return found.low_us, found.mid_us, found.high_us
    measured_us = job.entry.mean_us
    return measured_us, measured_us, measured_us


def _left_us(state: State, job: Job, now_us: int, *, least: bool = False) -> int:
    """What of that is left to be done, at least a microsecond; 0 where nobody knows."""
    least_us, run_us, _ = _length(state, job)
    run_us = least_us if least else run_us
    if not run_us or job.state not in _ON_NODE:
        return run_us
    return max(1, job.started_us + run_us - now_us)


def _chain_us(state: State, job: Job, now_us: int) -> int:
    """How long it takes at least until the parents of a job have ended: along one chain, always the longest parent."""
    found = 0
    for _ in range(_CHAIN_MAX):
        dependency = job.dependency
        if job.state is not JobState.BLOCKED or dependency is None or dependency.rule != Rule.ALL_MET:
            break
        keys = (
            JobKey(key)
            for first, count, kind in dependency.after
            if kind != After.STARTED
            for key in range(first, first + min(count, _PARENTS_MAX))
        )
        parents = [state.jobs[key] for key in keys if key in state.jobs]
        if not parents:
            break
        job = max(parents, key=lambda parent: (_left_us(state, parent, now_us, least=True), -parent.key))
        found += _left_us(state, job, now_us, least=True)
    return found


def _wait(state: State, job: Job, able: Sequence[NodeState], ahead: Sequence[Job], now_us: int) -> tuple[int, bool]:
    """How long what is ahead occupies what the job needs, at the best use of it, and whether all run times are known.

    Work on a resource is amount times run time; the cluster does as much of it at a time as it has.
    """
    wanted = wanted_kind(state, job.job_class).resources
    if not ahead and any(wanted.fits(with_idle(node)) for node in able):
        return 0, True
    running = [state.jobs[key] for node in state.nodes.values() for lane in node.lanes.values() for key in lane.held]
    work: dict[str, int] = {}
    sure = True
    for other in (*ahead, *running):
        left_us = _left_us(state, other, now_us)
        sure = sure and left_us > 0
        for name, amount in other.kind.resources.amounts:
            work[name] = work.get(name, 0) + amount * left_us
    waits = [work.get(name, 0) // state.capacity[name] for name, _ in wanted.amounts if state.capacity.get(name)]
    return max(waits, default=0), sure


def with_idle(node: NodeState) -> dict[str, int]:
    """What of a node is free, idle slots counted in: they close for whoever needs their room."""
    free = dict(node.free)
    for lane in node.lanes.values():
        add(free, lane.kind.resources, lane.idle)
    return free
