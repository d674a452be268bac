"""`kos mailbox ls|put|take|peek|revive` and `kos signal`: messages that wait until they are handled."""

import json
from pprint import pformat
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli.output import emit, say, show_table
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, new_app, open_client
from kos_ray.observe.tables import Table, format_instant

if TYPE_CHECKING:
    from kos_ray.client.mailboxes import Peeked

app = new_app("Mailboxes: messages that wait until somebody has handled them (docs/coordination.md).")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The mailbox's name.")]
Value = Annotated[str, typer.Argument(metavar="JSON", help="What it says, as JSON; what is none is a text.")]
Dedup = Annotated[str, typer.Option("--dedup", metavar="ID", help="Put again under it, it is the same message.")]
SIGNAL_EXAMPLE = example("kos signal go --job nightly/load", "kos signal reload '{\"level\": 2}' --agent optimizer")


@app.command("ls", epilog=example("kos mailbox ls", "kos mailbox ls --json | jq '.mailboxes[].dead'"))
def list_mailboxes(address: Address = None, namespace: Namespace = "", as_json: Json = False) -> None:
    """List the mailboxes, of all namespaces or of one, and what waits in them; signals that wait as well."""
    with open_client(address, namespace or "default") as client:
        found = [one for one in client.mailboxes() if namespace in ("", one["namespace"])]
    if as_json:
        emit({"mailboxes": found})
    elif found:
        columns = ("name", "namespace", "ready", "taken", "dead", "waiting", "bytes")
        show_table(Table(columns=columns, rows=tuple(tuple(str(one[name]) for name in columns) for one in found)))
    else:
        say("no mailboxes")


@app.command(epilog=example("kos mailbox put orders '{\"id\": 7}' --dedup order-7"))
def put(
    name: Name,
    value: Value,
    dedup: Dedup = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Put a message into a mailbox."""
    with open_client(address, namespace) as client:
        new = client.mailbox(name).put(_value(value), dedup=dedup)
    if as_json:
        emit({"mailbox": name, "new": new})
    elif not new:
        say(f"{dedup} was put before: nothing happens")


@app.command(epilog=example("kos mailbox take orders --wait 1m"))
def take(
    name: Name,
    wait: Annotated[str, typer.Option("--wait", help="Wait so long at most.")] = "0s",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Take a message, print it, and count it as handled; exit code 1 where there is none."""
    with open_client(address, namespace) as client:
        message = client.mailbox(name).take(wait=wait)
        if message is None:
            raise fail(f"nothing is ready in mailbox {name!r}", Exit.NEGATIVE)
        if as_json:
            emit({"id": message.id, "value": _plain(message.value), "deliveries": message.deliveries})
        else:
            typer.echo(_plain(message.value))
        message.ack()


@app.command(epilog=example("kos mailbox peek orders", "kos mailbox peek orders --dead"))
def peek(
    name: Name,
    dead: Annotated[bool, typer.Option("--dead", help="Those that came back too often.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many at most.")] = 20,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Show the first messages of a mailbox and take none."""
    with open_client(address, namespace) as client:
        found = client.mailbox(name).peek(most=limit, dead=dead)
    if as_json:
        emit({"messages": [_peeked(one) for one in found]})
    elif found:
        show_table(Table(columns=("id", "by", "put", "deliveries", "value"), rows=tuple(map(_row, found))))
    else:
        say("none")


@app.command(epilog=example("kos mailbox revive orders"))
def revive(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Have the dead messages of a mailbox handed out again."""
    with open_client(address, namespace) as client:
        count = client.mailbox(name).revive()
    emit({"mailbox": name, "messages": count}) if as_json else say(f"{count} messages are handed out again")


def signal(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    value: Value = "null",
    job: Annotated[str, typer.Option("--job", metavar="JOB", help="Whom it is for: a live job, by id or name.")] = "",
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="Or an agent.")] = "",
    dedup: Dedup = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Send a signal to a job, to an agent, or to whoever waits for it first; it waits until it is asked for."""
    with open_client(address, namespace) as client:
        new = client.signal(name, _value(value), job=job, agent=agent, dedup=dedup)
    if as_json:
        emit({"signal": name, "new": new})
    elif not new:
        say(f"{dedup} was sent before: nothing happens")


def _peeked(one: "Peeked") -> dict[str, Any]:
    return {"id": one.id, "value": _plain(one.value), "by": one.by, "at": one.at, "deliveries": one.deliveries}


def _row(one: "Peeked") -> tuple[str, ...]:
    put_at = format_instant(round(one.at.timestamp() * 1e6))
    return (one.id, one.by, put_at, str(one.deliveries), str(_plain(one.value)))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    """What JSON has of it, else how it is written in Python."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return pformat(value)
    return value
