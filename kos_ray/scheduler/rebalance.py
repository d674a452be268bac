"""What leaves a node on which something is short, and when it may come back.

Who may be moved: agents that save their state; where the settings say so, jobs that do, and agents that save nothing.
Those of the lowest band go first, of a band those that lose least, until enough would be free; whoever is not needed
for that stays. At most so many a minute go, in the whole cluster, and what was moved is left alone for its rest.
Whether it then starts elsewhere, or waits, is a matter of placement: a node that is pressed takes nothing, and a job
does not go where it came from.
"""

from collections.abc import Iterator
from typing import NamedTuple

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Eviction, JobState
from kos_ray.model.policy import Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.model.sample import GPU, GPU_MEMORY, WHOLE
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.drain import gives_way
from kos_ray.scheduler.fit import able_nodes, kinds_of
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.on_pressure import barred
from kos_ray.scheduler.pressure import MINUTE_US, UNKNOWN, Moved, Pressed, Shares
from kos_ray.scheduler.rooms import room_of
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import NodeState, State

#: whoever uses less of what is short stays, in thousandths of the node: nothing would be won by it
LEAST = 5


class _Candidate(NamedTuple):
    job: Job
    #: lower bands first, then who loses least, then who uses most, then the oldest
    harm: tuple[int, int, int, JobKey]
    uses: Shares


def rebalance(state: State, now_us: int) -> list[d.Decision]:
    """Ask attempts to leave nodes that are pressed, and let those back that may come."""
    decisions: list[d.Decision] = []
    if not state.pressure.used:
        return decisions
    for reason, keys in _coming_back(state, now_us).items():
        decisions.append(d.LetBack(keys=tuple(keys), reason=reason))
        apply_decision(state, decisions[-1], now_us)
    for node in _pressed(state):
        left = state.policy.rebalance.moves_per_minute - len(state.pressure.within_minute(now_us))
        for decision in _relieve(state, node, max(0, left), now_us):
            apply_decision(state, decision, now_us)
            decisions.append(decision)
    return decisions


def due_us(state: State, now_us: int) -> Iterator[int]:
    """When there may be something to decide though nothing happens."""
    pressure, most = state.pressure, state.policy.rebalance.moves_per_minute
    yield from (moved.until_us for moved in pressure.moved.values())
    lately = pressure.within_minute(now_us)
    if pressure.nodes and len(lately) >= most:
        yield lately[len(lately) - most] + MINUTE_US


# --- away


def _pressed(state: State) -> list[NodeState]:
    """Nodes that are pressed, the one first that is the most."""
    known = {one.kind for one in state.policy.rebalance.thresholds}
    over = {node: max(_excess(state.policy, said.loads).values(), default=0) for node, said in _said(state)}
    return [
        state.nodes[node] for node in sorted(over, key=lambda node: (-over[node], node)) if known and over[node] > 0
    ]


def _said(state: State) -> Iterator[tuple[NodeId, Pressed]]:
    return ((node, said) for node, said in state.pressure.nodes.items() if node in state.nodes)


def _excess(policy: Policy, loads: Shares) -> Shares:
    """By how much a node is above where it would be calm, by kind."""
    found = {one.kind: loads[one.kind] - one.low for one in policy.rebalance.thresholds if one.kind in loads}
    return {kind: share for kind, share in found.items() if share > 0}


def _relieve(state: State, node: NodeState, at_most: int, now_us: int) -> list[d.Decision]:
    said = state.pressure.nodes[node.node.id]
    wanted = _wanted(state, node, said)
    if not at_most or not wanted:
        return []
    going = _chosen(sorted(_candidates(state, node, said, now_us), key=lambda one: one.harm), wanted)[:at_most]
    stops: dict[tuple[Reason, int], list[Job]] = {}
    taken: dict[NodeId, dict[str, int]] = {}
    for one in going:
        reason = Reason.MOVED if _finds_room(state, one.job, node, taken, now_us) else Reason.SUSPENDED
        grace_ms = one.job.entry.spec.grace_ms or state.policy.stop_grace_ms
        stops.setdefault((reason, grace_ms), []).append(one.job)
    return [
        d.Stop(
            node=node.node.id,
            keys=tuple(job.key for job in jobs),
            attempts=tuple(job.attempt for job in jobs),
            grace_ms=grace_ms,
            reason=reason,
        )
        for (reason, grace_ms), jobs in stops.items()
    ]


def _wanted(state: State, node: NodeState, said: Pressed) -> Shares:
    """What is still to be freed: less what was used by attempts that have left since, or were asked to."""
    wanted = _excess(state.policy, said.loads)
    for key, (attempt, uses) in said.uses.items():
        if not _runs(state, node, key, attempt):
            for kind in wanted:
                wanted[kind] -= max(0, uses.get(kind, 0))
    measured = {kind for _, uses in said.uses.values() for kind, share in uses.items() if share != UNKNOWN}
    # of a kind that nobody measures by attempt, one leaves, and the next when the node has said again how it stands
    return {kind: share for kind, share in wanted.items() if share > 0 and (kind in measured or not said.asked)}


def _runs(state: State, node: NodeState, key: JobKey, attempt: int) -> bool:
    job = state.jobs.get(key)
    here = job is not None and job.node == node.node.id and job.attempt == attempt
    return here and job is not None and job.state is JobState.RUNNING


def _candidates(state: State, node: NodeState, said: Pressed, now_us: int) -> Iterator[_Candidate]:
    for key, (attempt, measured) in said.uses.items():
        if key in state.pressure.moved or not _runs(state, node, key, attempt):
            continue
        job = state.jobs[key]
        if _may_move(state, job):
            uses = _of_gpus(node, job, measured)
            most = max(uses.values(), default=0)
            yield _Candidate(job, (-job.job_class.band, _loss_us(job, now_us), -most, key), uses)


def _may_move(state: State, job: Job) -> bool:
    if job.key in state.gang_of or job.job_class.agent or not gives_way(job):
        return False
    if job.entry.spec.eviction is Eviction.CANCEL:
        return False
    agent, saves = job.job_class.demands.agent, job.entry.saves
    if agent and not state.policy.agents_give_way:
        return False
    return (agent and saves) or (state.policy.rebalance.jobs and (agent or saves))


def _loss_us(job: Job, now_us: int) -> int:
    """What would be lost: nothing of an agent of a class, whose state is saved when it is asked to go.

    Of others it is what they have run since they saved, which is all of it where they never do.
    """
    saved = job.entry.spec.carries is not None and job.entry.saves
    return 0 if saved else now_us - job.saved_us


def _of_gpus(node: NodeState, job: Job, uses: Shares) -> Shares:
    """Of GPUs, where nobody measures who uses them, what is reserved."""
    whole = dict(node.node.resources.amounts).get("GPU", 0)
    held = dict(job.kind.resources.amounts).get("GPU", 0)
    share = held * WHOLE // whole if whole else 0
    return {kind: share if kind in (GPU, GPU_MEMORY) and use == UNKNOWN else use for kind, use in uses.items()}


def _chosen(candidates: list[_Candidate], wanted: Shares) -> list[_Candidate]:
    """The first so many that free enough, less those without whom it would be enough as well; else all that help."""
    chosen: list[_Candidate] = []
    for one in candidates:
        if _enough(chosen, wanted):
            break
        left = _left(chosen, wanted)
        if any(_frees(one, kind, left[kind]) >= LEAST for kind in left):
            chosen.append(one)
    if not _enough(chosen, wanted):
        return chosen
    for one in reversed(chosen[:]):
        others = [other for other in chosen if other is not one]
        if _enough(others, wanted):
            chosen = others
    return chosen


def _left(chosen: list[_Candidate], wanted: Shares) -> Shares:
    left = {kind: share - sum(_frees(one, kind, share) for one in chosen) for kind, share in wanted.items()}
    return {kind: share for kind, share in left.items() if share > 0}


def _enough(chosen: list[_Candidate], wanted: Shares) -> bool:
    return not _left(chosen, wanted)


def _frees(one: _Candidate, kind: str, wanted: int) -> int:
    """What of a kind is free when one leaves; where nobody knows it is taken to be enough."""
    use = one.uses.get(kind, 0)
    return max(wanted, LEAST) if use == UNKNOWN else use


def _finds_room(state: State, job: Job, here: NodeState, taken: dict[NodeId, dict[str, int]], now_us: int) -> bool:
    """Whether another node has room for it now, beside those that go there as well (`taken`)."""
    sites = Sites(state, now_us)
    for kind in kinds_of(state, job.job_class):
        for node in able_nodes(state, kind, job.job_class.where):
            free = room_of(node)
            for name, amount in taken.get(node.node.id, {}).items():
                free[name] = free.get(name, 0) - amount
            fits = node is not here and kind.resources.fits(free)
            if fits and not sites.refusal(node, job.job_class, job.key):
                add(taken.setdefault(node.node.id, {}), kind.resources, 1)
                return True
    return False


# --- back


def _coming_back(state: State, now_us: int) -> dict[Reason, list[JobKey]]:
    """Who may start again where it was: its rest is over, or its node is calm and has enough for it."""
    found: dict[Reason, list[JobKey]] = {}
    calm = {node: dict(loads) for node, loads in state.pressure.calm.items()}
    waiting = sorted(state.pressure.moved.items(), key=lambda one: (_band(state, one[0]), one[0]))
    for key, moved in waiting:
        if moved.until_us <= now_us:
            found.setdefault(Reason.REST_OVER, []).append(key)
        elif not moved.back and _waits(state, key) and _has_enough(state, moved, calm.get(moved.node)):
            found.setdefault(Reason.NODE_CALM, []).append(key)
    return found


def _band(state: State, key: JobKey) -> int:
    return state.jobs[key].job_class.band if key in state.jobs else 0


def _waits(state: State, key: JobKey) -> bool:
    job = state.jobs.get(key)
    return job is not None and job.state is JobState.READY and barred(state, job) is not None


def _has_enough(state: State, moved: Moved, loads: Shares | None) -> bool:
    """Whether a calm node stays below where it would be pressed; what comes back is counted."""
    if loads is None:
        return False
    high = {one.kind: one.high for one in state.policy.rebalance.thresholds}
    then = {kind: loads.get(kind, 0) + moved.used.get(kind, 0) for kind in high}
    if any(share >= high[kind] for kind, share in then.items()):
        return False
    loads.update(then)
    return True
