"""`kos approve`, `kos reject`, `kos approvals`: jobs that wait until a person says yes."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kos_ray.cli.output import emit, say, show_table
from kos_ray.cli.shell import Address, Json, Namespace, example, open_client
from kos_ray.observe.tables import Table, format_instant

APPROVE_EXAMPLE = example("kos approve deploy --note 'tests are green'", "kos approve nightly/publish nightly/notify")
REJECT_EXAMPLE = example("kos reject deploy --note 'not on a Friday'")
APPROVALS_EXAMPLE = example("kos approvals", "kos approvals --json | jq -r '.approvals[].job'")

Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Jobs or arrays, by id or name.")]
Note = Annotated[str, typer.Option("--note", help="Why; it is kept with who and when.")]


def approve(
    jobs: Jobs, note: Note = "", address: Address = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """Let jobs start that wait for approval."""
    with open_client(address, namespace) as client:
        count = client.approve(*jobs, note=note)
    emit({"approved": count}) if as_json else say(f"{count} jobs are approved")


def reject(
    jobs: Jobs, note: Note = "", address: Address = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """End jobs that wait for approval."""
    with open_client(address, namespace) as client:
        count = client.reject(*jobs, note=note)
    emit({"rejected": count}) if as_json else say(f"{count} jobs are rejected")


def approvals(address: Address = None, namespace: Namespace = "", as_json: Json = False) -> None:
    """List the jobs that wait for approval, and what is asked, of all namespaces or of one."""
    with open_client(address, namespace or "default") as client:
        found = [one for one in client.approvals() if namespace in ("", one["namespace"])]
    if as_json:
        emit({"approvals": found})
    elif found:
        columns = ("job", "namespace", "asks", "of", "until")
        show_table(Table(columns=columns, rows=tuple(map(_row, found))))
    else:
        say("nothing waits for approval")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    until = f"{format_instant(one['due_us'])}, then {one['otherwise']}" if one["due_us"] else ""
    if not one["ready"]:
        until = "it could not start yet"
    return (one["job"], one["namespace"], one["ask"], ", ".join(one["by"]) or "anybody", until)
