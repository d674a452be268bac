"""`kos import`: recorded workflows as jobs."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli.jobs import report_when_ended
from kos_ray.cli.output import emit, say, show_panel
from kos_ray.cli.shell import Address, Exit, Json, Namespace, example, fail, new_app, open_client
from kos_ray.observe.critical import critical_path
from kos_ray.observe.tables import format_bytes, format_duration

if TYPE_CHECKING:
    from kos_ray.spec.wfformat import RecordedWorkflow

app = new_app("Bring recorded workflows in as jobs that really compute.")

_EXAMPLE = example(
    "kos import wfformat configs/examples/montage-chameleon-2mass-005d-001.json",
    "kos import wfformat run.json --scale-time 0.1 --scale-data 0.01 --submit --wait",
    "kos import wfformat run.json --out run.jobs.json && kos submit run.jobs.json",
)


@app.callback()
def _group() -> None:
    """Bring recorded workflows in as jobs that really compute."""


@app.command(epilog=_EXAMPLE)
def wfformat(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A workflow in WfFormat 1.5 (WfCommons).")],
    scale_time: Annotated[float, typer.Option("--scale-time", min=0, help="Times the recorded CPU times.")] = 1.0,
    scale_data: Annotated[float, typer.Option("--scale-data", min=0, help="Times the recorded file sizes.")] = 1.0,
    name: Annotated[str | None, typer.Option("--name", help="The workflow's name; the record's if not given.")] = None,
    max_cpus: Annotated[float, typer.Option("--max-cpus", min=0, help="CPUs that a task may ask for.")] = 1.0,
    out: Annotated[str | None, typer.Option("--out", metavar="FILE|-", help="Write a document for kos submit.")] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the jobs.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Submit, wait until all have ended, then report.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Import a WfFormat workflow: real structure, CPU times and file sizes. Without more it says what is in it."""
    from kos_ray.spec.load import load_text
    from kos_ray.spec.lower import lower
    from kos_ray.spec.wfformat import read_wfformat, to_document

    if out and (submit or wait):
        raise fail("expected either --out or --submit", Exit.USAGE)
    record = read_wfformat(file)
    document = to_document(record, scale_time=scale_time, scale_data=scale_data, name=name, max_cpus=max_cpus)
    if out:
        _write(out, document)
    elif not (submit or wait):
        _summarise(record, document, scale_time, scale_data, as_json=as_json)
    if not (submit or wait):
        return
    drafts = lower([load_text(json.dumps(document), f"{file} as jobs")], namespace=namespace)
    with open_client(address, namespace) as client:
        jobs = client.submit_drafts(drafts)
        if wait:
            say(f"{len(jobs)} jobs submitted as {document['name']}", quiet=as_json)
            report_when_ended(client, [job.id for job in jobs], len(jobs), as_json=as_json)
            return
    if as_json:
        rows = [{"id": job.id, "name": draft.name} for job, draft in zip(jobs, drafts, strict=True)]
        emit({"workflow": document["name"], "jobs": rows})
        return
    typer.echo(f"{len(jobs)} jobs submitted; wait for them with: kos wait --workflow {document['name']}")


def _write(out: str, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2) + "\n"
    if out == "-":
        typer.echo(text, nl=False)
        return
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(f"{out}: cannot be written: {error.strerror}", Exit.USAGE) from None
    say(f"{len(document['jobs'])} jobs written; submit them with: kos submit {out}")


def _summarise(
    record: "RecordedWorkflow", document: dict[str, Any], scale_time: float, scale_data: float, *, as_json: bool
) -> None:
    """What is in the record, at the asked scale."""
    times = {task.id: task.cpu_seconds * scale_time for task in record.tasks}
    length, path = critical_path(times, {task.id: task.parents for task in record.tasks})
    figures = {
        "workflow": document["name"],
        "tasks": len(record.tasks),
        "files": len(record.sizes),
        "bytes": round(sum(record.sizes.values()) * scale_data),
        "cpu_seconds": sum(times.values()),
        "critical_path_seconds": length,
        "critical_path": path,
    }
    if as_json:
        emit(figures)
        return
    show_panel(
        [
            ("workflow", document["name"]),
            ("tasks", str(len(record.tasks))),
            ("files", f"{len(record.sizes)}, {format_bytes(figures['bytes'])}"),
            ("work", f"{format_duration(round(sum(times.values()) * 1e6))} of CPU"),
            ("critical path", f"{format_duration(round(length * 1e6))} over {len(path)} tasks"),
            ("", " → ".join(path)),
        ]
    )
