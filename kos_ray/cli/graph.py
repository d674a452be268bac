"""`kos graph`: workflows drawn."""

from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit
from kos_ray.cli.select import Filters, find, find_live
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, open_client
from kos_ray.model.ids import split_item_id
from kos_ray.model.views import JobView
from kos_ray.observe.delegation import delegation, family, to_text
from kos_ray.observe.graph import FORMATS, connected, job_graph

if TYPE_CHECKING:
    from kos_ray.client import Client

EXAMPLE = example(
    "kos graph averages --format ascii",
    "kos graph averages/mean --format dot | dot -Tsvg > mean.svg",
    "kos graph --live --format mermaid",
    "kos graph summary-7 --delegation",
)
#: jobs that are looked through for what belongs to one
_MAX_JOBS = 100_000

Format = Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How it is written.")]


def graph(
    ref: Annotated[
        str | None,
        typer.Argument(metavar="[WORKFLOW|JOB]", help="All jobs named WORKFLOW/..., or all that hang on one job."),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="All jobs that have not ended, with their parents.")] = False,
    form: Format = "ascii",
    delegated: Annotated[
        bool,
        typer.Option(
            "--delegation",
            help="Of one job, the agents that had it: who declined it and why, and what was delegated while it ran.",
        ),
    ] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Draw jobs and what they depend on; items of an array are one node."""
    if delegated:
        _draw_delegation(ref, address, namespace, as_json)
        return
    if form not in FORMATS:
        raise fail(f"--format: expected one of {', '.join(FORMATS)}, found {form!r}", Exit.USAGE)
    if bool(ref) == live:
        raise fail("expected either a workflow or job, or --live", Exit.USAGE)
    with open_client(address, namespace) as client:
        views = _live(client, namespace) if ref is None else _of(client, ref, namespace)
    found = job_graph(views)
    if as_json:
        emit(found)
        return
    typer.echo(FORMATS[form](found), nl=False)


def _draw_delegation(ref: str | None, address: str | None, namespace: str, as_json: bool) -> None:
    if ref is None:
        raise fail("expected a job with --delegation", Exit.USAGE)
    with open_client(address, namespace) as client:
        (own,) = client.views([ref])
        children: dict[str, list[JobView]] = {}
        for view in sorted(find(client, Filters(namespace=own.namespace), _MAX_JOBS), key=lambda one: one.key):
            if view.parent:
                children.setdefault(view.parent, []).append(view)
        keys = [view.key for view in family(own, children)]
        stories = dict(zip(keys, client.stories(keys), strict=True))
    found = delegation(own, children, lambda view: stories[view.key])
    if as_json:
        emit(found)
    else:
        typer.echo(to_text(found), nl=False)


def _of(client: "Client", ref: str, namespace: str) -> list[JobView]:
    """The jobs of a workflow; where none is called so, those that hang on the job of that name or id."""
    prefix = f"{ref.rstrip('/')}/"
    named = find(client, Filters(namespace=namespace, prefix=prefix), _MAX_JOBS)
    found = [view for view in named if view.name.startswith(prefix)]
    if found:
        return found
    own = client.views([ref])
    others = find(client, Filters(namespace=own[0].namespace), _MAX_JOBS)
    return connected(list({view.key: view for view in (*own, *others)}.values()), own[0].id)


def _live(client: "Client", namespace: str) -> list[JobView]:
    """Jobs that have not ended, and those that they wait for."""
    views = find_live(client, Filters(namespace=namespace))
    known = {split_item_id(view.id)[0] for view in views}
    missing = sorted({parent for view in views for parent, _ in view.after if split_item_id(parent)[0] not in known})
    return views + (client.views(missing) if missing else [])
