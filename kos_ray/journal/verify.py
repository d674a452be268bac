"""Proof that the journal is what it says: the chain of frames, and rows that are the fold of them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kos_ray.journal import base, chain, pruning, rows, schema
from kos_ray.journal.anchor import Anchor, missing
from kos_ray.journal.reader import connect_read_only
from kos_ray.journal.store import DATABASE, Journal
from kos_ray.model.errors import IllegalMove, JournalDamaged
from kos_ray.model.events import JournalCompacted

#: differences that a report names, and problems of the database file
_DIFFERENCES_MAX = 20
_PROBLEMS_MAX = 5
#: what reading a damaged database can end in: texts that are none, columns that a changed schema does not have
_UNREADABLE = (sqlite3.Error, ValueError, TypeError, LookupError)
#: how SQLite names a page, counted from 1
_PAGE = re.compile(r"\bpage (\d+)")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the tables are not what the frames say; column "" is a row that is missing or too many."""

    table: str
    key: tuple[Any, ...]
    column: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        what = f"{self.table} {self.key}" + (f" {self.column}" if self.column else "")
        return f"{what}: expected {self.expected!r}, found {self.found!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` found. `rows` counts the rows compared, by table."""

    frames: int
    last_seq: int
    rows: dict[str, int] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    #: why frames or database cannot be trusted, "" when they can
    damage: str = ""

    @property
    def good(self) -> bool:
        """Whether everything is as it should be."""
        return not self.differences and not self.damage

    def __str__(self) -> str:
        head = f"{self.frames} frames up to sequence number {self.last_seq}, {sum(self.rows.values())} rows"
        return "\n".join([head, *([self.damage] if self.damage else []), *map(str, self.differences)])


def verify(journal: Journal | Path, anchor: Anchor | None = None) -> Report:
    """Check the chain, fold all frames into fresh rows, and compare every table. Nothing is changed.

    `journal` is an open journal between two frames, or a state directory, where a scheduler may be writing: its
    write-ahead log grows as long as this takes. It must hold the `anchor`, where one is given.
    """
    if isinstance(journal, Path):
        try:
            with closing(connect_read_only(journal)) as connection:
                connection.execute("BEGIN")
                return _verify(connection, anchor, journal)
        except _UNREADABLE as error:
            return Report(frames=0, last_seq=0, damage=f"{journal / DATABASE}: the database cannot be opened: {error}")
    return _verify(journal.connection, anchor, journal.path.parent if journal.path else None)


def rebuild_rows(journal: Journal) -> None:
    """Replace all rows by the fold of the frames, in one transaction.

    Raises:
        JournalDamaged: a frame is damaged; the rows stay as they were.

    """
    connection = journal.connection
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table in schema.ROW_TABLES:
            connection.execute(f"DROP TABLE {table}")
        schema.create_rows(connection)
        begin = base.anchored(connection)
        if begin is not None and journal.path is not None:
            base.fill(connection, base.load(journal.path.parent, begin))
        for frame in chain.frames(connection, begin.seq if begin else 0):
            rows.apply(connection, frame)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _verify(connection: sqlite3.Connection, anchor: Anchor | None, state_dir: Path | None) -> Report:
    count = seq = 0
    said: base.Anchored | None = None
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.create_rows(fresh)
        try:
            begin = base.anchored(connection)
            stands = base.load(state_dir, begin) if begin and state_dir else None
            if begin and stands:
                base.fill(fresh, stands)
                seq = begin.seq
            for frame in chain.frames(connection, seq):
                rows.apply(fresh, frame)
                count, seq = count + 1, frame.last_seq
                compactions = [event for event in frame.events if isinstance(event, JournalCompacted)]
                said = base.of_event(compactions[-1], frame.now_us) if compactions else said
            damage = _broken_pages(connection) or (missing(connection, anchor) if anchor else "")
            damage = damage or _not_what_was_said(connection, begin, said, stands)
        except (JournalDamaged, IllegalMove, *_UNREADABLE) as error:
            told = (f"after sequence number {seq}: {error}", _broken_pages(connection))
            return Report(frames=count, last_seq=seq, damage="; ".join(filter(None, told)))
        compared: dict[str, int] = {}
        differences: list[Difference] = []
        if stands and begin and not begin.done:
            pruning.remove_all(connection := _copied(connection), stands)  # what is on its way out is not compared
        try:
            for table in schema.ROW_TABLES:
                compared[table] = _compare(table, fresh, connection, differences)
        except _UNREADABLE as error:
            damage = "; ".join(filter(None, (f"rows of {table}: {error}", damage)))
    return Report(frames=count, last_seq=seq, rows=compared, differences=tuple(differences), damage=damage)


def _not_what_was_said(
    connection: sqlite3.Connection, begin: base.Anchored | None, said: base.Anchored | None, stands: base.Base | None
) -> str:
    """What is wrong with the beginning of a journal that retention has cut; "" where nothing is, or it was not cut."""
    if begin is None:
        return f"retention removed frames up to {said.seq}, and the journal begins elsewhere" if said else ""
    if said is None or replace(said, done=begin.done) != begin:
        return f"the journal begins behind {begin.hash}@{begin.seq}, which no frame of it says"
    kept = dict(stands.kept) if stands else {}
    for frame in chain.kept(connection):
        if frame.hash != kept.pop(frame.first_seq, frame.hash if not begin.done else b""):
            return f"frame {frame.first_seq}..{frame.last_seq}: it is not one of those that were kept"
    return f"frames {sorted(kept)[:3]}: expected to be kept, and are not there" if kept else ""


def _copied(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The rows of a journal, in memory."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    schema.create_rows(copy)
    for table, found in base.rows_of(connection).items():
        base.insert(copy, table, found)
    return copy


def _broken_pages(connection: sqlite3.Connection) -> str:
    """What SQLite finds wrong with the file itself, and where that is; "" where nothing is."""
    try:
        found = connection.execute(f"PRAGMA integrity_check({_PROBLEMS_MAX})").fetchall()
        size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    except _UNREADABLE as error:
        return f"the database file cannot be checked: {error}"
    if found == [("ok",)]:
        return ""
    return "; ".join(
        _PAGE.sub(lambda page: f"{page[0]} (file offset {(int(page[1]) - 1) * size})", line) for (line,) in found
    )


def _compare(table: str, fresh: sqlite3.Connection, real: sqlite3.Connection, differences: list[Difference]) -> int:
    """Append what differs, up to the limit, and give the number of rows expected."""
    keys = schema.ROW_TABLES[table]
    columns = [row[1] for row in fresh.execute(f"PRAGMA table_info({table})")]
    count = 0
    for expected, found in _paired(_ordered(fresh, table, columns), _ordered(real, table, columns), len(keys)):
        count += expected is not None
        if expected == found:
            continue
        if len(differences) >= _DIFFERENCES_MAX:
            break
        key = (expected or found or ())[: len(keys)]
        if expected is None or found is None:
            differences.append(Difference(table, key, "", expected, found))
            continue
        differences += [
            Difference(table, key, column, a, b)
            for column, a, b in zip(columns, expected, found, strict=True)
            if a != b
        ]
    return count


_Row = tuple[Any, ...]


def _ordered(connection: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[_Row]:
    """All rows by key; keys are the first columns of every table."""
    order = ", ".join(schema.ROW_TABLES[table])
    yield from connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}")


def _paired(left: Iterator[_Row], right: Iterator[_Row], width: int) -> Iterator[tuple[_Row | None, _Row | None]]:
    """Rows of two tables side by side, None where one has no row of that key."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[:width] < b[:width]):
            yield a, None
            a = next(left, None)
        elif a is None or b[:width] < a[:width]:
            yield None, b
            b = next(right, None)
        else:
            yield a, b
            a, b = next(left, None), next(right, None)
