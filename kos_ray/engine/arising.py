"""What follows by itself from what one round brings: reactions, schedules that are due, agents that messages start."""

from kos_ray.engine.admission import Admission
from kos_ray.engine.agents import called_events
from kos_ray.engine.reactions import Names, reacted
from kos_ray.engine.schedules import due_fires
from kos_ray.model import events as e
from kos_ray.scheduler.state import State


def arising(state: State, admission: Admission, names: Names, now_us: int, before: list[e.Event]) -> list[e.Event]:
    """The events of it; `before` are those of the round."""
    reactions, judged = reacted(state, admission, names, now_us, before)
    due = due_fires(state, admission, now_us, before, judged)
    return [*reactions, *due, *called_events(state, admission, now_us, before)]
