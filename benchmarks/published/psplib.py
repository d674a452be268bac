"""PSPLIB (Kolisch and Sprecher, 1997): each project at once; how far its end is from the best that is known."""

import gzip
import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.published.data import planning, rehearsed, table
from benchmarks.report import Row
from kos_ray.rehearsal.psplib import read_projects

POLICY = "scheduler_mode=plugin:graph_search"
#: by set: the mean distance that is to be reached, in percent
GOALS = {"j30": 3.0, "j60": 4.0, "j120": 7.0}


def rows(data: Path) -> Iterator[Row]:
    """By set: the mean distance and the optima found, beside the best one-pass rule, and planning time per project."""
    folder = data / "psplib-rcpsp"
    one_pass = {found["name"]: float(found["parallel_lft"]) for found in table(folder / "reference_computed.csv.gz")}
    for name, goal in GOALS.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "rt") as lines:
            known = {found["name"]: found for found in map(json.loads, lines)}
        ours: dict[str, float] = {}
        thought: list[float] = []
        for project in read_projects(folder / f"{name}.jsonl.gz").values():
            report, seconds = rehearsed([project.node()], project.jobs, POLICY)
            ours[project.name] = report.makespan_s
            thought += seconds
            low = known[project.name]["best_known_lower"]
            assert report.makespan_s >= low, f"{project.name}: {report.makespan_s} s is below the bound of {low} s"
        theirs = {project: one_pass[project] for project in ours}
        yield from _compared(f"psplib_{name}", ours, theirs, known, goal)
        yield planning(f"psplib_{name}", thought)


def _compared(
    name: str, ours: Mapping[str, float], theirs: Mapping[str, float], known: Mapping[str, Any], goal: float
) -> Iterator[Row]:
    def distance(found: Mapping[str, float]) -> float:
        return statistics.mean(100 * (end / known[project]["best_known_upper"] - 1) for project, end in found.items())

    def optima(found: Mapping[str, float]) -> int:
        return sum(
            end == known[project]["best_known_upper"] == known[project]["best_known_lower"]
            for project, end in found.items()
        )

    mine, peer = distance(ours), distance(theirs)
    yield Row(name=name, value=mine, unit="%", peer=peer, ratio=mine / peer, goal=f"<= {goal:g} %", met=mine <= goal)
    hits, peer = optima(ours), optima(theirs)
    ratio = hits / peer if peer else None
    yield Row(
        name=f"{name}_optima",
        value=hits,
        unit=f"of {len(ours)}",
        peer=peer,
        ratio=ratio,
        goal=">= peer",
        met=hits >= peer,
    )
