"""`kos up`, `kos down`, `kos status`."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli.output import emit, say, show_panel, show_table
from kos_ray.cli.shell import Address, Exit, Json, Namespace, State, example, open_client
from kos_ray.observe.tables import node_table, status_panel

if TYPE_CHECKING:
    from collections.abc import Mapping

UP_EXAMPLE = example("kos up --state /var/lib/kos", "kos up --address auto")
DOWN_EXAMPLE = example("kos down")
STATUS_EXAMPLE = example("kos status", "kos status --json | jq .jobs")


def up(
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            envvar="KOS_ADDRESS",
            metavar="auto|HOST:PORT",
            help="The Ray cluster to run in; without it a local one is started where none runs.",
        ),
    ] = None,
    state: State = None,
    num_cpus: Annotated[
        int | None, typer.Option("--num-cpus", min=1, help="CPUs of the local Ray cluster that is started.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            envvar="KOS_SETTINGS",
            metavar="FILE",
            help="What the scheduler is to go by, as a settings file.",
        ),
    ] = None,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Let a copy of another cluster's state directory become a cluster of its own."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the scheduler in a Ray cluster, and a local cluster where there is none."""
    from kos_ray.runtime import connect

    wanted = _scheduling(settings) if settings else {}
    report = connect.up(address=address, state_dir=state, num_cpus=num_cpus, adopt=adopt)
    if wanted:
        with open_client(report.address, "default") as client:
            client.settings(wanted)
    if as_json:
        emit(report)
        return
    lines = [
        ("cluster", f"{report.cluster_id}{' (was running)' if report.already_running else ''}"),
        ("address", report.address),
        ("journal", str(report.state_dir)),
        ("started", ", ".join(report.started) or "nothing"),
        ("dashboard", report.dashboard_url or "none"),
    ]
    show_panel(lines)


def _scheduling(file: Path) -> "Mapping[str, Any]":
    """What a file says to the scheduler; read before anything is started."""
    from kos_ray.spec.settings import load_settings

    found = load_settings(file)
    if found.not_yet:
        say(f"{file}: not supported yet: {', '.join(found.not_yet)}")
    return found.scheduling


def down(state: State = None, as_json: Json = False) -> None:
    """Stop what `kos up` started. The journal stays, and `kos up` goes on from it."""
    from kos_ray.runtime import connect

    report = connect.down(state_dir=state)
    if as_json:
        emit(report)
        return
    show_panel([("stopped", ", ".join(report.stopped) or "nothing: none was running")])


def status(address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show nodes, jobs by state, and the journal. Exit code 1 where the journal cannot write: nothing starts then."""
    with open_client(address, namespace) as client:
        found = client.status()
    if as_json:
        emit(found)
    else:
        show_panel(status_panel(found))
        show_table(node_table(found.nodes))
    if found.scheduling is not None and found.scheduling.trouble:
        raise typer.Exit(Exit.NEGATIVE)
