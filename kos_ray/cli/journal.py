"""`kos journal`: the durable memory, looked at directly."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import typer

from kos_ray.cli.output import emit, show_panel
from kos_ray.cli.shell import Exit, Json, State, example, new_app

app = new_app("Look after the journal.")


@app.callback()
def _group() -> None:
    """Look after the journal."""


@app.command(epilog=example("kos journal verify --state /var/lib/kos"))
def verify(state: State = None, as_json: Json = False) -> None:
    """Fold every frame again and compare: hash chain, order, current rows. Exit code 1 where something is wrong."""
    from kos_ray.runtime import connect

    report = connect.verify(state_dir=state)
    if as_json:
        emit(report)
    else:
        show_panel(
            [
                ("journal", str(report.path)),
                ("frames", f"{report.frames}, up to event {report.last_seq}"),
                ("verdict", "; ".join(report.problems) or "every frame and every row is as it should be"),
            ]
        )
    if report.problems:
        raise typer.Exit(Exit.NEGATIVE)
