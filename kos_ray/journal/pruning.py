"""What retention removes, and its removal in portions. The unit is a submission: it goes as a whole or not at all.

A submission stays while a job of it is not over, or was over for less than its state's time; while a job that is not
over waits for one of its jobs, is handed its result, or was submitted by one of them; and while a schedule may hand the
result of one to its next job.
"""

import contextlib
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

from kos_ray.journal.base import Anchored, Base, Ranges
from kos_ray.journal.codec import Frame
from kos_ray.model.errors import JournalUnwritable
from kos_ray.model.events import JobsSubmitted
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState

#: keys of jobs, ids of requests and frames that one transaction removes
PORTION = 250
#: columns by which rows belong to a job, or to the first job of a submission's array
_BY_KEY = {
    "jobs": "key",
    "attempts": "key",
    "errors": "key",
    "logs": "key",
    "dependencies": "key",
    "inputs": "key",
    "progress": "key",
    "checkpoints": "key",
    "snapshots": "key",
    "exit_codes": "key",
    "raised": "key",
    "idempotency": "first",
    "arrays": "first",
}

#: what jobs that are not over refer to: parents that they wait for, whose results they get, that submitted them
_NEEDED = f"""
SELECT d.first, abs(d.count) FROM dependencies d JOIN jobs j ON j.key = d.key WHERE j.state < {JobState.SUCCEEDED}
UNION SELECT i.first, abs(i.count) FROM inputs i JOIN jobs j ON j.key = i.key WHERE j.state < {JobState.SUCCEEDED}
UNION SELECT a.parent, 1 FROM arrays a JOIN jobs j ON j.array = a.first
    WHERE a.parent > 0 AND j.state < {JobState.SUCCEEDED}"""

#: what was submitted from a key on may wait for jobs that were over long ago
_SINCE = """
SELECT first, abs(count) FROM dependencies WHERE key >= ?1
UNION SELECT first, abs(count) FROM inputs WHERE key >= ?1 UNION SELECT parent, 1 FROM arrays WHERE first >= ?1"""

_NAMESPACE = "SELECT namespace FROM specs WHERE spec = ?"
_CALLED = """
SELECT first FROM arrays WHERE id = ?
UNION SELECT first FROM arrays WHERE namespace = ? AND name = ? AND name <> ''"""

#: where rows refer to frames: column, table, and by which key
_IN_FRAMES = (
    *(("frame", "arrays", "first"), ("result_frame", "jobs", "key")),
    *(("frame", "checkpoints", "key"), ("frame", "snapshots", "key")),
)


def staying(
    folded: sqlite3.Connection, live: sqlite3.Connection, cutoffs: Mapping[JobState, int], wanted: Iterable[JobKey]
) -> Ranges:
    """The jobs that stay, of those in `folded` (rows as of the anchor); `live` are the rows as they are now.

    `cutoffs` has for each final state the instant before which a job must have ended; those in `wanted` stay anyway.
    """
    ages = " ".join(f"WHEN {int(state)} THEN {cutoffs[state]}" for state in JobState if state.final)
    young = f"""
    SELECT first, first + job_count FROM requests r WHERE EXISTS (
        SELECT 1 FROM jobs j WHERE j.key >= r.first AND j.key < r.first + r.job_count
        AND (j.state < {JobState.SUCCEEDED} OR j.ended_us >= CASE j.state {ages} END))"""
    found = set(folded.execute(young).fetchall())
    every = sorted(folded.execute("SELECT first, first + job_count FROM requests WHERE job_count > 0").fetchall())
    firsts = [first for first, _ in every]
    for first, count in [*live.execute(_NEEDED).fetchall(), *((key, 1) for key in wanted)]:
        for place in range(bisect_right(firsts, first) - 1, bisect_right(firsts, first + max(count, 1) - 1)):
            if place >= 0 and first < every[place][1]:
                found.add(every[place])
    return Ranges(tuple(sorted(found)))


def remove_rows(connection: sqlite3.Connection, first: int, past: int) -> None:
    """Remove all that is kept of jobs with keys from `first` up to `past`."""
    for table, column in _BY_KEY.items():
        connection.execute(f"DELETE FROM {table} WHERE {column} >= ? AND {column} < ?", (first, past))


def remove_all(connection: sqlite3.Connection, base: Base) -> None:
    """Remove in one go what does not stay, of rows as of the anchor."""
    for first, past in base.stay.gaps(base.next_key):
        remove_rows(connection, first, past)
    requests = connection.execute("SELECT request_id, first FROM requests").fetchall()
    gone = [(request,) for request, first in requests if base.gone(first)]
    connection.executemany("DELETE FROM requests WHERE request_id = ?", gone)


def frames_kept(live: sqlite3.Connection, anchor_seq: int, base: Base) -> tuple[tuple[int, bytes], ...]:
    """Frames up to the anchor that hold arguments, results or checkpoints of jobs that stay, with their hashes."""
    wanted: set[int] = set()
    for first, past in base.stay.pairs:
        for column, table, key in _IN_FRAMES:
            text = f"SELECT {column} FROM {table} WHERE {key} >= ? AND {key} < ? AND {column} > 0 AND {column} <= ?"
            wanted |= {row[0] for row in live.execute(text, (first, past, anchor_seq))}
    hashes = (live.execute("SELECT hash FROM frames WHERE first_seq = ?", (seq,)).fetchone() for seq in sorted(wanted))
    return tuple((seq, found[0]) for seq, found in zip(sorted(wanted), hashes, strict=True) if found)


def contradicts(live: sqlite3.Connection, base: Base) -> bool:
    """Whether something was submitted since the base was made that refers to what would go with it."""
    return any(
        base.gone(key)
        for first, count in live.execute(_SINCE, (base.next_key,)).fetchall()
        for key in {first, first + max(count, 1) - 1}
        if first
    )


def make_way(connection: sqlite3.Connection, frame: Frame, base: Base) -> None:
    """Let what a frame brings have ids, names and request ids of what is going: those rows go first."""
    for event in frame.events:
        if not isinstance(event, JobsSubmitted):
            continue
        found = connection.execute("SELECT first FROM requests WHERE request_id = ?", (event.request_id,)).fetchone()
        if found and base.gone(found[0]):
            connection.execute("DELETE FROM requests WHERE request_id = ?", (event.request_id,))
        fresh = {key: spec.namespace for key, spec in event.new_specs}
        names = dict(event.names)
        for index, (id_, key) in enumerate(zip(event.ids, event.specs, strict=True)):
            space = fresh.get(key) or connection.execute(_NAMESPACE, (key,)).fetchone()[0]
            for (first,) in connection.execute(_CALLED, (id_, space, names.get(index, ""))).fetchall():
                if base.gone(first):
                    connection.execute("DELETE FROM arrays WHERE first = ?", (first,))


def portions(connection: sqlite3.Connection, found: Anchored, base: Base) -> Iterator[int]:
    """Remove what does not stay, a portion and a transaction at each step; how many rows or frames went in it.

    It may be broken off and begun again at any time.
    """
    yield from _job_portions(connection, base)
    yield from _request_portions(connection, base)
    yield from _frame_portions(connection, found, base)


def _job_portions(connection: sqlite3.Connection, base: Base) -> Iterator[int]:
    for low, past in base.stay.gaps(base.next_key):
        first = low
        while True:
            text = "SELECT min(key) FROM jobs WHERE key >= ? AND key < ?"
            there = connection.execute(text, (first, past)).fetchone()[0]
            if there is None:
                break
            first = there
            end = min(past, first + PORTION)
            with transaction(connection):
                remove_rows(connection, first, end)
            yield end - first
            first = end


def _request_portions(connection: sqlite3.Connection, base: Base) -> Iterator[int]:
    last = ""
    while True:
        text = "SELECT request_id, first FROM requests WHERE request_id > ? ORDER BY request_id LIMIT ?"
        rows = connection.execute(text, (last, PORTION)).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        gone = [request for request, first in rows if base.gone(first)]
        if gone:
            marks = ",".join("?" * len(gone))
            text = f"DELETE FROM requests WHERE request_id IN ({marks})"
            with transaction(connection):
                connection.execute(text, gone)
            yield len(gone)


def _frame_portions(connection: sqlite3.Connection, found: Anchored, base: Base) -> Iterator[int]:
    kept = {seq for seq, _ in base.kept}
    last = 0
    while True:
        text = "SELECT first_seq FROM frames WHERE first_seq > ? AND last_seq <= ? ORDER BY first_seq LIMIT ?"
        rows = [row[0] for row in connection.execute(text, (last, found.seq, PORTION)).fetchall()]
        if not rows:
            return
        last = rows[-1]
        gone = [seq for seq in rows if seq not in kept]
        if gone:
            marks = ",".join("?" * len(gone))
            text = f"DELETE FROM frames WHERE first_seq IN ({marks})"
            with transaction(connection):
                connection.execute(text, gone)
            yield len(gone)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing.

    Raises:
        JournalUnwritable: the disk refuses.

    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        reach("pruning.before_commit")
        connection.execute("COMMIT")
        reach("pruning.after_commit")
    except BaseException as error:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.rollback()
        if isinstance(error, sqlite3.OperationalError):
            raise JournalUnwritable(str(error)) from error
        raise
