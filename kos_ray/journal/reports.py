"""Rows that node agents' reports move: attempts entered and ended, and what they said in between."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain

from kos_ray.journal import bulk
from kos_ray.model.agent_snapshots import ForgetSnapshots, contents
from kos_ray.model.events import AttemptsEnded, AttemptsEntered, CheckpointsStored, ProgressMade
from kos_ray.model.job import JobState

_ENTERED = f"""
WITH r (key, attempt, entered, pid) AS {{rows}}
UPDATE jobs SET entered_us = r.entered, pid = r.pid,
    state = CASE state WHEN {JobState.LAUNCHED} THEN {JobState.RUNNING} ELSE state END
FROM r WHERE jobs.key = r.key AND jobs.attempt = r.attempt AND jobs.outcome IS NULL AND jobs.entered_us = 0
AND jobs.state IN ({JobState.LAUNCHED}, {JobState.STOPPING})"""

#: which rows a report of an end is about: the attempt is the job's current one, on that node, and has not ended
_CURRENT = f"""
jobs.key = r.key AND jobs.attempt = r.attempt AND jobs.node = r.node AND jobs.outcome IS NULL
AND jobs.state IN ({JobState.LAUNCHED}, {JobState.RUNNING}, {JobState.STOPPING})"""

_ENDED = f"""
WITH r (key, attempt, node, outcome, entered, ended, pid, place) AS {{rows}}
UPDATE jobs SET outcome = r.outcome, ended_us = r.ended, pid = r.pid, result_frame = ?1, result_at = r.place,
    entered_us = CASE WHEN r.entered > 0 THEN r.entered ELSE entered_us END
FROM r WHERE {_CURRENT}"""

_ERRORS = f"""
WITH r (key, attempt, node, type, message, traceback) AS {{rows}}
INSERT INTO errors (key, attempt, type, message, traceback)
SELECT r.key, r.attempt, r.type, r.message, r.traceback FROM r CROSS JOIN jobs ON {_CURRENT}
WHERE true ON CONFLICT DO NOTHING"""

_LOGS = f"""
WITH r (key, attempt, node, file, start_at, end_at) AS {{rows}}
INSERT INTO logs (key, attempt, file, start_at, end_at)
SELECT r.key, r.attempt, r.file, r.start_at, r.end_at FROM r CROSS JOIN jobs ON {_CURRENT}
WHERE true ON CONFLICT DO NOTHING"""

_EXIT_CODES = f"""
WITH r (key, attempt, node, code) AS {{rows}}
INSERT INTO exit_codes (key, attempt, code)
SELECT r.key, r.attempt, r.code FROM r CROSS JOIN jobs ON {_CURRENT}
WHERE true ON CONFLICT DO NOTHING"""

_PROGRESS = f"""
WITH r (key, attempt, node, share, text) AS {{rows}}
INSERT INTO progress (key, attempt, share, text, at_us)
SELECT r.key, r.attempt, r.share, r.text, ?1 FROM r CROSS JOIN jobs ON {_CURRENT}
WHERE true ON CONFLICT (key) DO UPDATE SET
    attempt = excluded.attempt, share = excluded.share, text = excluded.text, at_us = excluded.at_us"""

_CHECKPOINTS = f"""
WITH r (key, attempt, node, number, at_us, place) AS {{rows}}
INSERT INTO checkpoints (key, attempt, number, frame, place, at_us)
SELECT r.key, r.attempt, r.number, ?1, r.place, r.at_us FROM r CROSS JOIN jobs ON {_CURRENT}
WHERE true ON CONFLICT (key) DO UPDATE SET
    attempt = excluded.attempt, number = excluded.number, frame = excluded.frame, place = excluded.place,
    at_us = excluded.at_us
WHERE excluded.attempt > attempt OR excluded.number > number"""

_FORGET_CHECKPOINTS = "DELETE FROM checkpoints WHERE key IN {rows}"

_SNAPSHOTS = f"""
WITH r (key, attempt, node, hash, place) AS {{rows}}
INSERT INTO snapshots (key, hash, frame, place)
SELECT r.key, r.hash, ?1, r.place FROM r CROSS JOIN jobs ON {_CURRENT}
WHERE true ON CONFLICT DO NOTHING"""

_FORGET_SNAPSHOTS = "DELETE FROM snapshots WHERE key IN {rows}"


def pairs(items: Iterable[tuple[str, object]]) -> str:
    """Pairs as one JSON object in text, for columns that people and SQL may read."""
    return json.dumps(dict(items))


def entered(connection: sqlite3.Connection, events: Sequence[AttemptsEntered]) -> None:
    """Note when attempts were entered, and in which processes."""
    columns = [_joined(event.keys for event in events), _joined(event.attempts for event in events)]
    columns.append(_joined(event.entered_us for event in events))
    columns.append(_joined(event.pids or (0,) * len(event.keys) for event in events))
    bulk.change(connection, _ENTERED, (), *_first_of_each(columns, 2))


def ended(
    connection: sqlite3.Connection,
    events: Sequence[AttemptsEnded],
    nodes: Sequence[int | None],
    *,
    frame: int,
    results_at: int,
) -> None:
    """Note how attempts ended. `nodes[i]` is the number of event i's node, None where its reports are stale.

    The results of these events begin at `results_at` of the results of `frame`.
    """
    _errors(connection, events, nodes)
    _logs(connection, events, nodes)
    _exit_codes(connection, events, nodes)
    keys = _joined(event.keys for event in events)
    columns: list[Sequence[int | None]] = [
        keys,
        _joined(event.attempts for event in events),
        list(chain.from_iterable([node] * len(event.keys) for event, node in zip(events, nodes, strict=True))),
        _joined(event.ends for event in events),
        _joined(event.entered_us for event in events),
        _joined(event.ended_us for event in events),
        _joined(event.pids for event in events),
        range(results_at, results_at + len(keys)),
    ]
    bulk.change(connection, _ENDED, (frame,), *_first_of_each(columns, 3))


def progress(
    connection: sqlite3.Connection, events: Sequence[ProgressMade], nodes: Sequence[int | None], now_us: int
) -> None:
    """Note how far attempts say they are; see `ended` for `nodes`."""
    rows = [
        (key, attempt, node, share, text)
        for event, node in zip(events, nodes, strict=True)
        for key, attempt, share, text in zip(event.keys, event.attempts, event.shares, event.texts, strict=True)
    ]
    if rows:
        bulk.change(connection, _PROGRESS, (now_us,), *zip(*rows, strict=True))


def checkpoints(
    connection: sqlite3.Connection,
    events: Sequence[CheckpointsStored],
    nodes: Sequence[int | None],
    *,
    frame: int,
    place: int,
) -> None:
    """Note where the newest checkpoints are; see `ended`: those of these events begin at `place` of `frame`."""
    rows = [
        (key, attempt, node, number, at_us)
        for event, node in zip(events, nodes, strict=True)
        for key, attempt, number, at_us in zip(event.keys, event.attempts, event.numbers, event.at_us, strict=True)
    ]
    bulk.change(connection, _CHECKPOINTS, (frame,), *zip(*rows, strict=True), range(place, place + len(rows)))
    if any(event.whys for event in events):
        _snapshots(connection, events, nodes, frame=frame, place=place)


def _snapshots(
    connection: sqlite3.Connection,
    events: Sequence[CheckpointsStored],
    nodes: Sequence[int | None],
    *,
    frame: int,
    place: int,
) -> None:
    """Note where those are that are snapshots of agents; the same content again is where it was."""
    rows = []
    for event, node in zip(events, nodes, strict=True):
        for i, _ in event.whys:
            rows.append((event.keys[i], event.attempts[i], node, contents(event.payloads[i])[0], place + i))
        place += len(event.keys)
    bulk.change(connection, _SNAPSHOTS, (frame,), *zip(*rows, strict=True))


def forget_checkpoints(connection: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Jobs that are over need theirs no more. Where there are none at all, that costs microseconds a frame."""
    if connection.execute("SELECT EXISTS (SELECT 1 FROM checkpoints)").fetchone()[0]:
        bulk.change(connection, _FORGET_CHECKPOINTS, (), keys)
        bulk.change(connection, _FORGET_SNAPSHOTS, (), keys)


def forget_snapshots(connection: sqlite3.Connection, decision: ForgetSnapshots) -> None:
    """An agent can go back to these no more."""
    text = "DELETE FROM snapshots WHERE key = ? AND hash = ?"
    connection.executemany(text, [(decision.key, hash_) for hash_ in decision.hashes])


def _errors(connection: sqlite3.Connection, events: Sequence[AttemptsEnded], nodes: Sequence[int | None]) -> None:
    rows = [
        (event.keys[x.index], event.attempts[x.index], node, x.type, x.message, x.traceback)
        for event, node in zip(events, nodes, strict=True)
        for x in event.errors
    ]
    if rows:
        bulk.change(connection, _ERRORS, (), *zip(*rows, strict=True))


def _logs(connection: sqlite3.Connection, events: Sequence[AttemptsEnded], nodes: Sequence[int | None]) -> None:
    rows = [
        (event.keys[index], event.attempts[index], node, file, start, end)
        for event, node in zip(events, nodes, strict=True)
        for index, file, start, end in event.logs
    ]
    if rows:
        bulk.change(connection, _LOGS, (), *zip(*rows, strict=True))


def _exit_codes(connection: sqlite3.Connection, events: Sequence[AttemptsEnded], nodes: Sequence[int | None]) -> None:
    rows = [
        (event.keys[index], event.attempts[index], node, code)
        for event, node in zip(events, nodes, strict=True)
        for index, code in event.exit_codes
    ]
    if rows:
        bulk.change(connection, _EXIT_CODES, (), *zip(*rows, strict=True))


def _joined(parts: Iterable[tuple[int, ...]]) -> Sequence[int]:
    return tuple(chain.from_iterable(parts))


def _first_of_each(columns: Sequence[Sequence[int | None]], width: int) -> Sequence[Sequence[int | None]]:
    """The columns without the rows whose first `width` values were there before: the first report counts."""
    if len(set(columns[0])) == len(columns[0]):
        return columns
    seen: dict[tuple[int | None, ...], tuple[int | None, ...]] = {}
    for row in zip(*columns, strict=True):
        seen.setdefault(row[:width], row)
    return tuple(zip(*seen.values(), strict=True))
