"""Schedules and wishes about them as plain data, as clients have them."""

from typing import Any

from kos_ray.engine.inbox import ScheduleWish
from kos_ray.model.schedule import Schedule
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler.schedules import Standing


def wish_of(plain: dict[str, Any]) -> ScheduleWish:
    """The wish that came as plain data."""
    schedule = plain.pop("schedule", None)
    return ScheduleWish(schedule=None if schedule is None else from_plain(Schedule, schedule), **plain)


def plain_of(standing: Standing) -> dict[str, Any]:
    """A schedule as it stands, as plain data for people."""
    schedule = to_plain(standing.schedule)
    spec = standing.schedule.spec
    for big in ("spec", "args"):
        schedule.pop(big, None)
    return {
        **schedule,
        "namespace": standing.schedule.namespace,
        "timezone": standing.schedule.timezone,
        "dst": standing.schedule.dst,
        "overlap": standing.schedule.overlap.name.lower(),
        "catch_up": standing.schedule.catch_up.name.lower(),
        "window_us": standing.schedule.window_us,
        "runs": " ".join(spec.command) or spec.entry or spec.type,
        "band": spec.band,
        "receiver": spec.receiver,
        "next_us": standing.next_us,
        "due_us": standing.due_us,
        "paused": standing.paused,
        "note": standing.note,
        "fires": standing.fires,
        "live": list(standing.live),
        "buffered": list(standing.buffer),
    }
