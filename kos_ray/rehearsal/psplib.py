"""Reads project scheduling problems (PSPLIB; Kolisch and Sprecher, EJOR 96, 1997) as lines of JSON.

A line is a project: `name`, `capacities` of its resources, and `tasks`, each as `[duration, [demand of each resource],
[numbers of its successors]]`. A unit of time is a second, resources are called R1, R2, …, and all tasks come at once.
Tasks without duration and demand at the start and at the end stand for nothing and are left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.ids import NodeId
from kos_ray.model.job import Spec
from kos_ray.model.node import Node
from kos_ray.model.resources import Resources
from kos_ray.rehearsal.workload import ENTRY, SECOND_US, VirtualJob, numbered_lines
from kos_ray.spec.units import describe

_TASK = "a task [duration, [demand of each resource], [numbers of its successors]]"
_NUMBER_MAX = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project: its jobs, parents first, and how much of each resource there is."""

    name: str
    jobs: tuple[VirtualJob, ...]
    capacity: Resources

    def node(self) -> Node:
        """A node that has just what there is."""
        return Node(NodeId("n1"), "n1", self.capacity, incarnation="1")


def read_projects(path: Path) -> dict[str, Project]:
    """The projects of a file by name.

    Raises:
        InvalidSpec: `file:line: expected ..., found ...`.

    """
    found: dict[str, Project] = {}
    for number, line in numbered_lines(path):
        if line.strip():
            project = _project(line, f"{path}:{number}")
            found[project.name] = project
    if not found:
        raise InvalidSpec(f"{path}:1: expected at least one project, found none")
    return found


def read_project(file: str, name: str) -> Project:
    """One project of a file; the only one where none is named.

    Raises:
        InvalidSpec: as above, or there is none of that name.

    """
    found = read_projects(Path(file))
    if not name and len(found) == 1:
        (name,) = found
    if name not in found:
        known = ", ".join(list(found)[:3])
        raise InvalidSpec(
            f"{file}#{name}: expected the name of one of its {len(found)} projects behind #, such as {known}; "
            f"found {name or 'none'!r}"
        )
    return found[name]


def _project(line: str, place: str) -> Project:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise InvalidSpec(f"{place}: expected a project as JSON, found {error}") from None
    if not isinstance(data, dict):
        raise InvalidSpec(f"{place}: expected a project as a mapping, found {describe(data)}")
    for key in ("name", "capacities", "tasks"):
        if not data.get(key):
            raise InvalidSpec(f"{place}: expected {key!r} in a project, found none")
    capacities = _numbers(data["capacities"], f"{place}: capacities")
    count = len(data["tasks"])
    tasks = [_task(task, number, count, capacities, place) for number, task in enumerate(data["tasks"])]
    return Project(name=str(data["name"]), jobs=_jobs(tasks, place), capacity=_named(capacities))


_Task = tuple[int, list[int], list[int]]


def _task(task: Any, number: int, count: int, capacities: list[int], place: str) -> _Task:
    place = f"{place}: tasks[{number}]"
    if not isinstance(task, list) or len(task) != 3:
        raise InvalidSpec(f"{place}: expected {_TASK}, found {describe(task)}")
    (duration,) = _numbers([task[0]], place)
    demands, successors = _numbers(task[1], place), _numbers(task[2], place)
    if len(demands) != len(capacities):
        raise InvalidSpec(f"{place}: expected {len(capacities)} demands, found {len(demands)}")
    for demand, capacity in zip(demands, capacities, strict=True):
        if demand > capacity:
            raise InvalidSpec(f"{place}: expected no demand above the capacity of {capacity}, found {demand}")
    for successor in successors:
        if not number < successor < count:
            raise InvalidSpec(f"{place}: expected successors from {number + 1} to {count - 1}, found {successor}")
    return duration, demands, successors


def _numbers(value: Any, place: str) -> list[int]:
    if not isinstance(value, list):
        raise InvalidSpec(f"{place}: expected a list of whole numbers, found {describe(value)}")
    for number in value:
        if type(number) is not int or not 0 <= number <= _NUMBER_MAX:
            raise InvalidSpec(f"{place}: expected whole numbers from 0 to {_NUMBER_MAX}, found {describe(number)}")
    return value


def _jobs(tasks: list[_Task], place: str) -> tuple[VirtualJob, ...]:
    kept = [number for number, task in enumerate(tasks) if not _stands_for_nothing(number, tasks)]
    if not kept:
        raise InvalidSpec(f"{place}: expected at least one task with a duration, found none")
    at = {number: index for index, number in enumerate(kept)}
    parents: dict[int, list[int]] = {number: [] for number in kept}
    for number in kept:
        for successor in tasks[number][2]:
            if successor in at:
                parents[successor].append(at[number])
    return tuple(
        VirtualJob(
            name=f"{number + 1}",
            at_us=0,
            run_us=tasks[number][0] * SECOND_US,
            spec=Spec(
                type="task", entry=ENTRY, resources=_named(tasks[number][1]), run_ms=max(1, tasks[number][0] * 1_000)
            ),
            after=tuple(parents[number]),
        )
        for number in kept
    )


def _stands_for_nothing(number: int, tasks: list[_Task]) -> bool:
    duration, demands, _ = tasks[number]
    return number in (0, len(tasks) - 1) and not duration and not any(demands)


def _named(amounts: list[int]) -> Resources:
    return Resources.of({f"R{number}": amount for number, amount in enumerate(amounts, start=1) if amount})
