"""Schedules and reactions as plain data, and back."""

from functools import partial
from heapq import heapify
from typing import Any

from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.model.schedule import Schedule, schedule_key
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler.reactions import from_snapshot as reactions_from_snapshot
from kos_ray.scheduler.reactions import to_snapshot as reactions_to_snapshot
from kos_ray.scheduler.schedules import Schedules, Standing, note_ready


def to_snapshot(schedules: Schedules) -> Any:
    """Plain data; what is derived is left out. Many schedules have few specs: each of these stands there once."""
    specs: dict[Spec, int] = {}
    standings = [
        (
            _without_spec(one.schedule),
            (one.next_us, one.due_us, one.paused, one.note, one.fires),
            list(one.live.items()),
            list(one.buffer),
            (one.last, sorted(one.asked), one.last_us, list(one.waiting.items()), one.ahead),
            specs.setdefault(one.schedule.spec, len(specs)),
        )
        for one in schedules.by_key.values()
    ]
    of_jobs = list(schedules.nominal.items()), list(schedules.handed.items()), list(schedules.told.items())
    unforeseen = list(schedules.unforeseen.items())
    return of_jobs, standings, reactions_to_snapshot(schedules.reactions), unforeseen, [to_plain(one) for one in specs]


def _without_spec(schedule: Schedule) -> Any:
    plain = to_plain(schedule)
    del plain["spec"]
    return plain


def from_snapshot(plain: Any) -> Schedules:
    """The inverse."""
    (nominal, handed, told), standings, reactions, unforeseen, *specs = plain
    known = [from_plain(Spec, spec) for each in specs for spec in each]
    found = Schedules(nominal={JobKey(key): at_us for key, at_us in nominal})
    found.handed = {JobKey(key): JobKey(other) for key, other in handed}
    found.told = {JobKey(key): text for key, text in told}
    found.reactions = reactions_from_snapshot(reactions)
    found.unforeseen = dict(unforeseen)
    for schedule, (next_us, due_us, paused, note, fires), live, buffer, more, *number in standings:
        # in snapshots of before, each schedule has its spec in it
        spec = {"spec": known[number[0]]} if number else {}
        standing = Standing(partial(from_plain, Schedule, schedule, **spec))
        name = schedule_key(schedule.get("namespace", "default"), schedule["name"])
        standing.next_us, standing.due_us, standing.paused = next_us, due_us, paused
        standing.note, standing.fires = note, fires
        last, asked, standing.last_us, waiting, ahead = more
        standing.last, standing.ahead = JobKey(last), tuple(ahead)
        # of very many schedules nearly all have nothing of this
        if live or asked:
            standing.live = {JobKey(key): at_us for key, at_us in live}
            standing.asked = frozenset(JobKey(key) for key in asked)
            found.of_job.update(dict.fromkeys((*standing.live, *standing.asked), name))
        if buffer:
            standing.buffer = tuple(buffer)
            standing.waiting = {at_us: (id_, text) for at_us, (id_, text) in waiting}
            note_ready(found, standing)
        if "on" in schedule:
            whole = standing.schedule
            assert whole.on is not None
            found.reactions.triggers.setdefault(whole.namespace, {})[name] = whole.on
        found.by_key[name] = standing
        if next_us:
            found.due.append((due_us, name))
    heapify(found.due)
    found.reactions.wake()
    return found
