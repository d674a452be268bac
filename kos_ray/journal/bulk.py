"""Statements over columns: many rows go to SQLite in one statement, as bound values.

A text holds `{rows}` where `(VALUES (?, ?), (?, ?), ...)` belongs. The number of rows is rounded up to a power of two
with rows of NULL, so that a connection meets few different texts and keeps them prepared. Against `json_each` this
halves the cost of a row, and like it takes one step: `executemany` gives the interpreter lock away at each row.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

#: rows in one statement: the longer its program the more of it falls out of the processor's cache (1 024 rows cost
#: 1.6 times as much each), and each statement more gives the interpreter lock away once more
ROWS_MAX = 128
#: texts that a connection should keep prepared: a few dozen statements of up to eight lengths
CACHED_STATEMENTS = 512

Column = Sequence[Any]


def change(connection: sqlite3.Connection, text: str, constants: Sequence[Any], *columns: Column) -> int:
    """Run a changing statement over columns of equal length; `constants` are its `?1`, `?2`, ...

    Returns:
        How many rows changed. Padding is all NULL: the text must pass over it.

    """
    before = connection.total_changes  # a cursor's `rowcount` is -1 for statements that begin with WITH
    for sql, values in _portions(text, constants, columns):
        connection.execute(sql, values)
    return connection.total_changes - before


def select(connection: sqlite3.Connection, text: str, constants: Sequence[Any], *columns: Column) -> list[Any]:
    """Run a query over columns of equal length, and give all rows."""
    found: list[Any] = []
    for sql, values in _portions(text, constants, columns):
        found += connection.execute(sql, values)
    return found


def _portions(text: str, constants: Sequence[Any], columns: tuple[Column, ...]) -> Iterator[tuple[str, list[Any]]]:
    total, width = len(columns[0]), len(columns)
    for start in range(0, total, ROWS_MAX):
        part = columns if total <= ROWS_MAX else tuple(column[start : start + ROWS_MAX] for column in columns)
        count = len(part[0])
        rows = 1 << (count - 1).bit_length()
        values = [*constants, *chain.from_iterable(zip(*part, strict=True))]
        values += (None,) * (width * (rows - count))
        yield _sql(text, len(constants), width, rows), values


@lru_cache(maxsize=4 * CACHED_STATEMENTS)
def _sql(text: str, constants: int, width: int, rows: int) -> str:
    first = constants + 1
    lines = ["(" + ",".join(f"?{first + row * width + column}" for column in range(width)) + ")" for row in range(rows)]
    return text.replace("{rows}", "(VALUES " + ",".join(lines) + ")")
