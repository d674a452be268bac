"""`kos lock ls|get|acquire|release|break`: named locks of a running cluster."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kos_ray.cli.output import emit, say, show_panel, show_table
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, new_app, open_client
from kos_ray.observe.tables import Table

app = new_app("Named locks and leases (docs/coordination.md).")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The lock's name.")]


@app.command("ls", epilog=example("kos lock ls", "kos lock ls --json | jq '.locks[].name'"))
def list_locks(address: Address = None, namespace: Namespace = "", as_json: Json = False) -> None:
    """List the locks that somebody has or waits for, of all namespaces or of one."""
    with open_client(address, namespace or "default") as client:
        found = [one for one in client.locks() if namespace in ("", one["namespace"])]
    if as_json:
        emit({"locks": found})
    elif found:
        columns = ("name", "namespace", "mode", "fence", "held by", "waiting")
        show_table(Table(columns=columns, rows=tuple(map(_row, found))))
    else:
        say("no locks are held")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    held_by = ", ".join(ask["by"] for ask in one["holders"])
    return (one["name"], one["namespace"], one["mode"], str(one["fence"]), held_by, str(len(one["waiting"])))


@app.command("get", epilog=example("kos lock get db/migration"))
def get_lock(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show who has a lock, and who waits for it, the next one first; exit code 1 if nobody does."""
    with open_client(address, namespace) as client:
        found = [one for one in client.locks() if (one["namespace"], one["name"]) == (namespace, name)]
    if not found:
        raise fail(f"nobody has lock {name!r} in namespace {namespace!r}, or waits for it", Exit.NEGATIVE)
    if as_json:
        emit(found[0])
        return
    one = found[0]
    lines = [("name", f"{namespace}/{name}"), ("fence", str(one["fence"]))]
    lines += [("held by", f"{ask['by']}, {ask['mode']}, ticket {ask['ticket']}") for ask in one["holders"]]
    lines += [("waits", f"{ask['by']}, {ask['mode']}, band {ask['band']}") for ask in one["waiting"]]
    show_panel(lines)


@app.command(
    epilog=example(
        "kos lock acquire db/migration --ttl 10m --wait 1m",
        "ticket=$(kos lock acquire nightly --ttl 1h --json | jq -r .ticket)",
    )
)
def acquire(
    name: Name,
    shared: Annotated[bool, typer.Option("--shared", help="Others may have it shared at the same time.")] = False,
    ttl: Annotated[str, typer.Option("--ttl", help="It is free after this time in any case: nobody renews it.")] = "1m",
    wait: Annotated[str, typer.Option("--wait", help="Wait so long at most.")] = "0s",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Acquire a lock and leave it held: print its ticket, for `kos lock release`, and its fence; exit code 1 if not."""
    with open_client(address, namespace) as client:
        handle = client.lock(name, mode="shared" if shared else "exclusive", ttl=ttl, wait=wait)
        held = handle.acquire(renewed=False)
    if as_json:
        emit({"name": name, "ticket": held.ticket, "fence": held.fence})
    else:
        typer.echo(f"{held.ticket} {held.fence}")


@app.command(epilog=example("kos lock release 1c1c9a0d1f0b4a0e8d0f6f5f1a2b3c4d"))
def release(
    ticket: Annotated[str, typer.Argument(metavar="TICKET", help="As `acquire` and `get` print it.")],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Release what was acquired under a ticket; exit code 1 if it is not held any more."""
    with open_client(address, "default") as client:
        released = client.release_lock(ticket)
    if as_json:
        emit({"ticket": ticket, "released": released})
    if not released:
        raise fail(f"ticket {ticket} is not held (any more)", Exit.NEGATIVE)


@app.command("break", epilog=example("kos lock break db/migration --note 'its holder hangs'"))
def break_lock(
    name: Name,
    note: Annotated[str, typer.Option("--note", help="Why, for whoever had it.")] = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Take a lock away from who has it: the next one gets it, with a higher fence."""
    with open_client(address, namespace) as client:
        had = client.break_lock(name, note)
    emit({"name": name, "had": had}) if as_json else say(f"{name} was taken away from {', '.join(had)}")
