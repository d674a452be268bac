"""Learnt run times for people."""

from collections.abc import Sequence

from kos_ray.model.views import LearntKind, RunTime
from kos_ray.observe.tables import Table, format_bytes, format_duration, format_resources

_SOURCES = {
    "size": "of its type, with what it asks for and arguments of its size",
    "shape": "of its type, with what it asks for",
    "type": "of its type",
}


def run_time_text(found: RunTime) -> str:
    """How long a job is expected to run, and who says so; "" where nobody does."""
    if found.source == "declared":
        return f"{format_duration(found.mid_us)}, as declared"
    if found.source == "limit":
        return f"at most {format_duration(found.high_us)} (its timeout)"
    if found.source not in _SOURCES:
        return ""
    span = f"{format_duration(found.low_us)} to {format_duration(found.high_us)}"
    runs = "1 run" if found.runs == 1 else f"{found.runs} runs"
    return f"about {format_duration(found.mid_us)} ({span}), learnt from {runs} {_SOURCES[found.source]}"


def learnt_table(kinds: Sequence[LearntKind]) -> Table:
    """A row for each kind of jobs."""
    return Table(
        columns=("namespace", "type", "asks for", "arguments", "runs", "p10", "median", "p90"),
        rows=tuple(
            (
                kind.namespace,
                kind.type,
                "any" if kind.resources is None else format_resources(kind.resources) or "nothing",
                _arguments(kind),
                str(kind.runs),
                *map(format_duration, (kind.low_us, kind.mid_us, kind.high_us)),
            )
            for kind in kinds
        ),
        numbers=frozenset(("runs", "p10", "median", "p90")),
    )


def _arguments(kind: LearntKind) -> str:
    if not kind.arguments_below:
        return "any"
    below = f"below {format_bytes(kind.arguments_below)}"
    return f"{format_bytes(kind.arguments_from)}, {below}" if kind.arguments_from else below
