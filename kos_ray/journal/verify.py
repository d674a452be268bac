"""Proof that the journal is what it says: the chain of frames, and rows that are the fold of them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kos_ray.journal import chain, rows, schema
from kos_ray.journal.anchor import Anchor, missing
from kos_ray.journal.reader import connect_read_only
from kos_ray.journal.store import DATABASE, Journal
from kos_ray.model.errors import IllegalMove, JournalDamaged

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
                return _verify(connection, anchor)
        except _UNREADABLE as error:
            return Report(frames=0, last_seq=0, damage=f"{journal / DATABASE}: the database cannot be opened: {error}")
    return _verify(journal.connection, anchor)


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
        for frame in chain.frames(connection):
            rows.apply(connection, frame)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _verify(connection: sqlite3.Connection, anchor: Anchor | None) -> Report:
    count = seq = 0
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.create_rows(fresh)
        try:
            for frame in chain.frames(connection):
                rows.apply(fresh, frame)
                count, seq = count + 1, frame.last_seq
            damage = _broken_pages(connection) or (missing(connection, anchor) if anchor else "")
        except (JournalDamaged, IllegalMove, *_UNREADABLE) as error:
            told = (f"after sequence number {seq}: {error}", _broken_pages(connection))
            return Report(frames=count, last_seq=seq, damage="; ".join(filter(None, told)))
        compared: dict[str, int] = {}
        differences: list[Difference] = []
        try:
            for table in schema.ROW_TABLES:
                compared[table] = _compare(table, fresh, connection, differences)
        except _UNREADABLE as error:
            damage = "; ".join(filter(None, (f"rows of {table}: {error}", damage)))
    return Report(frames=count, last_seq=seq, rows=compared, differences=tuple(differences), damage=damage)


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
