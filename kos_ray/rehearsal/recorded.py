"""Reads recorded workflows (WfFormat) and traces of training jobs with gangs (CSV).

- WfFormat 1.5 (WfCommons): all tasks come at once, each needs its recorded cores, and waits for its parents.
- CSV with the columns `job_id, arrival_s, gpus, duration_s` (`duration_v100_s` in traces from Gavel's rendering of the
  Philly trace, Narayanan et al., OSDI 2020): a gang of one member for each GPU. Jobs without a duration did not run on
  that kind of GPU and are left out.
"""

import math
from pathlib import Path

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.gang import GANG_MAX
from kos_ray.model.job import Spec
from kos_ray.model.resources import Resources
from kos_ray.rehearsal.workload import ENTRY, SECOND_US, VirtualJob, in_order, numbered_rows
from kos_ray.spec.wfformat import read_wfformat

_DURATIONS = ("duration_s", "duration_v100_s", "duration")
_ARRIVALS = ("arrival_s", "submit_time")
_GPUS = ("gpus", "num_gpu")
_SECONDS_MAX = 1e10


def read_workflow(path: Path) -> tuple[VirtualJob, ...]:
    """The tasks of a workflow, parents first.

    Raises:
        InvalidSpec: see `spec.wfformat`.

    """
    record = read_wfformat(path)
    number_of = {task.id: number for number, task in enumerate(record.tasks)}
    return tuple(
        VirtualJob(
            name=task.id,
            at_us=0,
            run_us=round(task.cpu_seconds * SECOND_US),
            spec=Spec(
                type=task.program,
                entry=ENTRY,
                resources=Resources.of({"CPU": max(1.0, task.cores)}),
                run_ms=max(1, math.ceil(task.cpu_seconds * 1_000)),
            ),
            after=tuple(number_of[parent] for parent in task.parents),
        )
        for task in record.tasks
    )


def read_gangs(path: Path) -> tuple[VirtualJob, ...]:
    """The jobs of a trace of gangs; one GPU for each member.

    Raises:
        InvalidSpec: `file:line: expected ..., found ...`.

    """
    jobs = in_order(
        [
            job
            for place, row in numbered_rows(path, _ARRIVALS, _GPUS, _DURATIONS)
            if (job := _gang(row, place)) is not None
        ]
    )
    if not jobs:
        raise InvalidSpec(f"{path}:1: expected at least one job with a duration, found none")
    return jobs


def _gang(row: dict[str, str], place: str) -> VirtualJob | None:
    duration = next(name for name in _DURATIONS if name in row)
    if not row[duration]:
        return None
    gpus = _number(row, next(name for name in _GPUS if name in row), place)
    if not 1 <= gpus <= GANG_MAX or gpus != int(gpus):
        raise InvalidSpec(f"{place}: gpus: expected a whole number from 1 to {GANG_MAX}, found {gpus:g}")
    run_s = _number(row, duration, place)
    at_s = _number(row, next(name for name in _ARRIVALS if name in row), place)
    spec = Spec(
        type="gang" if gpus > 1 else "single",
        entry=ENTRY,
        resources=Resources.of({"GPU": 1}),
        single_use=True,
        run_ms=max(1, math.ceil(run_s * 1_000)),
    )
    return VirtualJob(
        name=row.get("job_id", place),
        at_us=round(at_s * SECOND_US),
        run_us=round(run_s * SECOND_US),
        spec=spec,
        members=int(gpus),
    )


def _number(row: dict[str, str], name: str, place: str) -> float:
    try:
        found = float(row[name])
    except ValueError:
        found = -1.0
    if not 0 <= found < _SECONDS_MAX:
        raise InvalidSpec(f"{place}: {name}: expected a number of 0 or more, found {row[name]!r}")
    return found
