"""What follows from what parties asked for and left, and what time brings: decided one thing after another."""

from itertools import chain

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import approvals
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.settle import settle
from kos_ray.scheduler.state import State


def coordinate(state: State, now_us: int) -> list[d.Decision]:
    """Decide until nothing is left. What is decided for one may be what another waits for."""
    found: list[d.Decision] = []
    for decision in chain(state.coordination.decide(now_us), approvals.decide(state, now_us)):
        apply_decision(state, decision, now_us)
        found.append(decision)
    over: dict[Reason, list[JobKey]] = {}
    for key, reason in state.coordination.approvals.rejected.items():
        over.setdefault(reason, []).append(key)
    for reason, keys in over.items():
        end = d.Finish(keys=tuple(keys), state=JobState.CANCELLED, reason=reason)
        apply_decision(state, end, now_us)
        found.append(end)
    return found + settle(state, now_us)
