"""`kos demo`: a recorded workflow, run for real, in a minute."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kos_ray.cli.output import emit, now_us, say, show_panel, show_table
from kos_ray.cli.progress import follow
from kos_ray.cli.shell import Exit, Json, State, example, fail, open_client
from kos_ray.observe.workflow import report_panel, report_table, workflow_report

if TYPE_CHECKING:
    from kos_ray.client import Client
    from kos_ray.spec.lower import Draft

EXAMPLE = example("kos demo", "kos demo --scale-time 0.5 --state /tmp/kos-demo")
_RECORD = Path("configs/examples/montage-chameleon-2mass-005d-001.json")


def demo(
    file: Annotated[
        Path | None, typer.Option("--file", help="Another WfFormat workflow than the Montage example.")
    ] = None,
    scale_time: Annotated[float, typer.Option("--scale-time", min=0, help="Times the recorded CPU times.")] = 0.15,
    scale_data: Annotated[float, typer.Option("--scale-data", min=0, help="Times the recorded file sizes.")] = 0.02,
    state: State = None,
    num_cpus: Annotated[int | None, typer.Option("--num-cpus", min=1, help="CPUs of the local cluster.")] = None,
    as_json: Json = False,
) -> None:
    """Run a recorded astronomy workflow of 58 tasks and report: state, node, wait and run time, critical path.

    Starts a cluster where none runs, and stops what it started.
    """
    from kos_ray.runtime import connect
    from kos_ray.spec.wfformat import import_wfformat

    # a name of its own each time: names are unique in the journal, which outlives the demo
    name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    drafts = import_wfformat(file or example_file(), scale_time=scale_time, scale_data=scale_data, name=name)
    say("starting, or finding, a cluster", quiet=as_json)
    up = connect.up(address=None, state_dir=state, num_cpus=num_cpus)
    try:
        answer = _play(drafts, up.address, name, as_json=as_json)
    finally:
        stopped = () if up.already_running else connect.down(state_dir=Path(up.state_dir)).stopped
    answer["state_dir"] = str(up.state_dir)
    answer["stopped"] = stopped
    if as_json:
        emit(answer)
    else:
        _close(answer)
    if not answer["succeeded"]:
        raise fail("the demo did not end as it should: see the report above")


def _play(drafts: "list[Draft]", address: str, name: str, *, as_json: bool) -> dict[str, Any]:
    """Submits, follows and checks; the report as data, and shown unless it is to be JSON."""
    with open_client(address, "default") as client:
        jobs = client.submit_drafts(drafts)
        say(f"{len(jobs)} jobs submitted as {name}/...", quiet=as_json)
        views = follow(client, [job.id for job in jobs], len(jobs), quiet=as_json)
        report = workflow_report(views, now_us(), client.nodes())
        wrong = _wrong_results(client, drafts, dict(zip([draft.name for draft in drafts], jobs, strict=True)))
    if not as_json:
        show_table(report_table(report))
        typer.echo()
        show_panel(report_panel(report))
    return {"workflow": name, "succeeded": report.succeeded and not wrong, "wrong_results": wrong, "report": report}


def _wrong_results(client: "Client", drafts: "list[Draft]", jobs: dict[str, Any]) -> list[str]:
    """Final jobs whose result differs from what the workflow computes when run here, one task after the other."""
    from kos_ray.spec.rehearse import final_digests

    wrong = []
    for name, digest in final_digests(drafts).items():
        if client.get(jobs[name].id).state != "succeeded" or jobs[name].result()["digest"] != digest:
            wrong.append(name)
    return wrong


def _close(answer: dict[str, Any]) -> None:
    wrong = answer["wrong_results"]
    same = "the same as computed here, one task after the other"
    results = f"wrong or missing: {', '.join(wrong)}" if wrong else same
    stopped = ", ".join(answer["stopped"]) or "nothing: the cluster was running before"
    show_panel([("results", results), ("journal", answer["state_dir"]), ("stopped", stopped)])


def example_file() -> Path:
    """The recorded workflow: in this folder, or beside the package in its source tree."""
    for base in (Path(), Path(__file__).parents[2]):
        if (base / _RECORD).is_file():
            return base / _RECORD
    raise fail(f"the example {_RECORD} is not here: run it in the source tree, or give --file", Exit.USAGE)
