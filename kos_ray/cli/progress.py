"""Follows jobs until they have all ended, with a live bar on a terminal and a line now and then elsewhere."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kos_ray.cli.output import say
from kos_ray.model.views import JobView
from kos_ray.observe.tables import final

if TYPE_CHECKING:
    from kos_ray.client import Client

#: between two lines where there is no terminal
_LINE_SECONDS = 5.0

#: takes how many have ended, how many there are, and the counts as text
_Show = Callable[[int, int, str], None]


def follow(
    client: "Client", ids: Sequence[str], total: int, *, timeout: float | None = None, quiet: bool = False
) -> list[JobView]:
    """The views of jobs when they have all ended, or when `timeout` seconds are over.

    An id of an array stands for all of its jobs; `total` is how many are expected at least.
    """
    views: dict[str, JobView] = {}
    with _display(total, quiet=quiet) as show:
        for changed in client.watch(ids, timeout):
            views.update((view.id, view) for view in changed)
            ended = sum(final(view) for view in views.values())
            show(ended, max(total, len(views)), _counts(views.values()))
    return client.views(ids)


def _counts(views: Iterable[JobView]) -> str:
    states = Counter(view.state for view in views)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


@contextmanager
def _display(total: int, *, quiet: bool) -> Iterator[_Show]:
    if quiet:
        yield lambda _ended, _total, _text: None
    elif sys.stderr.isatty():
        with _bar(total) as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar(total: int) -> Iterator[_Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("submitted", total=total)
        yield lambda ended, of, text: progress.update(task, completed=ended, total=of, description=text)


def _lines() -> _Show:
    due = time.monotonic()

    def show(ended: int, total: int, text: str) -> None:
        nonlocal due
        if time.monotonic() >= due or ended == total:
            due = time.monotonic() + _LINE_SECONDS
            say(f"{ended}/{total} ended: {text}")

    return show
