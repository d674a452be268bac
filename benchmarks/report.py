"""Rows of the table, and how they are shown and written."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: ours, the peer's, their ratio, and what the ratio (or ours, without a peer) is to reach."""

    name: str
    value: float
    unit: str
    peer: float | None
    ratio: float | None
    goal: str
    met: bool


def compare(
    name: str,
    unit: str,
    ours: Callable[[], float],
    peer: Callable[[], float],
    *,
    rounds: int,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """Run ours and the peer in turn; the median of each, and their ratio against the goal."""
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        mine.append(ours())
        theirs.append(peer())
    value, other = statistics.median(mine), statistics.median(theirs)
    ratio = value / other
    if at_least is not None:
        return Row(
            name=name, value=value, unit=unit, peer=other, ratio=ratio, goal=f">= {at_least:g}x", met=ratio >= at_least
        )
    assert at_most is not None
    return Row(
        name=name, value=value, unit=unit, peer=other, ratio=ratio, goal=f"<= {at_most:g}x", met=ratio <= at_most
    )


def alone(
    name: str,
    unit: str,
    ours: Callable[[], float],
    *,
    rounds: int,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """The median of ours against a fixed goal."""
    value = statistics.median(ours() for _ in range(rounds))
    if at_least is not None:
        goal, met = f">= {at_least:,.0f} {unit}", value >= at_least
    else:
        assert at_most is not None
        goal, met = f"<= {at_most:g} {unit}", value <= at_most
    return Row(name=name, value=value, unit=unit, peer=None, ratio=None, goal=goal, met=met)


def show(rows: Sequence[Row]) -> str:
    """The table as text."""
    cells = [("what", "ours", "peer", "ratio", "goal", "met")]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer:,.2f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        cells.append((row.name, f"{row.value:,.2f} {row.unit}", peer, ratio, row.goal, "yes" if row.met else "NO"))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """The rows as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
