"""The reader: what happened and how things stand, for anyone on the head, beside the running scheduler.

Every question is answered by transactions that last well under a second, because the write-ahead log cannot start over
while one is open: tables are walked in windows of keys.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kos_ray.journal import bulk, chain, schema, shapes
from kos_ray.journal.again import drafts
from kos_ray.journal.base import Anchored, anchored
from kos_ray.journal.codec import Frame
from kos_ray.journal.lookups import Lookups
from kos_ray.journal.store import DATABASE
from kos_ray.model.errors import NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.views import AttemptView, ClusterStatus, EventView, JobView, NodeView

#: keys that one transaction walks over
_WINDOW = 200_000
#: names that a wrong one is compared with
_NAMES_MAX = 2_000
#: jobs that one query shows
_VIEWS = 5_000


def connect_read_only(state_dir: Path) -> sqlite3.Connection:
    """A connection to the journal in a directory that can change nothing.

    Raises:
        NotFound: there is no journal.
        JournalUnusable: it is of another version.

    """
    path = (state_dir / DATABASE).resolve()
    if not path.exists():
        raise NotFound(f"there is no journal in {state_dir}")
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=bulk.CACHED_STATEMENTS,
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        schema.check_current(connection)
    except BaseException:
        connection.close()
        raise
    return connection


class JournalReader(Lookups):
    """Answers from the journal in a state directory; several readers and the writer work side by side."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(connect_read_only(state_dir))
        self.state_dir = state_dir

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def job(self, namespace: str, ref: str) -> JobView:
        """One job by its public id, or by its name in `namespace`.

        Raises:
            NotFound: there is none; the message has what comes near.

        """
        found = self.resolve(namespace, ref)
        if found is None:
            raise NotFound(f"there is no job {ref!r} in namespace {namespace!r}{self._near(namespace, ref)}")
        first, count = found
        if count >= 0:
            raise NotFound(f"{ref} is an array of {count} jobs; its items are {ref}.0 to {ref}.{count - 1}")
        return self._job_views("j.key = ?", (first,))[0]

    def views(self, keys: Iterable[JobKey]) -> list[JobView]:
        """Jobs by key, in the order of `keys`; those that do not exist are left out."""
        wanted = list(keys)
        found: dict[int, JobView] = {}
        for start in range(0, len(wanted), _VIEWS):
            part = wanted[start : start + _VIEWS]
            views = self._job_views("j.key IN (SELECT value FROM json_each(?))", (json.dumps(part),), len(part))
            found |= {view.key: view for view in views}
        return [found[key] for key in wanted if key in found]

    def frames(self, after: int = 0) -> Iterator[Frame]:
        """Frames beyond the sequence number `after`, proved link by link; see `chain.frames`."""
        return chain.frames(self._connection, after)

    @property
    def begin(self) -> Anchored | None:
        """Where the chain begins, None where retention has removed nothing."""
        return anchored(self._connection)

    def remaining(self, after: int = 0, needed: Callable[[bytes], bool] = lambda _: True) -> Iterator[Frame]:
        """The same, of what retention has left; see `chain.remaining`."""
        return chain.remaining(self._connection, after, needed)

    def jobs(
        self,
        *,
        state: JobState | None = None,
        type: str | None = None,  # noqa: A002
        namespace: str | None = None,
        tag: str | None = None,
        prefix: str = "",
        limit: int = 50,
        before_key: JobKey | None = None,
    ) -> list[JobView]:
        """Jobs that have all that is asked for, newest first, at most `limit`.

        `prefix` is how the job's name or its array's id begins; the next page has `before_key` of the last one shown.
        """
        where, values = _filters(state=state, type_=type, namespace=namespace, tag=tag, prefix=prefix)
        high = before_key or self.next_job_key
        found: list[JobView] = []
        while high > 1 and len(found) < limit:
            low = max(1, high - _WINDOW)
            bounds = ("j.key >= ? AND j.key < ?", *where)
            found += self._job_views(" AND ".join(bounds), (low, high, *values), limit - len(found))
            high = JobKey(low)
        return found

    def array(self, id: str) -> dict[str, int]:  # noqa: A002
        """The jobs of an array by state, or of the single job of that id.

        Raises:
            NotFound: there is none.

        """
        row = self._connection.execute("SELECT first, abs(count) FROM arrays WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise NotFound(f"there is no array {id!r}{self._near('', id)}")
        return self._count(row[0], row[0] + row[1], None)

    def counts(self, namespace: str | None = None) -> dict[str, int]:
        """All jobs by state; states that no job is in are left out."""
        return self._count(1, self.next_job_key, namespace)

    def again(self, namespace: str, ref: str, *, from_failed: bool) -> list[dict[str, Any]]:
        """What a job or an array was submitted as, to be submitted again: fields of drafts (see `spec.lower.Draft`).

        With `from_failed` only for those that ended without success; see `again.drafts`.

        Raises:
            NotFound: there is no such job.

        """
        found = self.resolve(namespace, ref)
        if found is None:
            raise NotFound(f"there is no job {ref!r} in namespace {namespace!r}{self._near(namespace, ref)}")
        first, count = found
        keys = [JobKey(key) for key in range(first, first + abs(count))]
        if from_failed:
            states = self.states(keys)
            keys = [key for key in keys if states[key].final and states[key] is not JobState.SUCCEEDED]
        if not keys:
            return []
        return drafts(self, self._connection, keys, count)

    def attempts(self, key: JobKey) -> list[AttemptView]:
        """All attempts of a job, the first one first."""
        rows = self._connection.execute(shapes.ATTEMPTS, {"key": key}).fetchall()
        return [shapes.attempt_view(row) for row in rows]

    def attempt_ends(self, keys: Iterable[JobKey]) -> dict[tuple[int, int], AttemptEnd]:
        """How those attempts of jobs ended that have, by key and number."""
        wanted = list(keys)
        rows = [row for text in shapes.ENDS for row in bulk.select(self._connection, text, (), wanted)]
        return {(key, attempt): AttemptEnd(outcome) for key, attempt, outcome in rows}

    def submitted_in(self, key: JobKey) -> int:
        """The first sequence number of the frame that brought a job.

        Raises:
            NotFound: there is no such job.

        """
        row = self._connection.execute(shapes.BROUGHT, (key,)).fetchone()
        if row is None:
            raise NotFound(f"there is no job {key}")
        first: int = row[0]
        return first

    def result(self, key: JobKey) -> tuple[JobState, bytes]:
        """A job's state and its result payload, b"" where there is none.

        Raises:
            NotFound: there is no such job.

        """
        states = self.states([key])
        if key not in states:
            raise NotFound(f"there is no job {key}")
        return states[key], self.results([key]).get(key, b"")

    def nodes(self) -> list[NodeView]:
        """All nodes that ever joined, in the order they did."""
        return [shapes.node_view(row) for row in self._connection.execute(shapes.NODES).fetchall()]

    def events(self, since_seq: int, limit: int) -> list[EventView]:
        """At most `limit` events and decisions after the sequence number `since_seq`, oldest first."""
        found: list[EventView] = []
        for frame in chain.remaining(self._connection, since_seq):
            found += [view for view in shapes.event_views(frame) if view.seq > since_seq]
            if len(found) >= limit:
                break
        return found[:limit]

    def log_blobs(self) -> Iterator[str]:
        """Hashes of all logs that were ever stored."""
        for row in self._connection.execute("SELECT blob FROM log_blobs"):
            yield row[0]

    @property
    def cluster_id(self) -> str:
        """The cluster that the journal belongs to."""
        return chain.cluster_id(self._connection)

    def status(self) -> ClusterStatus:
        """The whole in a few numbers."""
        newest = chain.last(self._connection)
        database = self.state_dir / DATABASE
        return ClusterStatus(
            cluster_id=self.cluster_id,
            epoch=newest.epoch if newest else 0,
            seq=newest.last_seq if newest else 0,
            state_dir=str(self.state_dir),
            jobs=self.counts(),
            nodes=tuple(self.nodes()),
            journal_bytes=_size(database),
            wal_bytes=_size(database.with_name(DATABASE + "-wal")),
        )

    def _job_views(self, where: str, values: tuple[Any, ...], limit: int = 1) -> list[JobView]:
        text = f"{shapes.JOBS} WHERE {where} ORDER BY j.key DESC LIMIT ?"
        rows = self._connection.execute(text, (*values, limit)).fetchall()
        after = self._after([JobKey(row[0]) for row in rows])
        submitters = [JobKey(row[-1]) for row in rows if row[-1]]
        parents = self.public_ids(submitters) if submitters else {}
        views = [
            shapes.job_view(row, self.spec(row[1]), after.get(row[0], ()), parents.get(row[-1], "")) for row in rows
        ]
        again = [view.key for view in views if view.attempt > 1]
        raised = dict(bulk.select(self._connection, shapes.RAISED, (), again)) if again else {}
        return [shapes.with_memory(view, raised[view.key]) if view.key in raised else view for view in views]

    def _after(self, keys: list[JobKey]) -> dict[int, tuple[tuple[str, str], ...]]:
        """The parents of jobs: an array as a whole where all of it is meant, else its items one by one."""
        ranges = bulk.select(self._connection, shapes.PARENTS, (), keys)
        found: dict[int, tuple[tuple[str, str], ...]] = {}
        for key, _, *parents in sorted(ranges, key=lambda row: row[:2]):
            found[key] = found.get(key, ()) + shapes.parent_ids(*parents)
        return found

    def _count(self, low: int, high: int, namespace: str | None) -> dict[str, int]:
        total: Counter[int] = Counter()
        where = "" if namespace is None else "AND spec IN (SELECT spec FROM specs WHERE namespace = ?)"
        values = () if namespace is None else (namespace,)
        for start in range(low, high, _WINDOW):
            window = (start, min(high, start + _WINDOW))
            text = f"SELECT state, count(*) FROM jobs WHERE key >= ? AND key < ? {where} GROUP BY state"
            total.update(dict(self._connection.execute(text, (*window, *values)).fetchall()))
        return {JobState(state).name.lower(): total[state] for state in sorted(total)}

    def _near(self, namespace: str, ref: str) -> str:
        text = "SELECT name FROM arrays WHERE namespace = ? AND name <> '' ORDER BY first DESC LIMIT ?"
        names = [row[0] for row in self._connection.execute(text, (namespace, _NAMES_MAX))]
        text = "SELECT id FROM arrays WHERE id >= ? AND id < ? LIMIT 3"
        ids = [row[0] for row in self._connection.execute(text, (ref, ref + "\U0010ffff"))] if ref else []
        near = [*get_close_matches(ref, names, n=3), *ids]
        begin = anchored(self._connection)
        gone = f"; retention removed jobs that ended before {_day(begin.cutoff_us)}" if begin else ""
        return gone + (f"; near it are {', '.join(near)}" if near else "")


def _filters(
    *, state: JobState | None, type_: str | None, namespace: str | None, tag: str | None, prefix: str
) -> tuple[list[str], list[Any]]:
    """Conditions on `jobs j` and their values. Specs are few against jobs: they are chosen first."""
    where: list[str] = []
    values: list[Any] = []

    def ask(condition: str, *given: Any) -> None:
        where.append(condition)
        values.extend(given)

    if state is not None:
        ask("j.state = ?", int(state))
    if type_ is not None:
        ask("j.spec IN (SELECT spec FROM specs WHERE type = ?)", type_)
    if namespace is not None:
        ask("j.spec IN (SELECT spec FROM specs WHERE namespace = ?)", namespace)
    if tag is not None:
        ask("j.spec IN (SELECT s.spec FROM specs s, json_each(s.tags) t WHERE t.value = ?)", tag)
    if prefix:
        end = prefix + "\U0010ffff"
        names = "name >= ? AND name < ? AND name <> ''"
        ids = "SELECT first FROM arrays WHERE id >= ? AND id < ?"
        ask(f"j.array IN ({ids} UNION SELECT first FROM arrays WHERE {names})", prefix, end, prefix, end)
    return where, values


def _day(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
