"""Values over time in the characters of a terminal."""

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS = 8


def plot_lines(values: Sequence[float], most: float, unit: str = "", rows: int = ROWS) -> list[str]:
    """Columns for values from 0 to `most` (more than 0), in lines with the scale in front, the highest first."""
    eighths = [round(value / most * rows * 8) for value in values]
    width = max(4, len(f"{most:g}"))
    lines = []
    for row in range(rows, 0, -1):
        bars = "".join(_BLOCKS[min(8, max(0, one - (row - 1) * 8))] for one in eighths)
        label = f"{most * row / rows:{width}g}{unit}" if row in (rows, rows // 2) else " " * (width + len(unit))
        lines.append(f"{label} {bars}".rstrip())
    return lines
