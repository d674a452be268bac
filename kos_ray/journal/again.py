"""What jobs were submitted as, from rows and from the frame that brought them: to submit them once more."""

import sqlite3
from typing import Any

from kos_ray.journal import chain
from kos_ray.journal.codec import decode
from kos_ray.journal.lookups import Lookups
from kos_ray.model.dependency import Rule, parted
from kos_ray.model.errors import JournalDamaged
from kos_ray.model.events import ArrayLimits, JobsSubmitted
from kos_ray.model.ids import JobKey, split_item_id
from kos_ray.model.job import After

_SPEC = "SELECT j.spec, a.frame FROM jobs j CROSS JOIN arrays a ON a.first = j.array WHERE j.key = ?"
_AFTER = "SELECT first, count, kind FROM dependencies WHERE key = ? ORDER BY position"
_INPUTS = "SELECT first, count FROM inputs WHERE key = ? ORDER BY position"


def drafts(rows: Lookups, connection: sqlite3.Connection, keys: list[JobKey], count: int) -> list[dict[str, Any]]:
    """Fields of drafts (see `spec.lower.Draft`) for jobs of one array, which had `count` jobs (-1: a single job).

    One draft for all; where each job has a parent of its own and not all of them are wanted, one for each.
    """
    parts = [keys]
    if 0 < len(keys) < count and any(kind is After.CORR for _, _, _, kind in _after(connection, keys[0])):
        parts = [[key] for key in keys]
        count = -1
    return [_draft(rows, connection, part, single=count < 0) for part in parts]


def _draft(rows: Lookups, connection: sqlite3.Connection, keys: list[JobKey], *, single: bool) -> dict[str, Any]:
    first = keys[0]
    spec, frame = connection.execute(_SPEC, (first,)).fetchone()
    args = rows.args(keys)
    event, index = _submission(connection, frame, first)
    rule, singleton = next(
        ((found.rule, found.singleton) for found in event.dependencies if found.key == first), (Rule.ALL_MET, "")
    )
    limits = next((found for found in event.limits if found.index == index), ArrayLimits(index=index, group=""))
    return {
        "spec": rows.spec(spec),
        "args": tuple([args[key] for key in keys]),
        "count": -1 if single else len(keys),
        "after": tuple(
            (_public(rows, parent, parents, pair=kind is After.CORR and not single), kind)
            for parent, parents, _, kind in _after(connection, first)
        ),
        "inputs": tuple(_public(rows, *parents) for parents in connection.execute(_INPUTS, (first,)).fetchall()),
        "rule": Rule(rule),
        "singleton": singleton,
        "at_most": limits.at_most,
        "max_failures": limits.max_failures,
    }


def _after(connection: sqlite3.Connection, key: JobKey) -> list[tuple[int, int, Rule, After]]:
    return [(first, count, *parted(kind)) for first, count, kind in connection.execute(_AFTER, (key,)).fetchall()]


def _submission(connection: sqlite3.Connection, frame: int, key: JobKey) -> tuple[JobsSubmitted, int]:
    """The event that brought a job, and the index of its array in it."""
    stored = chain.holding(connection, frame)
    for event in decode(stored).events if stored else ():
        if isinstance(event, JobsSubmitted) and event.first <= key < event.first + event.job_count:
            end = int(event.first)
            for index, count in enumerate(event.counts):
                end += abs(count)
                if key < end:
                    return event, index
    raise JournalDamaged(f"rows refer to frame {frame}, which does not bring job {key}")


def _public(rows: Lookups, first: int, count: int, *, pair: bool = False) -> str:
    """The public id of a range of parents: of one job, or of an array as a whole (also where items go in pairs)."""
    public = rows.public_ids([JobKey(first)])[JobKey(first)]
    array, index = split_item_id(public)
    return array if index is not None and (abs(count) > 1 or pair) else public
