"""Frames read back, link by link."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from kos_ray.journal.base import Anchored, anchored
from kos_ray.journal.codec import Frame, StoredFrame, decode, genesis, undecoded
from kos_ray.model.errors import JournalDamaged

#: a flipped bit in the database can give a value another type; here each has its own again, to be found by the hash
_COLUMNS = (
    "first_seq, CAST(last_seq AS INTEGER), CAST(epoch AS INTEGER), CAST(now_us AS INTEGER), CAST(schema AS INTEGER), "
    "CAST(prev_hash AS BLOB), CAST(hash AS BLOB), CAST(body AS BLOB)"
)
#: rows in one transaction: a reader must not hold the write-ahead log for long
_PORTION = 64


#: the name under which a copy's own id stands beside the one that its chain began with
ADOPTED = "adopted_id"


def cluster_id(connection: sqlite3.Connection) -> str:
    """The cluster that the journal belongs to."""
    text = "SELECT value FROM meta WHERE name IN (?, 'cluster_id') ORDER BY name LIMIT 1"
    found: str = connection.execute(text, (ADOPTED,)).fetchone()[0]
    return found


def first_id(connection: sqlite3.Connection) -> str:
    """The cluster in which the chain of hashes began: another one where a copy was adopted since."""
    found: str = connection.execute("SELECT value FROM meta WHERE name = 'cluster_id'").fetchone()[0]
    return found


def last(connection: sqlite3.Connection) -> StoredFrame | None:
    """The newest frame, None in an empty journal."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM frames ORDER BY first_seq DESC LIMIT 1").fetchone()
    return _stored(row) if row else None


def holding(connection: sqlite3.Connection, seq: int) -> StoredFrame | None:
    """The frame in which the sequence number `seq` is, None where there is none."""
    text = f"SELECT {_COLUMNS} FROM frames WHERE first_seq <= ? ORDER BY first_seq DESC LIMIT 1"
    row = connection.execute(text, (seq,)).fetchone()
    stored = _stored(row) if row else None
    return stored if stored and stored.last_seq >= seq else None


def frames(
    connection: sqlite3.Connection, after: int = 0, needed: Callable[[bytes], bool] = lambda _: True
) -> Iterator[Frame]:
    """Frames that reach beyond the sequence number `after`, oldest first, each proved to follow the one before.

    One whose body is not `needed` comes without events and decisions: to read these is most of the work.

    Raises:
        JournalDamaged: a frame was changed, is missing, or cannot be read; the message says which, what was expected
            and what was found. Or retention has removed frames after `after`.

    """
    begin = anchored(connection)
    if begin is not None and after < begin.seq:
        raise JournalDamaged(
            f"frames after {after}: retention removed those up to {begin.seq}, and what stands for them cannot be read "
            "(no snapshot, or one of another version): use the version that wrote it, or a backup"
        )
    start = holding(connection, after)
    link = _Link(connection, start, begin)
    if start is not None and start.last_seq > after:
        yield decode(start) if needed(start.body) else undecoded(start)
    position = start.first_seq if start else link.last_seq
    while True:
        text = f"SELECT {_COLUMNS} FROM frames WHERE first_seq > ? ORDER BY first_seq LIMIT {_PORTION}"
        try:
            rows = connection.execute(text, (position,)).fetchall()
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(f"frames after {link.last_seq}: the database cannot be read: {error}") from error
        if not rows:
            return
        for row in rows:
            stored = _stored(row)
            link.follow(stored)
            yield decode(stored) if needed(stored.body) else undecoded(stored)
        position = rows[-1][0]


def remaining(
    connection: sqlite3.Connection, after: int = 0, needed: Callable[[bytes], bool] = lambda _: True
) -> Iterator[Frame]:
    """The same where retention has removed frames: of those up to the anchor the ones that are kept, then all others.

    Raises:
        JournalDamaged: see `frames`.

    """
    begin = anchored(connection)
    if begin is not None and after < begin.seq:
        for frame in kept(connection):
            if frame.last_seq > after:
                yield frame
        after = begin.seq
    yield from frames(connection, after, needed)


def kept(connection: sqlite3.Connection) -> Iterator[Frame]:
    """Frames up to the anchor that are still there: jobs that stay refer to them. Each has the hash that it says.

    Raises:
        JournalDamaged: one has another.

    """
    begin = anchored(connection)
    text = f"SELECT {_COLUMNS} FROM frames WHERE last_seq <= ? AND first_seq > ? ORDER BY first_seq LIMIT 1"
    position = 0
    while begin is not None and (row := connection.execute(text, (begin.seq, position)).fetchone()):
        stored = _stored(row)
        yield decode(stored)
        position = stored.first_seq


def _stored(row: tuple[Any, ...]) -> StoredFrame:
    stored = StoredFrame(*row)
    if None in row:
        raise JournalDamaged(f"{stored.place}: expected a value in every column, found {row.count(None)} without")
    return stored


class _Link:
    """What the next frame must follow."""

    def __init__(self, connection: sqlite3.Connection, start: StoredFrame | None, begin: Anchored | None) -> None:
        if start is None and begin is not None:
            self.last_seq, self.hash = begin.seq, bytes.fromhex(begin.hash)
            self.epoch, self.now_us = begin.epoch, begin.now_us
            return
        self.last_seq = start.last_seq if start else 0
        self.hash = start.hash if start else genesis(first_id(connection))
        self.epoch = start.epoch if start else 0
        self.now_us = start.now_us if start else 0

    def follow(self, stored: StoredFrame) -> None:
        self._check(stored, "first sequence number", self.last_seq + 1, stored.first_seq)
        self._check(stored, "hash of the frame before", self.hash.hex(), stored.prev_hash.hex())
        if stored.epoch < self.epoch or stored.now_us < self.now_us:
            found, floor = f"epoch {stored.epoch}, now {stored.now_us}", f"{self.epoch}, {self.now_us}"
            raise JournalDamaged(f"{stored.place}: expected no less than {floor} of the frame before, found {found}")
        self.last_seq, self.hash = stored.last_seq, stored.hash
        self.epoch, self.now_us = stored.epoch, stored.now_us

    @staticmethod
    def _check(stored: StoredFrame, what: str, expected: object, found: object) -> None:
        if expected != found:
            raise JournalDamaged(f"{stored.place}: {what}: expected {expected}, found {found}")
