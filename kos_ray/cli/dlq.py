"""`kos dlq`: the dead-letter queue, a view of jobs that failed for good."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, say, show_table
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, new_app, open_client
from kos_ray.model.views import JobView
from kos_ray.observe.dead import DEAD, REDRIVE, DeadLetter, dead_table

if TYPE_CHECKING:
    from kos_ray.client import Client

app = new_app("Jobs that failed for good: which, why, and again.")
#: jobs that one question brings
_PAGE = 1_000

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="As many at most, newest first.")]


@app.callback()
def _group() -> None:
    """Jobs that failed for good: which, why, and again."""


@app.command("ls", epilog=example("kos dlq ls", "kos dlq ls --reason poison --json | jq '.jobs[].job.id'"))
def list_dead(
    reason: Annotated[str, typer.Option("--reason", help="Only with this cause: user_error, poison, ...")] = "",
    limit: Limit = 50,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """List jobs that failed or were lost after all their retries, with their causes, the newest first."""
    with open_client(address, namespace) as client:
        letters = _letters(client, reason, limit)
    if as_json:
        emit({"jobs": letters})
    elif letters:
        show_table(dead_table(letters))
    else:
        say("no job has failed for good")


@app.command(epilog=example("kos dlq redrive nightly/load", "kos dlq redrive --all --reason poison"))
def redrive(
    refs: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids or names of jobs.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All that were not run again yet.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="With --all: only with this cause.")] = "",
    limit: Limit = 1_000,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Run jobs that failed for good again, as new jobs with the tag redrive:ID of the old one."""
    if bool(refs) == all_of_them:
        raise fail("expected either jobs or --all", Exit.USAGE)
    with open_client(address, namespace) as client:
        if refs:
            chosen = [view for view in client.views(refs) if view.state in DEAD]
        else:
            chosen = [letter.job for letter in _letters(client, reason, limit) if not letter.redriven]
        if not chosen:
            raise fail("nothing to run again: none of them failed for good, or all were run again")
        rows = [
            {"of": view.id, "id": again.id}
            for view in chosen
            for again in client.rerun(view.id, from_failed=True, tag=f"{REDRIVE}{view.id}")
        ]
    if as_json:
        emit({"jobs": rows})
        return
    for row in rows:
        typer.echo(f"{row['id']}  of {row['of']}")


def _letters(client: "Client", reason: str, limit: int) -> list[DeadLetter]:
    """The newest of them, in both states."""
    found = [view for state in DEAD for view in _in_state(client, state, reason, limit)]
    found = sorted(found, key=lambda view: view.key, reverse=True)[:limit]
    return [DeadLetter(job=view, redriven=_redriven(client, view)) for view in found]


def _in_state(client: "Client", state: str, reason: str, limit: int) -> Iterator[JobView]:
    """The newest jobs of the namespace in a state, page by page."""
    before, left = None, limit
    while left:
        page = client.jobs(state=state, namespace=client.namespace, limit=_PAGE, before_key=before)
        wanted = [view for view in page if reason in ("", view.reason)][:left]
        yield from wanted
        left -= len(wanted)
        if len(page) < _PAGE:
            return
        before = page[-1].key


def _redriven(client: "Client", view: JobView) -> str:
    return next((again.id for again in client.jobs(tag=f"{REDRIVE}{view.id}", limit=1)), "")
