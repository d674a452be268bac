"""The base of a journal whose oldest frames are gone: rows and state as of the last of them, in the place of the first.

Retention removes the frames up to an anchor. Two files hold what they came to: the rows of the jobs that stay, and the
scheduler's state as a snapshot. The event `JournalCompacted`, a frame of the chain like any other, has the anchor and
the hashes of both files, so what stands before the chain is proved by the chain.
"""

import hashlib
import json
import os
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kos_ray.journal import schema
from kos_ray.journal.codec import pack, unpack
from kos_ray.journal.place import sync_directory
from kos_ray.journal.snapshots import BASE as FOLDER
from kos_ray.journal.snapshots import encode_snapshot
from kos_ray.model.errors import JournalDamaged
from kos_ray.model.events import JournalCompacted
from kos_ray.model.failpoints import reach

#: the name of the anchor among the journal's own facts
_META = "anchor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """Where the chain begins: the last frame that is gone, by its end and its hash, and what stands for all of them."""

    seq: int
    hash: str
    epoch: int
    now_us: int
    rows: str  #: SHA-256 of the file of rows
    state: str  #: SHA-256 of the snapshot
    #: jobs that ended before this are gone; and when that was done
    cutoff_us: int
    at_us: int
    #: whether all that is to go is gone
    done: bool = False


@dataclass(frozen=True, slots=True)
class Ranges:
    """Keys of jobs in order, as ranges `(first, past the last)` that do not overlap."""

    pairs: tuple[tuple[int, int], ...] = ()

    def __contains__(self, key: int) -> bool:
        place = bisect_right(self.pairs, key, key=lambda pair: pair[0]) - 1
        return place >= 0 and key < self.pairs[place][1]

    def gaps(self, below: int) -> Iterator[tuple[int, int]]:
        """What lies between them, from 1 up to the key `below`."""
        start = 1
        for first, past in self.pairs:
            if start < first:
                yield start, first
            start = max(start, past)
        if start < below:
            yield start, below


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the removed frames came to."""

    #: jobs that were submitted by then have keys below this
    next_key: int
    #: those of them that stay
    stay: Ranges
    #: frames up to the anchor that hold something of those, `(first sequence number, hash)`
    kept: tuple[tuple[int, bytes], ...]
    #: rows by table
    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    def gone(self, key: int) -> bool:
        """Whether a job was removed."""
        return 0 < key < self.next_key and key not in self.stay


def anchored(connection: sqlite3.Connection) -> Anchored | None:
    """Where the chain of a journal begins, None where its first frame is there."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (_META,)).fetchone()
    return Anchored(**json.loads(row[0])) if row else None


def note(connection: sqlite3.Connection, found: Anchored) -> None:
    """Remember where the chain begins, inside the open transaction."""
    text = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    connection.execute(text, (_META, json.dumps(asdict(found))))


def of_event(event: JournalCompacted, at_us: int) -> Anchored:
    """Where the chain begins, by the event that says so."""
    return Anchored(
        seq=event.anchor_seq,
        hash=event.anchor_hash,
        epoch=event.anchor_epoch,
        now_us=event.anchor_us,
        rows=event.rows,
        state=event.state,
        cutoff_us=event.cutoff_us,
        at_us=at_us,
    )


def save(state_dir: Path, seq: int, frame_hash: bytes, base: Base, state: Any) -> tuple[str, str]:
    """Write both files, durably; their SHA-256. They mean nothing until a frame names them."""
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    plain = {
        "next_key": base.next_key,
        "stay": base.stay.pairs,
        "kept": base.kept,
        "tables": base.tables,
    }
    hashes = []
    for suffix, data in (("rows", pack(plain)), ("snap", encode_snapshot(seq, frame_hash, state))):
        partial = folder / f"{seq}.{suffix}.partial"
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / f"{seq}.{suffix}")
        hashes.append(hashlib.sha256(data).hexdigest())
    sync_directory(folder)
    reach("base.saved")
    return hashes[0], hashes[1]


def load(state_dir: Path, found: Anchored) -> Base:
    """What stands for the removed frames.

    Raises:
        JournalDamaged: a file is not there, or not what the journal says.

    """
    for suffix, expected in (("snap", found.state), ("rows", found.rows)):
        path = state_dir / FOLDER / f"{found.seq}.{suffix}"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise JournalDamaged(f"{path}: expected what stands for the frames up to {found.seq}, found none") from None
        have = hashlib.sha256(data).hexdigest()
        if have != expected:
            raise JournalDamaged(f"{path}: expected SHA-256 {expected}, as the journal says, found {have}")
    plain = unpack(data)
    return Base(
        next_key=plain["next_key"],
        stay=Ranges(plain["stay"]),
        kept=plain["kept"],
        tables={name: list(rows) for name, rows in plain["tables"].items()},
    )


def fill(connection: sqlite3.Connection, base: Base) -> None:
    """Put its rows into tables that are empty."""
    for table, rows in base.tables.items():
        insert(connection, table, rows)


def insert(connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Put rows into a table."""
    if rows:
        connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)


def rows_of(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, by table and in the order of their keys."""
    return {
        table: connection.execute(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}").fetchall()
        for table, keys in schema.ROW_TABLES.items()
    }


def sweep(state_dir: Path, found: Anchored | None) -> None:
    """Remove files of other anchors: of those before, and of one that never came to a frame."""
    for path in (state_dir / FOLDER).glob("*"):
        if found is None or path.name not in (f"{found.seq}.rows", f"{found.seq}.snap"):
            path.unlink(missing_ok=True)
