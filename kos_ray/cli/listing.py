"""`kos ls`: which jobs there are."""

from typing import Annotated

import typer

from kos_ray.cli.live import changes, refresh
from kos_ray.cli.output import emit, now_us, on_terminal, say, show_table, width
from kos_ray.cli.select import Filters, checked_band, checked_state, find
from kos_ray.cli.shell import Address, Exit, Json, example, fail, open_client
from kos_ray.observe.tables import job_table

EXAMPLE = example(
    "kos ls --state running --type training",
    "kos ls --tag nightly --priority high --watch",
    "kos ls --limit 500 --json",
)


def list_jobs(
    address: Address = None,
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", "--band", help="Only this band: its name, or 0 to 5.")
    ] = None,
    job_type: Annotated[str | None, typer.Option("--type", help="Only jobs of this type.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only jobs with this tag.")] = None,
    prefix: Annotated[str, typer.Option("--name", metavar="PREFIX", help="Only names that begin so.")] = "",
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", envvar="KOS_NAMESPACE", help="Only this namespace.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="As many at most, newest first.")] = 50,
    before: Annotated[
        int | None, typer.Option("--before", metavar="KEY", min=1, help="The next page, from the key that one names.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again as it changes, until ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    if watch and as_json:
        raise fail("expected either --watch or --json, which is one document", Exit.USAGE)
    filters = Filters(
        state=checked_state(state),
        band=checked_band(priority),
        type=job_type,
        tag=tag,
        namespace=namespace,
        prefix=prefix,
    )
    with open_client(address, namespace or "default") as client:
        if watch and on_terminal():
            refresh(lambda: job_table(find(client, filters, limit, before), now_us(), width()))
            return
        if watch:
            changes(lambda: find(client, filters, limit, before))
            return
        views = find(client, filters, limit, before)
    next_page = int(views[-1].key) if len(views) == limit and views[-1].key > 1 else None
    if as_json:
        emit({"jobs": views, "next": next_page})
        return
    show_table(job_table(views, now_us(), width()))
    if next_page:
        say(f"the newest {limit}; the next page: the same with --before {next_page}")
