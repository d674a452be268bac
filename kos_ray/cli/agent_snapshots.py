"""`kos agent snapshot|snapshots|rollback`: the states of agents that they can go back to."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from kos_ray.cli.agents import Name, Note
from kos_ray.cli.output import emit, say
from kos_ray.cli.shell import Address, Json, Namespace, example, open_client
from kos_ray.observe.tables import format_bytes

SNAPSHOT_EXAMPLE = example("kos agent snapshot optimizer")
SNAPSHOTS_EXAMPLE = example("kos agent snapshots optimizer", "kos agent snapshots optimizer --json")
ROLLBACK_EXAMPLE = example("kos agent rollback optimizer 3f2a --note 'it had learnt nonsense'")


def snapshot(
    name: Name,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = 60.0,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Have an agent save its state now, between two messages, and print the snapshot's id."""
    with open_client(address, namespace) as client:
        found = client.snapshot_agent(name, timeout)
    emit(found) if as_json else typer.echo(found["id"])


def snapshots(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show what an agent can go back to, as a tree: what was saved after a rollback is a branch of its own."""
    with open_client(address, namespace) as client:
        found = client.agent_snapshots(name)
    if as_json:
        emit({"agent": name, "snapshots": found})
    elif found:
        typer.echo("\n".join(_tree(found)))
    else:
        say(f"{name} has no snapshots yet: `kos agent snapshot {name}` takes one")


def rollback(
    name: Name,
    to: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its id, or the first digits of it.")],
    note: Note = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Let an agent go on from a snapshot; its present state is saved first, so that it can go forward again."""
    with open_client(address, namespace) as client:
        found = client.rollback_agent(name, to, note)
    if as_json:
        emit(found)
        return
    rests = {"suspended": " when it is resumed", "sleeping": " when it wakes", "crashed": " when it starts again"}
    say(f"{name} goes on from {found['snapshot']}{rests.get(found['phase'], '')}")


def _tree(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each; a line of descent stays in its column, and a branch begins one further to the right.

    An agent that came to the same bytes again may have snapshots that all come of one another: the oldest is a root.
    """
    there = {one["id"]: one for one in found}
    children: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        children.setdefault(one["parent"] if one["parent"] in there else "", []).append(one)
    for root in (*children.pop("", []), *found):
        waiting = [(root, "", "")] if root["id"] in there else []
        while waiting:
            one, first, indent = waiting.pop()
            del there[one["id"]]
            yield f"{first}{_told(one)}"
            below = [child for child in children.get(one["id"], []) if child["id"] in there]
            waiting += [(last, indent, indent) for last in below[-1:]]
            waiting += [(branch, f"{indent}├─ ", f"{indent}│  ") for branch in reversed(below[:-1])]


def _told(one: Mapping[str, Any]) -> str:
    at = datetime.fromtimestamp(one["at_us"] / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    marks = ", ".join(word for word, holds in (("current", one["current"]), ("next", one["next"])) if holds)
    return f"{one['id']}  {at} UTC  {one['why']:<8}  {format_bytes(one['size'])}{f'  <- {marks}' if marks else ''}"
