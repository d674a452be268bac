"""What is done to jobs, one or many: cancel, hold, release, pause, resume, reprioritise, rerun."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, now_us, say, show_table, width
from kos_ray.cli.select import LIVE_STATES, Filters, checked_band, find_live, parse_where
from kos_ray.cli.shell import Address, Exit, JobRef, Json, Namespace, example, fail, open_client
from kos_ray.model.views import JobView
from kos_ray.observe.tables import band_name, job_table

if TYPE_CHECKING:
    from kos_ray.client import Client

CANCEL_EXAMPLE = example("kos cancel train-3 train-4", "kos cancel --where state=ready,name~train/ --dry-run")
HOLD_EXAMPLE = example("kos hold train-3", "kos hold --where tag=nightly --yes")
RELEASE_EXAMPLE = example("kos release train-3", "kos release --where state=held")
PAUSE_EXAMPLE = example("kos pause train-3", "kos pause --where type=training,priority=low")
RESUME_EXAMPLE = example("kos resume train-3", "kos resume --where state=held")
REPRIORITISE_EXAMPLE = example(
    "kos reprioritise train-3 --priority high", "kos reprioritise --where tag=nightly --priority background"
)
RERUN_EXAMPLE = example("kos rerun train-3", "kos rerun averages/samples --from-failed")

#: jobs that are touched without a question
_UNASKED = 10
#: what can be released
_HELD = ("held",)

Refs = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids or names of jobs, or of arrays.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="FILTERS",
        help="All jobs with state=,type=,tag=,namespace=,priority=,name~PREFIX (commas between); "
        "without a state, those that have not ended; of release and resume, those that are held; "
        "without a namespace, those of --namespace.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the jobs that would be touched, and touch none.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many jobs it is.")]


def cancel(
    refs: Refs = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Cancel jobs; exit code 1 if all of them had ended already."""
    with open_client(address, namespace) as client:
        ids = _chosen(client, "cancel", refs, where, dry_run=dry_run, yes=yes, as_json=as_json)
        _report("cancel", "cancelled", ids, client.cancel, as_json=as_json)


def hold(
    refs: Refs = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Keep jobs from starting until they are released; what runs goes on."""
    with open_client(address, namespace) as client:
        ids = _chosen(client, "hold", refs, where, dry_run=dry_run, yes=yes, as_json=as_json)
        _report("hold", "held", ids, client.hold, as_json=as_json)


def release(
    refs: Refs = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Let held jobs go on."""
    with open_client(address, namespace) as client:
        ids = _chosen(client, "release", refs, where, dry_run=dry_run, yes=yes, as_json=as_json, touched=_HELD)
        _report("release", "released", ids, client.release, as_json=as_json, touched=_HELD)


def pause(
    refs: Refs = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Hold jobs, and stop those that run: they start again, at no charge, when they are resumed."""
    with open_client(address, namespace) as client:
        ids = _chosen(client, "pause", refs, where, dry_run=dry_run, yes=yes, as_json=as_json)
        _report("pause", "paused", ids, client.pause, as_json=as_json)


def resume(
    refs: Refs = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Let paused jobs start again."""
    with open_client(address, namespace) as client:
        ids = _chosen(client, "resume", refs, where, dry_run=dry_run, yes=yes, as_json=as_json, touched=_HELD)
        _report("resume", "resumed", ids, client.resume, as_json=as_json, touched=_HELD)


def reprioritise(
    priority: Annotated[str, typer.Option("--priority", "-p", help="The band: its name, 0 (first) to 5, or a weight.")],
    refs: Refs = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Move jobs to another priority; attempts that are on their way stay there."""
    band = checked_band(priority)
    if band is None:
        return
    with open_client(address, namespace) as client:
        ids = _chosen(client, "reprioritise", refs, where, dry_run=dry_run, yes=yes, as_json=as_json)
        done = f"moved to {band_name(band)}"
        _report("reprioritise", done, ids, lambda ids: client.reprioritise(ids, band), as_json=as_json)


def rerun(
    job: JobRef,
    from_failed: Annotated[
        bool, typer.Option("--from-failed", "--failed", help="Only what failed, and what waited for it.")
    ] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Submit a job, an array or a workflow again as it was; a workflow NAME again as NAME@2."""
    with open_client(address, namespace) as client:
        ids = [again.id for again in client.rerun(job, from_failed=from_failed)]
        names = {view.id: view.name for view in client.views(ids)}
    if as_json:
        emit({"of": job, "jobs": [{"id": new, "name": names.get(new, "")} for new in ids]})
        return
    for new in ids:
        typer.echo(f"{new}  {names.get(new, '')}".rstrip())


def _chosen(
    client: "Client",
    verb: str,
    refs: Sequence[str] | None,
    where: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    touched: Sequence[str] = LIVE_STATES,
) -> list[str]:
    """The ids of the jobs that are to be touched; ends the command after a dry run, or when the answer is no.

    `touched` are the states in which the verb does anything.
    """
    if bool(refs) == bool(where):
        raise fail("expected either jobs or --where FILTERS", Exit.USAGE)
    interactive = sys.stdin.isatty() and not yes
    if refs and not (dry_run or interactive):
        return list(refs)
    views = find_live(client, _within(parse_where(where), client), touched) if where else client.views(refs or ())
    views = [view for view in views if view.state in touched]
    if not views:
        what = "held job" if touched == _HELD else "job that has not ended"
        raise fail(f"nothing to {verb}: no {what} matches {where or ', '.join(refs or ())}")
    if dry_run:
        _show_dry_run(verb, views, as_json=as_json)
        raise typer.Exit
    if interactive and len(views) > _UNASKED:
        say(f"kos {verb}: {len(views)} jobs; --yes does it without this question, --dry-run lists them")
        if not typer.confirm("go on?", err=True):
            raise fail("nothing was done")
    return list(refs) if refs else [view.id for view in views]


def _within(filters: Filters, client: "Client") -> Filters:
    """The filters for this command's namespace, unless they name another: nobody touches others' jobs by mistake."""
    return replace(filters, namespace=filters.namespace or client.namespace)


def _show_dry_run(verb: str, views: Sequence[JobView], *, as_json: bool) -> None:
    if as_json:
        emit({"dry_run": True, "would": verb, "jobs": views})
        return
    show_table(job_table(views, now_us(), width()))
    say(f"kos {verb} would touch {len(views)} jobs; nothing was done")


def _report(
    verb: str,
    done: str,
    ids: list[str],
    call: Callable[[list[str]], int],
    *,
    as_json: bool,
    touched: Sequence[str] = LIVE_STATES,
) -> None:
    count = call(ids)
    if as_json:
        emit({done.partition(" ")[0]: count})
    elif count:
        typer.echo(f"{count} {done}")
    if not count:
        raise fail(f"nothing to {verb}: {'none of them was held' if touched == _HELD else 'they had all ended'}")
