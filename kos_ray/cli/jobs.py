"""What people do with jobs: submit, get, result, wait."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, now_us, plain, say, show_panel, show_table, width
from kos_ray.cli.progress import follow
from kos_ray.cli.schedules import say_next
from kos_ray.cli.shell import Address, Code, Exit, IdempotencyKey, JobRef, Json, Namespace, example, fail, open_client
from kos_ray.model.views import JobView
from kos_ray.observe.tables import attempt_table, final, job_panel, label
from kos_ray.observe.workflow import report_panel, report_table, workflow_report

if TYPE_CHECKING:
    from kos_ray.client import Client
    from kos_ray.spec.lower import Draft

SUBMIT_EXAMPLE = example(
    "kos submit configs/examples/workflow.yaml --wait",
    "echo 'run: nvidia-smi' | kos submit -",
)
GET_EXAMPLE = example("kos get averages/mean")
RESULT_EXAMPLE = example("kos result averages/mean", "kos result train-3 --timeout 60")
WAIT_EXAMPLE = example("kos wait train-3 train-4 --timeout 600", "kos wait --workflow averages")

#: as many as one question for the jobs of a workflow may find
_MAX_WORKFLOW_JOBS = 1_000_000

#: jobs whose deadlines are looked at after a submission
_VERDICTS_MAX = 100
_WARNED = {"missed": "cannot be met", "at_risk": "is at risk: there is too much work before it"}

Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")]


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A YAML or JSON document; - is standard input.")],
    address: Address = None,
    namespace: Namespace = "default",
    wait_for: Annotated[bool, typer.Option("--wait", help="Wait until all have ended, then report.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the document only.")] = False,
    code: Code = None,
    idempotency_key: IdempotencyKey = "",
    if_plan: Annotated[
        str, typer.Option("--if-plan", metavar="HASH", help="Only if `kos plan` still comes to this; else exit code 1.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Submit a job, a list of jobs or a workflow; all of it is accepted, or nothing.

    Schedules in it are set when its jobs are accepted; one that is there stays as it is (`kos schedule apply`).
    Functions of modules that lie in this folder, or beside FILE, run from any node: the folder's code travels along.
    """
    from kos_ray.spec.load import load_file
    from kos_ray.spec.lower import lower

    found = lower([load_file(file)], namespace=namespace)
    scheduled = [draft for draft in found if draft.schedule is not None]
    drafts = _keyed([draft for draft in found if draft.schedule is None], idempotency_key)
    total = sum(abs(draft.count) for draft in drafts)
    if dry_run:
        names = [draft.name for draft in found]
        emit({"jobs": total, "names": names}) if as_json else say(f"{file}: {total} jobs, nothing wrong")
        return
    with open_client(address, namespace) as client:
        folders = [code] if code else [Path.cwd(), Path(file).parent]
        jobs = client.submit_drafts(drafts, code=folders, if_plan=if_plan) if drafts else []
        schedules = client.apply_drafts(scheduled, code=folders) if scheduled else []
        for one in () if as_json else schedules:
            say_next(one)
        rows = [{"id": job.id, "name": draft.name} for job, draft in zip(jobs, drafts, strict=True)]
        _warn_of_deadlines(client, rows, drafts)
        if wait_for and jobs:
            report_when_ended(client, [job.id for job in jobs], total, as_json=as_json)
            return
    if as_json:
        emit({"jobs": rows} | ({"schedules": schedules} if schedules else {}))
        return
    for row in rows:
        typer.echo(f"{row['id']}  {row['name']}".rstrip())


def _keyed(drafts: "list[Draft]", key: str) -> "list[Draft]":
    """The drafts with an idempotency key: of several jobs, each its own, by its name or its number."""
    from kos_ray.spec.fields import checked_key

    if not checked_key(key):
        return drafts
    keys = [key] if len(drafts) == 1 else [f"{key}/{draft.name or n}" for n, draft in enumerate(drafts, start=1)]
    return [
        replace(draft, idempotency_key=draft.idempotency_key or own) for draft, own in zip(drafts, keys, strict=True)
    ]


def _warn_of_deadlines(client: "Client", rows: Sequence[dict[str, str]], drafts: "Sequence[Draft]") -> None:
    """Say which deadlines cannot be met, or hardly; of an array, its first item speaks for all."""
    urgent = [(row, draft) for row, draft in zip(rows, drafts, strict=True) if draft.spec.deadline_us]
    for row, draft in urgent[:_VERDICTS_MAX]:
        found = client.explain(row["id"] if draft.count < 0 else f"{row['id']}.0")
        if found is not None and found.deadline in _WARNED:
            say(f"warning: {row['name'] or row['id']}: its deadline {_WARNED[found.deadline]}: kos explain {row['id']}")


def get(job: JobRef, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show everything about one job: state, reason, times, attempts."""
    with open_client(address, namespace) as client:
        view = client.get(job)
        attempts = client.attempts(job)
    if as_json:
        emit({**plain(view), "attempts": attempts})
        return
    show_panel(job_panel(view, now_us()))
    if attempts:
        typer.echo()
        show_table(attempt_table(attempts, now_us()))


def result(
    job: JobRef,
    timeout: Timeout = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Wait for a job and print its result; exit code 1 if it ended without success."""
    with open_client(address, namespace) as client:
        value = client.job(job).result(timeout)
    if as_json:
        emit({"job": job, "result": value})
        return
    typer.echo(value if isinstance(value, str) else pformat(value, width=min(width(), 120)))


def wait(
    refs: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids or names of jobs.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="All jobs named NAME/...")] = None,
    timeout: Timeout = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Wait until jobs have ended; exit code 1 if one of them did not succeed or the time is over."""
    if bool(refs) == bool(workflow):
        raise fail("expected either jobs or --workflow NAME", Exit.USAGE)
    with open_client(address, namespace) as client:
        ids = refs or workflow_jobs(client, workflow or "", namespace)
        report_when_ended(client, ids, len(ids), timeout=timeout, as_json=as_json)


def workflow_jobs(client: "Client", workflow: str, namespace: str) -> list[str]:
    """The ids of the jobs named `workflow/...`."""
    views = client.jobs(state=None, type=None, namespace=namespace, limit=_MAX_WORKFLOW_JOBS)
    ids = [view.id for view in views if view.name.startswith(f"{workflow}/")]
    if not ids:
        raise fail(f"no job is named {workflow}/... in the namespace {namespace}", Exit.NOT_FOUND)
    return ids


def report_when_ended(
    client: "Client", ids: Sequence[str], total: int, *, timeout: float | None = None, as_json: bool
) -> None:
    """Follows jobs to their end and reports; raises the exit code 1 unless all succeeded."""
    views = follow(client, ids, total, timeout=timeout, quiet=as_json)
    show_report(client, views, as_json=as_json)
    finish(views)


def show_report(client: "Client", views: Sequence[JobView], *, as_json: bool) -> None:
    """The report of jobs that belong together."""
    report = workflow_report(views, now_us(), client.nodes())
    if as_json:
        emit(report)
        return
    show_table(report_table(report))
    typer.echo()
    show_panel(report_panel(report))


def finish(views: Sequence[JobView]) -> None:
    """Raises the exit code of jobs that were waited for."""
    going_on = sum(not final(view) for view in views)
    if going_on:
        raise fail(f"the time is over, and {going_on} of {len(views)} jobs have not ended")
    bad = [view for view in views if view.state != "succeeded"]
    if bad:
        first = bad[0]
        cause = f": {first.error_type}: {first.error}" if first.error else ""
        raise fail(f"{len(bad)} of {len(views)} jobs did not succeed; {label(first)} {first.state}{cause}")
