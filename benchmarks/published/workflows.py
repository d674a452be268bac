"""WfInstances on 4, 16 and 48 slots: the end of each recorded workflow over its lower bound (Coleman et al., 2022)."""

import math
import statistics
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from benchmarks.published.data import planning, rehearsed, table, unpacked
from benchmarks.report import Row
from kos_ray.model.job import Spec
from kos_ray.model.resources import Resources
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.workload import ENTRY, SECOND_US, VirtualJob

#: by policy: what of the reference its mean is beside, and what it is to reach: so many percent, or the same
POLICIES = {
    "default": ("list_fifo_makespan_s", None),
    "scheduler_mode=dependency_graph": ("list_blevel_makespan_s", None),
    "scheduler_mode=plugin:graph_search": ("list_blevel_makespan_s", 7.0),
}
#: two schedules by one rule differ in whom they take of those that are alike
_SAME = 1.01
#: the reference is in thousandths of a second
_ROUNDED_S = 0.002


def rows(data: Path) -> Iterator[Row]:
    """By policy: by how much ends are above their bounds, on average over all workflows and numbers of slots."""
    folder = data / "wfinstances"
    reference = list(table(folder / "reference_computed.csv"))
    workflows = {name: _jobs(unpacked(folder / name)["tasks"]) for name in {found["file"] for found in reference}}
    for policy, (peer, goal) in POLICIES.items():
        above, peers, thought = [], [], []
        for found in reference:
            seconds, makespan_s = _run(workflows[found["file"]], found, policy)
            bound_s = float(found["lower_bound_s"])
            above.append(100 * (makespan_s / bound_s - 1))
            peers.append(100 * (float(found[peer]) / bound_s - 1))
            thought += seconds
        mine, theirs = statistics.mean(above), statistics.mean(peers)
        name = f"workflows_{policy.rpartition(':')[2].rpartition('=')[2]}"
        yield Row(
            name=name,
            value=mine,
            unit="% above bound",
            peer=theirs,
            ratio=mine / theirs,
            goal=f"<= {_SAME:g}x" if goal is None else f"<= {goal:g} %",
            met=mine <= (_SAME * theirs if goal is None else goal),
        )
        if thought:
            yield planning(name, thought)


def _run(jobs: Sequence[VirtualJob], found: dict[str, str], policy: str) -> tuple[Sequence[float], float]:
    report, seconds = rehearsed(read_cluster(f"1x{found['slots']}cpu"), jobs, policy)
    low, high = float(found["lower_bound_s"]), float(found["graham_list_upper_bound_s"])
    assert low - _ROUNDED_S <= report.makespan_s <= high + _ROUNDED_S, (
        f"{found['file']} on {found['slots']} slots: expected {low} to {high} s (Graham), found {report.makespan_s} s"
    )
    return seconds, report.makespan_s


def _jobs(tasks: list[list[Any]]) -> tuple[VirtualJob, ...]:
    """Every task takes a slot for its recorded run time; parents first."""
    order = list(TopologicalSorter({number: sorted(task[-1]) for number, task in enumerate(tasks)}).static_order())
    at = {number: index for index, number in enumerate(order)}
    found = []
    for number in order:
        kind, run_s, *_, parents = tasks[number]
        run_ms = max(1, math.ceil(run_s * 1_000))
        found.append(
            VirtualJob(
                name=str(number),
                at_us=0,
                run_us=round(run_s * SECOND_US),
                spec=Spec(type=kind, entry=ENTRY, resources=Resources.of({"CPU": 1}), run_ms=run_ms),
                after=tuple(at[parent] for parent in parents),
            )
        )
    return tuple(found)
