"""Rows that a submission brings: specs, arrays, jobs and what these depend on."""

import json
import sqlite3
from collections.abc import Sequence

from kos_ray.journal import bulk
from kos_ray.journal.codec import Frame, encode_spec
from kos_ray.model.dependency import stored_kind
from kos_ray.model.events import JobsSubmitted
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason

_SPECS = """
INSERT INTO specs (spec, hash, namespace, type, band, tags, body)
SELECT * FROM {rows} WHERE column1 IS NOT NULL
ON CONFLICT (spec) DO NOTHING"""  # a spec that the scheduler had forgotten comes again under its old key

_ARRAYS = """
WITH r (first, count, id, spec, name, args_at) AS {rows}
INSERT INTO arrays (first, count, id, spec, namespace, name, submitted_us, sender, frame, args_at, parent)
SELECT r.first, r.count, r.id, r.spec, s.namespace, r.name, ?1, ?2, ?3, r.args_at, ?4
FROM r CROSS JOIN specs s ON s.spec = r.spec"""

#: counts the items of each array up, so that not one value is bound per job
_JOBS = """
WITH RECURSIVE item (key, last, spec, array) AS (
    SELECT first, first + abs(count) - 1, spec, first FROM arrays WHERE first >= ?1 AND first < ?2
    UNION ALL SELECT key + 1, last, spec, array FROM item WHERE key < last
)
INSERT INTO jobs (key, spec, array, state, reason, ready_us)
SELECT key, spec, array, ?3, ?4, ?5 FROM item ORDER BY key"""

_BLOCKED = """
UPDATE jobs SET state = ?1, reason = ?2, ready_us = 0 WHERE key IN {rows}"""

_DEPENDENCIES = """
INSERT INTO dependencies (key, position, first, count, kind) SELECT * FROM {rows} WHERE column1 IS NOT NULL"""

_INPUTS = """
INSERT INTO inputs (key, position, first, count) SELECT * FROM {rows} WHERE column1 IS NOT NULL"""

#: a job that is not kept any more leaves its key to others
_KEYED = """
INSERT OR REPLACE INTO idempotency (namespace, key, first, payload)
SELECT namespace, ?, first, ? FROM arrays WHERE id = ?"""

_REQUEST = "INSERT INTO requests (request_id, first, job_count, at_us) VALUES (?, ?, ?, ?)"


def jobs_submitted(connection: sqlite3.Connection, frame: Frame, events: Sequence[JobsSubmitted], args_at: int) -> None:
    """Insert what these submissions bring; the arguments of the first begin at `args_at` of the frame's arguments."""
    for event in events:
        _check(event)
        connection.execute(_REQUEST, (event.request_id, event.first, event.job_count, frame.now_us))
        _new_specs(connection, event)
        _arrays(connection, frame, event, args_at)
        for index, key, payload in event.keyed:
            connection.execute(_KEYED, (key, payload, event.ids[index]))
        past = event.first + event.job_count
        connection.execute(_JOBS, (event.first, past, JobState.READY, Reason.NONE, frame.now_us))
        _dependencies(connection, event)
        args_at += event.job_count


def _check(event: JobsSubmitted) -> None:
    if 0 in event.counts or min(event.counts, default=-1) < -1:
        raise ValueError(f"request {event.request_id}: an array has at least one job, found counts {event.counts}")
    if sum(map(abs, event.counts)) != event.job_count:
        raise ValueError(f"request {event.request_id}: counts {event.counts} for {event.job_count} arguments")


def _new_specs(connection: sqlite3.Connection, event: JobsSubmitted) -> None:
    if not event.new_specs:
        return
    rows = [
        (key, spec_hash(spec), spec.namespace, spec.type, spec.band, json.dumps(spec.tags), encode_spec(spec))
        for key, spec in event.new_specs
    ]
    bulk.change(connection, _SPECS, (), *zip(*rows, strict=True))


def _arrays(connection: sqlite3.Connection, frame: Frame, event: JobsSubmitted, args_at: int) -> None:
    names = dict(event.names)
    rows = []
    first = int(event.first)
    for i, count in enumerate(event.counts):
        rows.append((first, count, event.ids[i], event.specs[i], names.get(i, ""), args_at + first - event.first))
        first += abs(count)
    if not rows:
        return
    constants = (frame.now_us, event.sender, frame.first_seq, event.parent)
    inserted = bulk.change(connection, _ARRAYS, constants, *zip(*rows, strict=True))
    if inserted != len(rows):
        raise ValueError(f"request {event.request_id} names specs that the journal does not hold: {set(event.specs)}")


def _dependencies(connection: sqlite3.Connection, event: JobsSubmitted) -> None:
    after = [
        (dependency.key, position, first, count, stored_kind(dependency.rule, kind))
        for dependency in event.dependencies
        for position, (first, count, kind) in enumerate(dependency.after)
    ]
    if after:
        bulk.change(connection, _DEPENDENCIES, (), *zip(*after, strict=True))
    blocked = tuple([dependency.key for dependency in event.dependencies if dependency.waits])
    if blocked:
        bulk.change(connection, _BLOCKED, (JobState.BLOCKED, Reason.DEPENDENCY), blocked)
    inputs = [
        (dependency.key, position, *parents)
        for dependency in event.dependencies
        for position, parents in enumerate(dependency.inputs)
    ]
    if inputs:
        bulk.change(connection, _INPUTS, (), *zip(*inputs, strict=True))
