"""Proof that the journal is what it says: the chain of frames, and rows that are the fold of them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kos_ray.journal import chain, rows, schema
from kos_ray.journal.reader import connect_read_only
from kos_ray.journal.store import Journal
from kos_ray.model.errors import IllegalMove, JournalDamaged

#: differences that a report names
_DIFFERENCES_MAX = 20


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


def verify(journal: Journal | Path) -> Report:
    """Check the chain, fold all frames into fresh rows, and compare every table. Nothing is changed.

    `journal` is an open journal between two frames, or a state directory, where a scheduler may be writing: its
    write-ahead log grows as long as this takes.
    """
    if isinstance(journal, Path):
        with closing(connect_read_only(journal)) as connection:
            connection.execute("BEGIN")
            return _verify(connection)
    return _verify(journal.connection)


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


def _verify(connection: sqlite3.Connection) -> Report:
    count = seq = 0
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.create_rows(fresh)
        try:
            for frame in chain.frames(connection):
                rows.apply(fresh, frame)
                count, seq = count + 1, frame.last_seq
            problems = connection.execute("PRAGMA integrity_check(5)").fetchall()
        except (JournalDamaged, IllegalMove, ValueError, sqlite3.Error) as error:
            return Report(frames=count, last_seq=seq, damage=f"after sequence number {seq}: {error}")
        damage = "" if problems == [("ok",)] else "; ".join(problem for (problem,) in problems)
        compared: dict[str, int] = {}
        differences: list[Difference] = []
        for table in schema.ROW_TABLES:
            compared[table] = _compare(table, fresh, connection, differences)
    return Report(frames=count, last_seq=seq, rows=compared, differences=tuple(differences), damage=damage)


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
