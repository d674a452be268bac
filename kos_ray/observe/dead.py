"""Jobs that failed for good, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from kos_ray.model.views import JobView
from kos_ray.observe.tables import Table, first_line, format_instant, label

#: a job that was run again from here has this tag, with the old one's id behind it
REDRIVE = "redrive:"
#: states of jobs that are over by no wish of anybody
DEAD = ("failed", "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One of them; `redriven` is the id of the newest job that runs it again, "" where none does."""

    job: JobView
    redriven: str = ""


def dead_table(letters: Sequence[DeadLetter]) -> Table:
    """A row for each."""
    return Table(
        columns=("job", "ended", "state", "cause", "attempts", "error", "run again as"),
        rows=tuple(map(_row, letters)),
        numbers=frozenset({"attempts"}),
    )


def _row(letter: DeadLetter) -> tuple[str, ...]:
    view = letter.job
    error = f"{view.error_type}: {view.error}" if view.error_type else view.error
    return (
        label(view),
        format_instant(view.ended_us).removesuffix(" UTC") if view.ended_us else "",
        view.state,
        view.reason.replace("_", " "),
        str(view.attempt),
        first_line(error),
        letter.redriven,
    )
