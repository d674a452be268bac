"""`kos sim`: rehearse a workload with the production scheduler, in virtual time and in a virtual cluster."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kos_ray.cli.output import emit, say, show_panel, show_table
from kos_ray.cli.shell import Exit, Json, example, new_app
from kos_ray.model.errors import InvalidSpec
from kos_ray.observe.tables import Table

if TYPE_CHECKING:
    from kos_ray.rehearsal.record import Record
    from kos_ray.rehearsal.report import Report

app = new_app("Rehearse a workload in virtual time: the production scheduler in a cluster that need not exist.")

Cluster = Annotated[
    str,
    typer.Option("--cluster", metavar="NODES", help="100x64cpu8gpu256GiB, several with commas, a file, or a journal."),
]
Workload = Annotated[
    str,
    typer.Option(
        "--workload",
        metavar="FILE",
        help="Streams of jobs (.yaml), or a record: .swf, .csv, .json, .jsonl#NAME, a journal.",
    ),
]
Scale = Annotated[
    float,
    typer.Option("--arrival-scale", min=0, max=1_000_000, help="Times the instants of arrival: below 1 is more load."),
]
Declared = Annotated[bool, typer.Option("--declared/--undeclared", help="Whether jobs declare their run times.")]
Check = Annotated[bool, typer.Option("--check", help="Check the scheduler's invariants after every step: slow.")]


@app.callback()
def _group() -> None:
    """Rehearse a workload in virtual time: the production scheduler in a cluster that need not exist."""


@app.command(
    epilog=example(
        "kos sim run --cluster 4x64cpu8gpu --workload configs/examples/rehearsal.yaml --seed 7",
        "kos sim run --cluster 1x128cpu --workload NASA.swf.gz --policy scheduler_mode=fifo --json",
    )
)
def run(
    cluster: Cluster,
    workload: Workload,
    policy: Annotated[
        str,
        typer.Option("--policy", metavar="POLICY", help="A settings file, KEY=VALUE words in quotes, or a journal."),
    ] = "default",
    seed: Annotated[int, typer.Option("--seed", min=0, help="What synthetic workloads are drawn from.")] = 0,
    arrival_scale: Scale = 1.0,
    declared: Declared = True,
    check: Check = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw use, queues and waits (kos_ray[plots]).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rehearse one workload under one policy, and report waits, use, fairness and what was lost.

    Ends with 1 where a job never ended. The same inputs give the same bytes.
    """
    from kos_ray.rehearsal.chart import check_chart, draw_chart

    if plot is not None:
        check_chart(plot)
    record, report = _rehearsed(cluster, workload, policy, seed, arrival_scale, declared=declared, check=check)
    if plot is not None:
        draw_chart(record, f"{workload} on {cluster}, policy {policy}", plot)
    if as_json:
        emit(report)
    else:
        _show(report)
    if report.unfinished:
        say(f"{report.unfinished} jobs never ended: is there a node, a quota and a window in which they could run?")
        raise typer.Exit(Exit.NEGATIVE)


def _rehearsed(
    cluster: str, workload: str, policy: str, seed: int, arrival_scale: float, *, declared: bool, check: bool
) -> "tuple[Record, Report]":
    from kos_ray.rehearsal.cluster import read_cluster
    from kos_ray.rehearsal.read import read_policy, read_workload
    from kos_ray.rehearsal.report import report_of
    from kos_ray.rehearsal.world import World

    nodes = read_cluster(cluster)
    wanted, not_yet = read_policy(policy)
    if not_yet:
        say(f"{policy}: not supported yet: {', '.join(not_yet)}")
    jobs = read_workload(workload, seed=seed, arrival_scale=arrival_scale, declared=declared, remark=say)
    record = World(nodes, jobs, wanted, check=check).run()
    return record, report_of(record)


def _show(report: "Report") -> None:
    from kos_ray.rehearsal.plot import plot_lines
    from kos_ray.rehearsal.tables import COLUMNS, group_rows, report_lines

    show_panel(report_lines(report))
    typer.echo()
    show_table(Table(("", *COLUMNS), tuple(group_rows(report)), numbers=frozenset(COLUMNS)))
    if report.timeline:
        typer.echo(f"\n{report.main} in use over {report.makespan_s:g} s")
        for line in plot_lines([100 * share for share in report.timeline], 100, " %"):
            typer.echo(line)
    if any(report.waiting):
        typer.echo("\njobs that wait")
        for line in plot_lines(report.waiting, max(report.waiting)):
            typer.echo(line)


@app.command(
    epilog=example(
        "kos sim compare --cluster 4x64cpu8gpu --workload configs/examples/rehearsal.yaml "
        "--policy default --policy scheduler_mode=fifo --seeds 5",
    )
)
def compare(
    cluster: Cluster,
    workload: Workload,
    policies: Annotated[
        list[str],
        typer.Option("--policy", metavar="POLICY", help="Two or more, as in `kos sim run`; the first is the base."),
    ],
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many, for synthetic workloads.")] = 10,
    first_seed: Annotated[int, typer.Option("--first-seed", min=0, help="The first of them.")] = 0,
    arrival_scale: Scale = 1.0,
    declared: Declared = True,
    check: Check = False,
    as_json: Json = False,
) -> None:
    """Rehearse one workload under several policies, over seeds: means with 95 % confidence intervals.

    All get the same seeds; differences to the first policy are shown where they are surely none of chance.
    """
    from kos_ray.rehearsal.compare import compared
    from kos_ray.rehearsal.read import seeded
    from kos_ray.rehearsal.tables import compared_rows

    if len(set(policies)) < max(2, len(policies)):
        raise InvalidSpec(f"--policy: expected two or more different ones, found {', '.join(policies)}")
    if not seeded(workload) and seeds > 1:
        say(f"{workload}: nothing is drawn in a recorded workload: one rehearsal for each policy, and no intervals")
        seeds = 1
    reports: dict[str, list[Report]] = {policy: [] for policy in policies}
    for seed in range(first_seed, first_seed + seeds):
        for policy, found in reports.items():
            _, report = _rehearsed(cluster, workload, policy, seed, arrival_scale, declared=declared, check=check)
            found.append(report)
    result = compared(reports)
    if as_json:
        emit({"seeds": seeds, "first_seed": first_seed, "policies": result})
    else:
        show_table(Table(("", *policies), tuple(compared_rows(result)), numbers=frozenset(policies)))
