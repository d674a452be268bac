"""Attempts that promised to say how far they are and say nothing: they are asked to stop, and that is charged."""

from kos_ray.model import decisions as d
from kos_ray.model.ids import NodeId
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.hearing import look_again
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import State


def stop_stalled(state: State, now_us: int) -> list[d.Decision]:
    """Ask the attempts to stop that have said nothing for longer than they promised."""
    stalled: dict[NodeId, list[Job]] = {}
    for job in look_again(state, now_us):
        assert job.node is not None
        stalled.setdefault(job.node, []).append(job)
    decisions: list[d.Decision] = [
        d.Stop(
            node=node,
            keys=tuple(job.key for job in jobs),
            attempts=tuple(job.attempt for job in jobs),
            grace_ms=state.policy.stop_grace_ms,
            reason=Reason.HEARTBEAT_TIMEOUT,
        )
        for node, jobs in stalled.items()
    ]
    for decision in decisions:
        apply_decision(state, decision, now_us)
    return decisions
