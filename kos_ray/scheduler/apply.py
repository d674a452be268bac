"""The one door of the state: `apply_event` and `apply_decision`. Nothing here chooses anything.

Recovery folds frames through these two functions, so they must not depend on a policy that may change: what they read
of it was in force when the frame was written, because policies are events themselves.
"""

from kos_ray.model.decisions import Decision
from kos_ray.model.events import Event
from kos_ray.scheduler.gangs import stand
from kos_ray.scheduler.on_decisions import ON_DECISION
from kos_ray.scheduler.on_events import ON_EVENT
from kos_ray.scheduler.state import State


def apply_event(state: State, event: Event, now_us: int) -> None:
    """Fold one event, which happened at `now_us`, into the state."""
    ON_EVENT[type(event)](state, event, now_us)
    if state.touched:
        stand(state)


def apply_decision(state: State, decision: Decision, now_us: int) -> None:
    """Fold one decision, which was taken at `now_us`, into the state."""
    ON_DECISION[type(decision)](state, decision, now_us)
    if state.touched:
        stand(state)
