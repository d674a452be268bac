"""`kos notify`: who is told of the ends of jobs, what follows them and where results go, if that is not done yet."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli.output import emit, say, show_table
from kos_ray.cli.shell import Address, Exit, Json, example, fail, new_app
from kos_ray.observe.tables import Table, format_instant

if TYPE_CHECKING:
    from kos_ray.runtime.connect import Connection

app = new_app("Notifications, hooks and results: what waits, what was given up, and again.")


@app.callback()
def _group() -> None:
    """Notifications, hooks and results: what waits, what was given up, and again."""


@app.command("ls", epilog=example("kos notify ls", "kos notify ls --dead --json | jq '.entries[].error'"))
def list_entries(
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up, after three days of tries.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """List what is not delivered yet, and what was given up. What is delivered is in the journal alone."""
    found = [one for one in _ask(address, "notifications") if one["dead"] or not dead]
    if as_json:
        emit({"entries": found})
    elif found:
        show_table(
            Table(
                columns=("id", "what", "to", "since", "tries", "next", "error"),
                rows=tuple(map(_row, found)),
                numbers=frozenset({"tries"}),
            )
        )
    else:
        say("nothing waits" if not dead else "nothing was given up")


@app.command(epilog=example("kos notify redrive --all", "kos notify redrive msg_0a1b2c3d_812_40_0"))
def redrive(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="What was given up, by its id.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Try again what was given up, under the same ids."""
    if bool(ids) == all_of_them:
        raise fail("expected either ids or --all", Exit.USAGE)
    count = _ask(address, "redrive", ids or [])
    if as_json:
        emit({"redriven": count})
    else:
        say(f"{count} are tried again")
    if ids and count < len(ids):
        raise typer.Exit(Exit.NOT_FOUND)


@app.command("test", epilog=example("kos notify test", "kos notify test --url https://example.org/hook"))
def send_test(
    url: Annotated[str, typer.Option("--url", help="Instead of all that the settings name.")] = "",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Send an event of type kos.test now; exit code 1 where somebody does not take it."""
    found = _ask(address, "test_notify", url)
    if as_json:
        emit({"sent": found})
    elif not found:
        say("the settings name nobody: notify: https://..., or --url")
    else:
        rows = tuple((one["target"], one["error"] or "taken") for one in found)
        show_table(Table(columns=("to", "came of it"), rows=rows))
    if any(one["error"] for one in found):
        raise typer.Exit(Exit.NEGATIVE)


@app.command(epilog=example("kos notify secret"))
def secret(address: Address = None, as_json: Json = False) -> None:
    """Print the secret that signs webhooks, for whoever verifies them."""
    found = _ask(address, "notify_secret")
    emit({"secret": found}) if as_json else typer.echo(found)


def _ask(address: str | None, method: str, *args: Any) -> Any:
    return _connection(address).ask_reader(method, *args)


def _connection(address: str | None) -> "Connection":
    from kos_ray.runtime import connect

    return connect.attach(address)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    due = "given up" if one["dead"] else format_instant(one["due_us"]) or "now"
    return (
        one["id"],
        one["kind"],
        one["target"],
        format_instant(one["since_us"]),
        str(one["tries"]),
        due,
        one["error"],
    )
