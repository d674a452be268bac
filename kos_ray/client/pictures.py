"""Jobs as HTML for notebooks, and as tables for rich. Everything that came from outside is escaped."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, TypeVar

from kos_ray.model.errors import KosError
from kos_ray.model.job import BANDS
from kos_ray.model.views import JobView

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")

COLOURS = {
    "succeeded": "#2e7d32",
    "failed": "#c62828",
    "lost": "#c62828",
    "cancelled": "#6d6d6d",
    "skipped": "#6d6d6d",
    "running": "#1565c0",
    "stopping": "#ad6800",
    "backoff": "#ad6800",
}
_OTHER = "#5c5c5c"
_COLUMNS = ("job", "name", "type", "state", "priority", "attempt", "submitted", "why")
#: rows of a list that are drawn
_ROWS_MAX = 100


def attempt(ask: Callable[[], T]) -> T | None:
    """An answer of the cluster, None where it has none: what draws a handle must not fail for it."""
    try:
        return ask()
    except (KosError, RuntimeError):
        return None


def colour(state: str) -> str:
    """The colour of a state."""
    return COLOURS.get(state, _OTHER)


def job_html(job_id: str, view: JobView | None) -> str:
    """One job with its state and what is known of its attempt."""
    if view is None:
        return f"<code>{escape(job_id)}</code>"
    facts = [_badge(view.state), escape(view.type)]
    facts += [f"attempt {view.attempt} on <code>{escape(view.node[:12])}</code>"] if view.attempt else []
    text = view.error or (view.remedy if view.state != "succeeded" else "")
    below = f"<br><small>{escape(text[:500])}</small>" if text else ""
    name = f" {escape(view.name)}" if view.name else ""
    return f"<div><b>Job</b> <code>{escape(view.id)}</code>{name}<br>{' · '.join(facts)}{below}</div>"


def jobs_html(title: str, counts: Mapping[str, int] | None) -> str:
    """Several jobs: a bar of their states."""
    head = f"<code>{escape(title)}</code>"
    total = sum(counts.values()) if counts else 0
    if not counts or not total:
        return head
    parts = "".join(
        f'<span title="{escape(state)}" style="display:inline-block;height:8px;'
        f'width:{300 * count / total:.1f}px;background:{colour(state)}"></span>'
        for state, count in sorted(counts.items())
    )
    words = " · ".join(f"{_badge(state)} {count}" for state, count in sorted(counts.items()))
    return f"<div>{head}<br>{parts}<br>{words}</div>"


def views_html(views: list[JobView]) -> str:
    """A table of jobs."""
    head = "".join(f"<th>{title}</th>" for title in _COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(title, text)}</td>" for title, text in zip(_COLUMNS, row, strict=True)) + "</tr>"
        for row in _rows(views)
    )
    more = f"<caption>{len(views) - _ROWS_MAX} more</caption>" if len(views) > _ROWS_MAX else ""
    return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def views_table(views: list[JobView]) -> "Table":
    """A table of jobs for rich."""
    from rich.table import Table  # noqa: PLC0415 - drawn by whoever has rich open already
    from rich.text import Text  # noqa: PLC0415

    table = Table(*_COLUMNS)
    for row in _rows(views):
        # as Text, so that brackets in what users wrote are no markup
        table.add_row(*(Text(text, style=colour(text) if title == "state" else "") for title, text in _titled(row)))
    return table


class Views(list[JobView]):
    """A list of jobs that shows itself as a table in notebooks and by `rich.print`."""

    def _repr_html_(self) -> str:
        return views_html(self)

    def __rich__(self) -> "Table":
        return views_table(self)


def _rows(views: list[JobView]) -> Iterable[tuple[str, ...]]:
    for view in views[:_ROWS_MAX]:
        submitted = datetime.fromtimestamp(view.submitted_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        why = view.error or (view.remedy if view.state != "succeeded" else "")
        band = BANDS[view.band]
        yield view.id, view.name, view.type, view.state, band, str(view.attempt or ""), submitted, why[:120]


def _titled(row: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    return zip(_COLUMNS, row, strict=True)


def _cell(title: str, text: str) -> str:
    return _badge(text) if title == "state" else escape(text)


def _badge(state: str) -> str:
    return f'<b style="color:{colour(state)}">{escape(state)}</b>'
