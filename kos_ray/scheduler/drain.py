"""Nodes that are to be emptied: what runs there is asked to give way, and starts again elsewhere at no charge."""

from collections.abc import Iterator

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Eviction, Guarantee, JobState
from kos_ray.model.node import RETIRES_NOW
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.gangs import active, needed
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import NodeState, State


def drain(state: State, now_us: int) -> list[d.Decision]:
    """Ask what runs on nodes that are to be emptied to give way; what cannot is waited for."""
    decisions: list[d.Decision] = []
    if not state.retiring_now and not any(mark.draining for mark in state.marks.values()):
        return decisions
    nodes = [node for node in state.nodes.values() if _is_emptied(node)]
    kept = _kept(state, nodes) if state.gangs else set()
    for node in nodes:
        decisions += _empty(state, node, kept)
    for decision in decisions:
        apply_decision(state, decision, now_us)
    return decisions


def _is_emptied(node: NodeState) -> bool:
    return node.retires >= RETIRES_NOW or (node.mark is not None and node.mark.draining)


def _kept(state: State, nodes: list[NodeState]) -> set[JobKey]:
    """Members of gangs that would have to start anew without them, which somebody in the gang does not allow."""
    there = {node.node.id for node in nodes}
    kept: set[JobKey] = set()
    for gang in state.gangs.values():
        together = active(state, gang) if gang.going else []
        leaving = [job for job in together if job.node in there]
        stays = len(together) - sum(map(gives_way, leaving))
        if leaving and stays < needed(gang) and not all(map(gives_way, together)):
            kept.update(job.key for job in leaving)
    return kept


def _empty(state: State, node: NodeState, kept: set[JobKey]) -> Iterator[d.Decision]:
    stops: dict[int, list[Job]] = {}
    recalls: list[Job] = []
    for lane in node.lanes.values():
        for key in lane.held:
            job = state.jobs[key]
            if job.state not in (JobState.LAUNCHED, JobState.RUNNING) or job.recall_asked or key in kept:
                continue
            if gives_way(job):
                grace_ms = job.entry.spec.grace_ms or state.policy.stop_grace_ms
                stops.setdefault(grace_ms, []).append(job)
            elif job.state is JobState.LAUNCHED:
                recalls.append(job)
    node_id = node.node.id
    for grace_ms, jobs in stops.items():
        keys, attempts = _columns(jobs)
        yield d.Stop(node=node_id, keys=keys, attempts=attempts, grace_ms=grace_ms, reason=Reason.DRAINED)
    if recalls:
        keys, attempts = _columns(recalls)
        yield d.Recall(node=node_id, keys=keys, attempts=attempts, reason=Reason.DRAINED)


def gives_way(job: Job) -> bool:
    """Whether an attempt may be ended so that its node gets empty, by its own wishes and its guarantee."""
    spec = job.entry.spec
    if spec.eviction is Eviction.NEVER:
        return False
    return spec.guarantee is not Guarantee.AT_MOST_ONCE or spec.eviction is Eviction.CANCEL


def _columns(jobs: list[Job]) -> tuple[tuple[JobKey, ...], tuple[int, ...]]:
    return tuple(job.key for job in jobs), tuple(job.attempt for job in jobs)
