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
    #: how far the rounds' ratios lie from their median at most, as a share of it
    spread: float = 0.0


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
        goal, met = f">= {at_least:g}x", ratio >= at_least
    else:
        assert at_most is not None
        goal, met = f"<= {at_most:g}x", ratio <= at_most
    return Row(
        name=name,
        value=value,
        unit=unit,
        peer=other,
        ratio=ratio,
        goal=goal,
        met=met,
        spread=spread([own / peer for own, peer in zip(mine, theirs, strict=True)]),
    )


def spread(ratios: Sequence[float]) -> float:
    """How far some ratios lie from their median at most, as a share of it."""
    middle = statistics.median(ratios)
    return max(abs(ratio - middle) for ratio in ratios) / middle


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


def once(name: str, value: float, unit: str, goal: str, *, met: bool) -> Row:
    """A figure that is measured once, and has no peer."""
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


def worse(row: Row, before: Row) -> str:
    """What to say of a ratio that is worse than it was, by more than the rounds of both differ; "" where it is not."""
    if row.ratio is None or before.ratio is None:
        return ""
    change = row.ratio / before.ratio if row.goal.startswith(">=") else before.ratio / row.ratio
    margin = row.spread + before.spread
    if change >= 1 - margin:
        return ""
    return f"{row.name}: {row.ratio:.2f}x, was {before.ratio:.2f}x: worse by more than the {margin:.0%} of the noise"


def read(path: Path) -> dict[str, Row]:
    """The rows that `write` has written, by name."""
    return {row["name"]: Row(**row) for row in json.loads(path.read_text())}


def write(rows: Sequence[Row], path: Path) -> None:
    """The rows as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
