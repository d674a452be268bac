"""Frames read back, link by link."""

import sqlite3
from collections.abc import Iterator
from typing import Any

from kos_ray.journal.codec import Frame, StoredFrame, decode, genesis
from kos_ray.model.errors import JournalDamaged

#: a flipped bit in the database can give a value another type; here each has its own again, to be found by the hash
_COLUMNS = (
    "first_seq, CAST(last_seq AS INTEGER), CAST(epoch AS INTEGER), CAST(now_us AS INTEGER), CAST(schema AS INTEGER), "
    "CAST(prev_hash AS BLOB), CAST(hash AS BLOB), CAST(body AS BLOB)"
)
#: rows in one transaction: a reader must not hold the write-ahead log for long
_PORTION = 64


def cluster_id(connection: sqlite3.Connection) -> str:
    """The cluster that the journal belongs to."""
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


def frames(connection: sqlite3.Connection, after: int = 0) -> Iterator[Frame]:
    """Frames that reach beyond the sequence number `after`, oldest first, each proved to follow the one before.

    Raises:
        JournalDamaged: a frame was changed, is missing, or cannot be read; the message says which, what was expected
            and what was found.

    """
    start = holding(connection, after)
    link = _Link(connection, start)
    if start is not None and start.last_seq > after:
        yield decode(start)
    position = start.first_seq if start else 0
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
            yield decode(stored)
        position = rows[-1][0]


def _stored(row: tuple[Any, ...]) -> StoredFrame:
    stored = StoredFrame(*row)
    if None in row:
        raise JournalDamaged(f"{stored.place}: expected a value in every column, found {row.count(None)} without")
    return stored


class _Link:
    """What the next frame must follow."""

    def __init__(self, connection: sqlite3.Connection, start: StoredFrame | None) -> None:
        self.last_seq = start.last_seq if start else 0
        self.hash = start.hash if start else genesis(cluster_id(connection))
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
