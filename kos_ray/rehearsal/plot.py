"""Utilisation over time in the characters of a terminal."""

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS = 8


def plot_lines(values: Sequence[float], rows: int = ROWS) -> list[str]:
    """Columns for values from 0 to 1, in lines with the scale in front, the highest first."""
    eighths = [round(value * rows * 8) for value in values]
    lines = []
    for row in range(rows, 0, -1):
        bars = "".join(_BLOCKS[min(8, max(0, one - (row - 1) * 8))] for one in eighths)
        label = f"{100 * row // rows:4} %" if row in (rows, rows // 2) else " " * 6
        lines.append(f"{label} {bars}".rstrip())
    return lines
