"""Why a job waits: what holds it, how each node falls short, who stands before it, and what would wake it.

Nothing is kept for this: placement leaves each class's reason behind anyway, and the rest is read off when asked.
"""

from collections.abc import Iterator
from typing import Any

from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import UNIT, add
from kos_ray.model.views import AgentVerdict, Explanation, NodeVerdict, RunTime
from kos_ray.scheduler import gangs, gates
from kos_ray.scheduler.advice import awaits_advice
from kos_ray.scheduler.agents import held_for
from kos_ray.scheduler.deadlines import forecast
from kos_ray.scheduler.desk import NOBODY_YET
from kos_ray.scheduler.dispatch import verdicts
from kos_ray.scheduler.fit import pausing, usable, wanted_kind
from kos_ray.scheduler.jobs import OVERDUE, Gang, Job
from kos_ray.scheduler.models import estimate, order_now
from kos_ray.scheduler.needs import unmet
from kos_ray.scheduler.on_pressure import barred
from kos_ray.scheduler.packing import Packing, counted
from kos_ray.scheduler.queues import rank
from kos_ray.scheduler.shares import standing
from kos_ray.scheduler.sites import matches
from kos_ray.scheduler.sitewords import refusal
from kos_ray.scheduler.state import NodeState, State

#: jobs before it that are named
_NAMED = 10


#: why jobs wait that are not ready
_OUT_OF_TURN = {
    JobState.BLOCKED: Reason.DEPENDENCY,
    JobState.BACKOFF: Reason.RETRY_LATER,
    JobState.HELD: Reason.HELD_BY_USER,
}


def explain(state: State, job: Job, now_us: int) -> Explanation:
    """How a live job stands at an instant."""
    reason, lacks = why_named(state, job)
    waits = job.state is JobState.READY
    ahead = _ahead(state, job, now_us) if waits else []
    verdict, earliest_us, likely_us = forecast(state, job, ahead, now_us)
    return Explanation(
        key=job.key,
        state=job.state.name.lower(),
        reason=reason.name.lower(),
        remedy=reason.remedy,
        lacks=lacks,
        since_us=max(0, job.since_us),
        order=job.job_class.order,
        overdue=job.job_class.order == OVERDUE,
        standing=standing(state, job.job_class.account, now_us),
        ahead=len(ahead),
        ahead_keys=tuple(other.key for other in ahead[:_NAMED]),
        making_room=state.making.get(job.key, 0),
        target=state.nominated.get(job.key, ""),
        nodes=tuple(_verdict(state, job, node, now_us) for node in state.nodes.values()) if waits else (),
        parents=_parents(state, job),
        deadline_us=job.entry.spec.deadline_us,
        deadline=verdict.name.lower() if verdict else "",
        earliest_us=earliest_us,
        likely_us=likely_us,
        run_time=_run_time(state, job),
        spared=_spared(state, job),
        worn=_worn(state, job),
        schedule=state.schedules.of_job.get(job.key, "").replace("\0", "/"),
        nominal_us=state.schedules.nominal.get(job.key, 0),
        **_gang(state, job, now_us),
        **(_choice(state, job) if job.entry.spec.to is not None else {}),
    )


def why(state: State, job: Job) -> Reason:
    """The one reason that a live job waits for; NONE for one that runs, or that only its turn is wanting."""
    return why_named(state, job)[0]


def why_named(state: State, job: Job) -> tuple[Reason, str]:
    """The same, and what it needs that no node has where that is it."""
    reason = _waits_for(state, job)
    return unmet(state, job, reason) or (reason, "")


def _waits_for(state: State, job: Job) -> Reason:
    if job.state is not JobState.READY:
        return _out_of_turn(state, job)
    gang = waiting_gang(state, job)
    if gang is not None:
        if not gang.leader:
            return Reason.GANG_INCOMPLETE
        job = state.jobs[gang.leader]
    if job.key in state.nominated:
        return Reason.ROOM_BEING_MADE
    if not state.nodes:
        return Reason.NO_NODES
    if awaits_advice(state, job):
        return Reason.ORDER_ASKED
    kept = Reason.NONE if barred(state, job) is None else Reason.SUSPENDED
    return kept or job.job_class.why or Reason.KEPT_FOR_OTHERS


def _out_of_turn(state: State, job: Job) -> Reason:
    held = Reason.NONE
    if job.state is JobState.HELD:
        waits = job.key in state.coordination.approvals.waiting
        held = Reason.APPROVAL if waits else held_for(state.agents, job.key)
    return held or _OUT_OF_TURN.get(job.state, Reason.NONE)


def _choice(state: State, job: Job) -> dict[str, Any]:
    """Who has a message that is for a role, or why nobody has."""
    choice, declined = state.dispatch.chosen.get(job.key), state.dispatch.declined.get(job.key, NOBODY_YET)
    passed = verdicts(state, job) if choice is None else choice.others
    return {
        "agent": choice.agent if choice is not None else "",
        "chosen": Reason(choice.reason).name.lower() if choice is not None else "",
        "declined": tuple(name for name, _ in declined.by),
        "passed": tuple(
            AgentVerdict(
                agent=one.agent,
                why=Reason(one.reason).name.lower(),
                text=Reason(one.reason).remedy,
                delay_us=one.delay_us,
                skill=one.skill,
            )
            for one in passed
        ),
    }


def waiting_gang(state: State, job: Job) -> Gang | None:
    """The gang that a job waits with, None where it stands for itself."""
    gang = state.gang_of.get(job.key)
    return gang if gang is not None and not gang.going and not gang.over else None


def _gang(state: State, job: Job, now_us: int) -> dict[str, Any]:
    """How far a job's gang is from its start."""
    gang = waiting_gang(state, job)
    if gang is None:
        return {}
    members = gangs.ready(state, gang)
    placement = Packing(state, now_us).fit(counted(members), 1, lambda _node, _kind: len(members)) or []
    needs, fits = gangs.needed(gang), sum(count for *_, count in placement)
    return {"gang": gang.name, "gang_needs": needs, "gang_ready": len(members), "gang_fits": fits}


def _ahead(state: State, job: Job, now_us: int) -> list[Job]:
    """Ready jobs that have their turn before this one, as accounts stand now; the nearest to their turn first."""
    found = [
        other
        for other in state.jobs.values()
        if other.state is JobState.READY and other is not job and _before(state, other, job, now_us)
    ]
    return sorted(found, key=lambda other: (order_now(state, other.job_class, now_us), _place(state, other)))


def _before(state: State, other: Job, job: Job, now_us: int) -> bool:
    own, theirs = job.job_class, other.job_class
    orders = order_now(state, theirs, now_us), order_now(state, own, now_us)
    if orders[0] != orders[1]:
        return orders[0] < orders[1]
    # whose turn it is between two accounts depends on what they use until then
    return theirs.account == own.account and _place(state, other) < _place(state, job)


def _place(state: State, job: Job) -> tuple[int, int]:
    return (rank(state, job) if job.job_class.ranked else 0, job.key)


def _spared(state: State, job: Job) -> int:
    """How many agents run that a job's band would let it take room from, were it not for the settings."""
    if state.policy.agents_give_way or job.state is not JobState.READY or gates.AGENTS not in state.used:
        return 0
    return sum(other.job_class.demands.agent for other in _below(state, job))


def _worn(state: State, job: Job) -> int:
    """How many jobs run that a job's band would let it take room from, had they not given way as often as they may."""
    if job.state is not JobState.READY:
        return 0
    most = state.policy.evictions_max
    return sum(other.evictions >= max(1, most) and other.evicted_for is None for other in _below(state, job))


def _below(state: State, job: Job) -> Iterator[Job]:
    """All that are on nodes and of lower bands."""
    for node in state.nodes.values():
        for lane in node.lanes.values():
            held = (state.jobs[key] for key in lane.held)
            yield from (other for other in held if other.job_class.band > job.job_class.band)


def _run_time(state: State, job: Job) -> RunTime:
    low_us, mid_us, high_us, source, runs = estimate(state, job.entry.spec, state.sizes.get(job.key, 0))
    return RunTime(low_us=low_us, mid_us=mid_us, high_us=high_us, source=source.value, runs=runs)


def _parents(state: State, job: Job) -> tuple[JobKey, ...]:
    """Parents that have not ended, the first ones."""
    if job.dependency is None or job.state is not JobState.BLOCKED:
        return ()
    keys = (JobKey(key) for first, count, _ in job.dependency.after for key in range(first, first + count))
    return tuple(key for key in keys if key in state.jobs)[:_NAMED]


def _verdict(state: State, job: Job, node: NodeState, now_us: int) -> NodeVerdict:
    """What one node lacks for a job, in words; "" where it would fit at once."""
    kind = wanted_kind(state, job.job_class)
    whole = dict(node.node.resources.amounts)
    small = kind.resources.lacking(whole)
    if small:
        return NodeVerdict(node=node.node.name, lacks=f"too small: {_amounts(kind, small, whole)}", ever=False)
    refused = refusal(state, job, node, kind, now_us)
    if refused:
        return NodeVerdict(node=node.node.name, lacks=refused, ever=matches(node, job.job_class.where, kind))
    if pausing(node, kind, now_us):
        return NodeVerdict(node=node.node.name, lacks="other Ray work holds the room")
    free = {**usable(state, node, kind)}
    for lane in node.lanes.values():
        add(free, lane.kind.resources, lane.idle)
    short = kind.resources.lacking(free)
    if short:
        return NodeVerdict(node=node.node.name, lacks=f"in use: {_amounts(kind, short, free)}")
    if node.slots >= state.policy.slots_per_node_max:
        return NodeVerdict(node=node.node.name, lacks=f"it runs {node.slots} slots already, as many as it may")
    return NodeVerdict(node=node.node.name)


def _amounts(kind: SlotKind, names: tuple[str, ...], there: dict[str, int]) -> str:
    wanted = dict(kind.resources.amounts)
    return ", ".join(f"{name} {wanted[name] / UNIT:g} of {max(0, there.get(name, 0)) / UNIT:g}" for name in names)
