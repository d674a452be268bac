"""`kos node ls|cordon|uncordon|drain|label|windows|advise`: what may start where."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, say, show_table
from kos_ray.cli.shell import Address, Exit, Json, example, fail, new_app, open_client
from kos_ray.observe.nodes import standings_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kos_ray.model.views import NodeStanding

app = new_app("Show nodes, and say on which of them something may start.")
Names = Annotated[list[str], typer.Argument(metavar="NODE...", help="Names, hosts, or beginnings of ids.")]
Note = Annotated[str, typer.Option("--note", help="Why; `kos explain` shows it.")]
#: seconds between two looks at a node that is being emptied
_LOOK_S = 0.5
#: windows that are shown
_SHOWN = 10


@app.callback()
def _group() -> None:
    """Show nodes, and say on which of them something may start."""


@app.command("ls", epilog=example("kos node ls", "kos node ls --json | jq '.[] | select(.cordoned)'"))
def list_nodes(address: Address = None, as_json: Json = False) -> None:
    """Show the nodes as the scheduler sees them: open, cordoned, draining or drained; labels; what is free."""
    with open_client(address, "default") as client:
        _show(client.node_standings(), as_json=as_json)


@app.command(epilog=example("kos node cordon gpu-7 --note 'fan is noisy'"))
def cordon(names: Names, note: Note = "", address: Address = None, as_json: Json = False) -> None:
    """Let nothing new start on nodes; what runs there goes on. It holds when the node comes back."""
    with open_client(address, "default") as client:
        _show(client.mark_nodes(names, cordoned=True, note=note), as_json=as_json)


@app.command(epilog=example("kos node uncordon gpu-7"))
def uncordon(names: Names, address: Address = None, as_json: Json = False) -> None:
    """Let jobs start on nodes again."""
    with open_client(address, "default") as client:
        _show(client.mark_nodes(names, cordoned=False, draining=False, note=""), as_json=as_json)


@app.command(epilog=example("kos node drain gpu-7 --note 'new driver'", "kos node drain gpu-7 --wait 10m"))
def drain(
    names: Names,
    note: Note = "",
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="Wait until they are empty, so long at most, such as 10m.")
    ] = "",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Cordon nodes, and ask what runs there to give way.

    Each job does so in its own way (`preemption`), within its `grace`, and starts again elsewhere at no charge. Those
    with `preemption: never`, and at-most-once jobs that have begun, are waited for. With --wait, the exit code is 1 if
    the nodes are not empty when the time is over.
    """
    from kos_ray.spec.units import parse_milliseconds  # noqa: PLC0415 - `kos --help` answers at once

    try:
        until = time.monotonic() + parse_milliseconds(wait) / 1_000 if wait else 0.0
    except ValueError as error:
        raise fail(f"--wait: {error}", Exit.USAGE) from None
    with open_client(address, "default") as client:
        found = client.mark_nodes(names, cordoned=True, draining=True, note=note)
        while any(node.state == "draining" for node in found) and time.monotonic() < until:
            time.sleep(_LOOK_S)
            found = client.node_standings()
    _show(found, as_json=as_json)
    full = [node.name for node in found if node.state == "draining"]
    if wait and full:
        raise fail(f"not empty yet: {', '.join(full)}")


@app.command(epilog=example("kos node label gpu-7 zone=a disk=ssd", "kos node label gpu-7 disk="))
def label(
    name: Annotated[str, typer.Argument(metavar="NODE", help="A name, a host, or the beginning of an id.")],
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="No value takes the label away.")],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Label a node, so that jobs can ask for it (`where: {labels: ...}`); beside Ray's own labels."""
    pairs = [word.partition("=") for word in labels]
    for key, sign, _ in pairs:
        if not (key and sign):
            raise fail(f"expected KEY=VALUE, found {key!r}", Exit.USAGE)
    with open_client(address, "default") as client:
        _show(client.mark_nodes([name], labels={key: value for key, _, value in pairs}), as_json=as_json)


@app.command(
    epilog=example(
        "kos node windows laptop-3 'Mon-Fri 20:00-06:00 Europe/Berlin' 'Sat,Sun 00:00-24:00'",
        "kos node windows gpu-7 --file maintenance.ics",
        "kos node windows --namespace batch 'daily 22:00-06:00'",
    )
)
def windows(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE] [TIMES]...", help="Days and times, in UTC or in the zone behind them."),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of a namespace instead of a node.")] = "",
    file: Annotated[Path | None, typer.Option("--file", help="An iCalendar file: when it is free and busy.")] = None,
    always: Annotated[bool, typer.Option("--always", help="No windows any more.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say (or show) when a node or a namespace may be used.

    Nothing starts outside of its windows, nor what would not be over before the end of one, by its run time or timeout.
    """
    from kos_ray.observe.tables import format_instant  # noqa: PLC0415 - `kos --help` answers at once

    given = list(words or ())
    node = "" if namespace else given.pop(0) if given else ""
    if not (node or namespace):
        raise fail("expected a node, or --namespace NAME", Exit.USAGE)
    if (bool(given) + (file is not None) + always) > 1:
        raise fail("expected either times, --file or --always", Exit.USAGE)
    text: str | None = "\n".join(given) if given or always else None
    if file is not None:
        text = _read(file)
    with open_client(address, "default") as client:
        found = client.windows(node=node, namespace=namespace, text=text)
    if as_json:
        emit(found)
    elif not found.text:
        typer.echo("always open")
    else:
        for start, end in found.open[:_SHOWN]:
            typer.echo(f"{format_instant(start)} to {format_instant(end)}")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{file}: cannot be read: {error}", Exit.USAGE) from None


@app.command(epilog=example("kos node advise kinds.yaml", "kos node advise kinds.yaml --json | jq .add"))
def advise(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Kinds of nodes: `gpu: {resources: {cpu: 32, gpu: 8}, at_most: 4}`."),
    ],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say which nodes to add for what waits for room: the kinds that it would use best."""
    from kos_ray.spec.node_kinds import load_node_kinds  # noqa: PLC0415 - `kos --help` answers at once

    kinds = load_node_kinds(file)
    with open_client(address, "default") as client:
        found = client.advise(kinds)
    if as_json:
        emit(found)
        return
    for name, count in sorted(found["add"].items()):
        typer.echo(f"{count} {name}")
    if not found["add"]:
        say("none of these kinds would help: nothing waits for room, or it needs more than they have")
    if found["waiting"]:
        say(f"{found['waiting']} jobs would wait still")


def _show(nodes: "Sequence[NodeStanding]", *, as_json: bool) -> None:
    if as_json:
        emit(list(nodes))
    else:
        show_table(standings_table(nodes))
