"""Where the published data is, and one rehearsal of it."""

import csv
import gzip
import json
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from kos_ray.model.node import Node
from kos_ray.rehearsal.read import read_policy
from kos_ray.rehearsal.report import Report, report_of
from kos_ray.rehearsal.workload import VirtualJob
from kos_ray.rehearsal.world import World

#: beside the repository
_BESIDE = Path(__file__).parents[3] / "shared" / "data"


def find_data(named: str | None) -> Path:
    """The folder: as named, or by KOS_RAY_DATA, or `shared/data` beside the repository.

    Raises:
        SystemExit: it is not there.

    """
    folder = Path(named or os.environ.get("KOS_RAY_DATA") or _BESIDE)
    if not (folder / "psplib-rcpsp").is_dir():
        raise SystemExit(
            f"{folder}: expected the folder of the published tables (psplib-rcpsp, wfinstances, …), found none; "
            "name it with --data or KOS_RAY_DATA"
        )
    return folder


def rehearsed(nodes: Sequence[Node], jobs: Sequence[VirtualJob], policy: str) -> tuple[Report, Sequence[float]]:
    """What came of it, and how long each answer of a plug-in took, in seconds of processor time."""
    world = World(nodes, jobs, read_policy(policy)[0])
    report = report_of(world.run())
    assert not report.unfinished, f"{report.unfinished} jobs never ended"
    return report, world.advised.thought_s


def planning(name: str, thought_s: Sequence[float]) -> Row:
    """How long a plug-in for graphs took over its answers, in processor time; it has ten seconds for each."""
    mean, longest = statistics.mean(thought_s), max(thought_s)
    unit = f"ms, longest {1e3 * longest:.0f}"
    return Row(
        name=f"{name}_planning", value=1e3 * mean, unit=unit, peer=None, ratio=None, goal="<= 10 s", met=longest <= 10
    )


def table(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file, packed or not."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        yield from csv.DictReader(lines)


def unpacked(path: Path) -> Any:
    """A packed JSON file."""
    with gzip.open(path, "rt") as lines:
        return json.load(lines)
