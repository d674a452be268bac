"""How answers are written: one JSON document, or tables and panels with colours on a terminal only."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import dataclasses
import enum
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kos_ray.observe.tables import Table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: a table, or labelled lines
Part = Table | Sequence[tuple[str, str]]

#: a pipe has no width; what reads it wants everything
_PIPE_WIDTH = 10_000
COLOURS = {
    "succeeded": "green",
    "running": "cyan",
    "launched": "cyan",
    "failed": "red",
    "lost": "red",
    "crashed": "red",
    "timed_out": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "stopping": "yellow",
    "held": "yellow",
    "ok": "green",
    "warn": "yellow",
    "bad": "red",
    "backoff": "yellow",
}


def now_us() -> int:
    """The wall clock in microseconds: for showing how long things have lasted, never for deciding."""
    return time.time_ns() // 1_000


def on_terminal() -> bool:
    """Whether people read standard output."""
    return sys.stdout.isatty()


def width() -> int:
    """Characters in a line."""
    return shutil.get_terminal_size().columns if on_terminal() else _PIPE_WIDTH


def emit(value: Any) -> None:
    """Writes `value` as one JSON document."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line for each kind of value
    """JSON data for anything: dataclasses as mappings, bytes by size and digest, the unknown by its repr."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else repr(key): plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else repr(value)


def show_table(table: Table) -> None:
    """A table: coloured and cut to fit on a terminal, plain columns in a pipe."""
    if not on_terminal():
        _show_columns(table)
        return
    from rich.console import Console

    Console(width=width()).print(picture(table))


def picture(parts: "Table | Sequence[Part]") -> "RenderableType":
    """What rich draws: a table cut to the width that there is, or tables and labelled lines under each other."""
    if isinstance(parts, Table):
        return _drawn(parts)
    from rich.console import Group
    from rich.text import Text

    return Group(*(_drawn(part) if isinstance(part, Table) else Text("\n".join(panel_lines(part))) for part in parts))


def _drawn(table: Table) -> "RenderableType":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for title in table.columns:
        drawn.add_column(_cell(title), justify="right" if title in table.numbers else "left")
    for row in table.rows:
        drawn.add_row(*(_cell(cell, COLOURS.get(cell.partition(" ")[0], "")) for cell in row))
    return drawn


def _cell(text: str, style: str = "") -> "Text":
    """One line. It says so itself: of columns that say so rich takes the same from each, short ones too."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _show_columns(table: Table) -> None:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    for row in rows:
        cells = (
            cell.rjust(size) if title in table.numbers else cell.ljust(size)
            for cell, size, title in zip(row, widths, table.columns, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def show_panel(lines: Sequence[tuple[str, str]]) -> None:
    """Labelled lines; a text of several lines is indented under its label."""
    bold = on_terminal() and "NO_COLOR" not in os.environ
    for line in panel_lines(lines, bold=bold):
        typer.echo(line)


def panel_lines(lines: Sequence[tuple[str, str]], *, bold: bool = False) -> list[str]:
    """See `show_panel`."""
    longest = max((len(label) for label, _ in lines), default=0)
    indent = "\n" + " " * (longest + 2)
    return [
        f"{typer.style(label.ljust(longest), bold=True) if bold else label.ljust(longest)}  "
        + text.rstrip().replace("\n", indent)
        for label, text in lines
    ]


def say(text: str, *, quiet: bool = False) -> None:
    """A line on standard error: what goes on, beside the answer."""
    if not quiet:
        typer.echo(text, err=True)
