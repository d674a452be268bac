"""The journal's one writer."""

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kos_ray.journal import base, bulk, chain, place, pruning, rows, schema
from kos_ray.journal.codec import Frame, StoredFrame, check, encode_body, frame_hash, genesis
from kos_ray.journal.lookups import Lookups
from kos_ray.model.decisions import Decision
from kos_ray.model.errors import JournalTaken, JournalUnwritable
from kos_ray.model.events import Event, JournalCompacted
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey

DATABASE = "journal.db"
#: The write-ahead log is copied into the database when it is larger, in bytes.
_WAL_BYTES = 16 * 1024 * 1024
_CACHE_KIB = 16 * 1024
#: a disk that has not even so much room for a file of this name is full, in bytes
_PROBE, _PROBE_BYTES = "probe", 1024 * 1024

_INSERT = """
INSERT INTO frames (first_seq, last_seq, epoch, now_us, schema, prev_hash, hash, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


class Journal(Lookups):
    """Frames and current rows in one SQLite database. One process opens it for writing, one caller at a time uses it.

    Open it with `open` (a directory), `in_memory` (simulations) or `on` (again, after a simulated crash).
    """

    def __init__(self, connection: sqlite3.Connection, *, path: Path | None = None, held: int | None = None) -> None:
        super().__init__(connection)
        #: the database file, None in memory
        self.path = path
        self._log = str(path.with_name(DATABASE + "-wal")) if path else None
        self._held = held
        self._closed = False
        self._checkpoint_at = _WAL_BYTES
        self.cluster_id = chain.cluster_id(connection)
        newest = chain.last(connection)
        if newest:
            check(newest)
        self.last_seq = newest.last_seq if newest else 0
        self.last_epoch = newest.epoch if newest else 0
        self.last_now_us = newest.now_us if newest else 0
        self.last_hash = newest.hash if newest else genesis(chain.first_id(connection))
        #: while retention removes jobs: which ones; and whether a frame says so yet
        self.leaving: base.Base | None = None
        self._removing = False
        begin = base.anchored(connection)
        if path is not None and begin is not None and not begin.done:
            self.leaving = base.load(path.parent, begin)
            self._removing = True

    @classmethod
    def open(
        cls,
        state_dir: Path,
        *,
        cluster_id: str | None = None,
        created_us: int | None = None,
        file_system: place.FileSystemType = place.file_system_type,
    ) -> "Journal":
        """Open the journal in a directory, or create it there; `cluster_id` and `created_us` are for a new one.

        Raises:
            JournalUnusable: another process holds it, it is on a network file system, of a newer version, or the
                journal of another cluster than `cluster_id`.
            JournalDamaged: the last frame is not what its hash says.

        """
        place.prepare(state_dir, file_system)
        held = place.lock(state_dir)
        try:
            path = state_dir / DATABASE
            connection = _connect(path)
            schema.prepare(
                connection,
                cluster_id=cluster_id or uuid.uuid4().hex,
                created_us=time.time_ns() // 1_000 if created_us is None else created_us,
            )
            place.sync_directory(state_dir)
            journal = cls(connection, path=path, held=held)
            reach("journal.opened")
            _check_cluster(state_dir, journal.cluster_id, cluster_id)
        except BaseException:
            os.close(held)
            raise
        return journal

    @classmethod
    def in_memory(cls, cluster_id: str) -> "Journal":
        """A journal that lives as long as its connection."""
        connection = _connect(None)
        schema.prepare(connection, cluster_id=cluster_id, created_us=0)
        return cls(connection)

    @classmethod
    def on(cls, connection: sqlite3.Connection) -> "Journal":
        """The journal on a connection whose last user is gone: what was not committed is rolled back.

        This is how a simulation has its scheduler die and come back: `Journal.on(dead.connection)`.
        """
        connection.rollback()
        return cls(connection)

    @property
    def connection(self) -> sqlite3.Connection:
        """The writing connection, for verification and for `on`."""
        return self._connection

    def close(self) -> None:
        """Copy the write-ahead log into the database, close it, and let the directory go; a second time is nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self.path is not None:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._connection.close()
            if self._held is not None:
                os.close(self._held)

    def append(self, *, now_us: int, epoch: int, events: Sequence[Event], decisions: Sequence[Decision]) -> Frame:
        """Commit one frame and the rows it moves. When this returns, it is on disk.

        Raises:
            ValueError: nothing to write, or `now_us` or `epoch` below the last frame's.
            IllegalMove: a decision does not fit its job.
            JournalUnwritable: the disk refuses.
            JournalTaken: another scheduler has written since.
            Whatever is raised, nothing of the frame is left, and the journal can be used as before.

        """
        count = len(events) + len(decisions)
        if not count or now_us < self.last_now_us or epoch < self.last_epoch:
            raise ValueError(
                f"a frame needs an event or a decision (found {count}), now_us >= {self.last_now_us} (found {now_us}) "
                f"and epoch >= {self.last_epoch} (found {epoch})"
            )
        self._checkpoint()
        stored = StoredFrame(
            self.last_seq + 1,
            self.last_seq + count,
            epoch,
            now_us,
            schema.SCHEMA_VERSION,
            self.last_hash,
            b"",
            encode_body(events, decisions),
        )
        stored = replace(stored, hash=frame_hash(stored))
        frame = Frame(
            first_seq=stored.first_seq,
            last_seq=stored.last_seq,
            epoch=epoch,
            now_us=now_us,
            schema=stored.schema,
            events=tuple(events),
            decisions=tuple(decisions),
            prev_hash=stored.prev_hash,
            hash=stored.hash,
        )
        self._commit(stored, frame)
        self.last_seq, self.last_hash = frame.last_seq, frame.hash
        self.last_epoch, self.last_now_us = epoch, now_us
        reach("journal.after_commit")
        return frame

    def resolve(self, namespace: str, id_or_name: str) -> tuple[JobKey, int] | None:
        """See `Lookups`. What retention is about to remove is not found any more, so that nothing new refers to it."""
        found = super().resolve(namespace, id_or_name)
        return None if found and self.leaving and self.leaving.gone(found[0]) else found

    def taken(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], JobKey]:
        """See `Lookups`. What is being removed leaves its name to others."""
        return {place: first for place, first in super().taken(places).items() if not self._goes(first)}

    def request(self, request_id: str) -> tuple[JobKey, int] | None:
        """See `Lookups`. One whose jobs are being removed is a new one."""
        found = super().request(request_id)
        return None if found and self._goes(found[0]) else found

    def keyed(self, namespace: str, idempotency_key: str) -> tuple[JobKey, str, str] | None:
        """See `Lookups`. A job that is being removed leaves its key to others."""
        found = super().keyed(namespace, idempotency_key)
        return None if found and self._goes(found[0]) else found

    def _goes(self, key: JobKey) -> bool:
        return self._removing and self.leaving is not None and self.leaving.gone(key)

    def removal(self) -> Iterator[int]:
        """Remove what the last `JournalCompacted` says, in portions, each a short transaction; see `pruning.portions`.

        It may be broken off: whoever opens the journal next goes on with it.
        """
        begin = base.anchored(self._connection)
        if begin is None or begin.done or self.leaving is None:
            return
        yield from pruning.portions(self._connection, begin, self.leaving)
        with pruning.transaction(self._connection):
            base.note(self._connection, replace(begin, done=True))
        self.leaving, self._removing = None, False
        if self.path is not None:
            base.sweep(self.path.parent, begin)

    def check_ours(self) -> None:
        """See that nobody else has written since: the lock cannot tell once the directory is another machine's.

        Raises:
            JournalTaken: somebody has; the message says with which epoch.

        """
        text = "SELECT last_seq, epoch, hash FROM frames ORDER BY first_seq DESC LIMIT 1"
        found = self._connection.execute(text).fetchone()
        if found is not None and (found[0] != self.last_seq or found[2] != self.last_hash):
            raise JournalTaken(
                f"{self.path or 'memory'}: a scheduler of epoch {found[1]} has gone on from it up to event {found[0]}; "
                f"this one, of epoch {self.last_epoch}, had written up to {self.last_seq}"
            )

    def probe(self) -> None:
        """Write a file beside the database, and remove it: cheaper than to find out by a frame.

        Raises:
            JournalUnwritable: there is no room for it, or nothing can be written there.

        """
        if self.path is None:
            return
        probe = self.path.with_name(_PROBE)
        try:
            with probe.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise JournalUnwritable(f"{self.path}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)

    def frames(self, after: int = 0) -> Iterator[Frame]:
        """Frames beyond the sequence number `after`, proved link by link; see `chain.frames`."""
        return chain.frames(self._connection, after)

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log, in bytes; it grows without bound only while a reader holds it."""
        if self._log is None:
            return 0
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - after each commit: a tenth of what pathlib takes
        except FileNotFoundError:
            return 0

    def _commit(self, stored: StoredFrame, frame: Frame) -> None:
        connection = self._connection
        reach("journal.before_begin")
        try:
            connection.execute("BEGIN IMMEDIATE")
            self.check_ours()
            columns = (stored.first_seq, stored.last_seq, stored.epoch, stored.now_us, stored.schema)
            connection.execute(_INSERT, (*columns, stored.prev_hash, stored.hash, stored.body))
            reach("journal.frame_written")
            if self._removing and self.leaving is not None:
                pruning.make_way(connection, frame, self.leaving)
            rows.apply(connection, frame)
            for event in frame.events:
                if isinstance(event, JournalCompacted):
                    base.note(connection, base.of_event(event, frame.now_us))
            reach("journal.before_commit")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            # Disk full, I/O error, read-only file system: what the disk says, not what the frame is.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.rollback()
            raise JournalUnwritable(f"{self.path or 'memory'}: {error}") from error
        except BaseException:
            connection.rollback()
            raise
        self._removing = self._removing or any(isinstance(event, JournalCompacted) for event in frame.events)

    def _checkpoint(self) -> None:
        """Copy the log into the database when it has grown, between commits, so that no reader waits for it."""
        if self.wal_bytes < self._checkpoint_at:
            return
        reach("journal.before_checkpoint")
        try:
            busy, log, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            raise JournalUnwritable(f"{self.path}: {error}") from error
        reach("journal.after_checkpoint")
        # The next commit starts the log over if all was copied; else a reader holds it, and trying again at once
        # would copy nothing.
        complete = not busy and log == copied
        self._checkpoint_at = _WAL_BYTES if complete else self.wal_bytes + _WAL_BYTES // 4


def _check_cluster(state_dir: Path, found: str, expected: str | None) -> None:
    if expected and found != expected:
        raise schema.JournalUnusable(f"{state_dir} belongs to cluster {found}, expected {expected}")


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path or ":memory:",
        isolation_level=None,
        check_same_thread=False,
        cached_statements=bulk.CACHED_STATEMENTS,
    )
    if path is not None:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # A log that starts over is cut to what it holds: its size then says how far readers are behind.
        connection.execute("PRAGMA journal_size_limit = 0")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection
