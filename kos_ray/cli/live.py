"""What is shown again and again: a picture that is redrawn on a terminal, lines of what changed in a pipe."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from kos_ray.cli.output import Part, picture
from kos_ray.model.views import JobView
from kos_ray.observe.tables import label, progress_text, why

if TYPE_CHECKING:
    from kos_ray.observe.tables import Table

#: between two pictures
PAUSE_S = 1.0


def refresh(draw: "Callable[[], Table | Sequence[Part]]") -> None:
    """Draws until ctrl-C, on the terminal's second screen; the last picture stays when it ends."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(picture(draw()), refresh=True)
                time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            return


def changes(ask: Callable[[], Sequence[JobView]]) -> None:
    """Writes a line for each job that is new, has another state or has come further, until ctrl-C."""
    shown: dict[int, tuple[str, int, str]] = {}
    try:
        while True:
            for view in reversed(ask()):
                said = progress_text(view)
                if shown.get(view.key) != (view.state, view.attempt, said):
                    shown[view.key] = (view.state, view.attempt, said)
                    typer.echo(f"{label(view)}  {view.state}  {said or why(view)}".rstrip())
            time.sleep(PAUSE_S)
    except KeyboardInterrupt:
        return
