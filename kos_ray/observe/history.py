"""A job's story as a table."""

from collections.abc import Sequence

from kos_ray.model.views import StoryLine
from kos_ray.observe.tables import Table, first_line, format_instant, short_node

#: digits of a hash that people compare
_DIGITS = 12


def story_table(story: Sequence[StoryLine]) -> Table:
    """A row for each thing that happened."""
    return Table(
        columns=("seq", "at", "what", "attempt", "node", "pid", "by", "why"),
        rows=tuple(map(_row, story)),
        numbers=frozenset({"seq", "attempt", "pid"}),
    )


def _row(line: StoryLine) -> tuple[str, ...]:
    result = f"result {line.result[:_DIGITS]}" if line.result and line.what != "checkpoint" else ""
    return (
        str(line.seq),
        format_instant(line.at_us).removesuffix(" UTC"),
        line.what.replace("_", " "),
        str(line.attempt or ""),
        short_node(line.node),
        str(line.pid or ""),
        line.by,
        "; ".join(part for part in (line.reason.replace("_", " "), first_line(line.detail, 200), result) if part),
    )
