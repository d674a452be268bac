"""Critical paths: run times from a job's start to the end of the longest chain behind it (its b-level).

A run time is what is declared, else the median of what was learnt when the path was found.
"""

from collections.abc import Iterable, Iterator, Sequence

from kos_ray.model.events import JobDependency
from kos_ray.model.ids import JobKey
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.models import estimate_in
from kos_ray.scheduler.queues import queue_anew
from kos_ray.scheduler.state import State


def lengthen_paths(state: State, added: Sequence[JobDependency]) -> None:
    """New jobs stand behind others: the paths of those grow, and of what those wait for."""
    grown: list[JobKey] = []
    for dependency in reversed(added):
        grown += _lengthen(state, dependency.key)
    while grown:
        key = grown.pop()
        if state.jobs[key].dependency is not None:
            grown += _lengthen(state, key)


def _lengthen(state: State, key: JobKey) -> Iterable[JobKey]:
    """Let the parents of one job know its path; the parents whose own path grew by it."""
    child = state.jobs[key]
    grown: list[JobKey] = []
    for parent in _parents(state, child):
        path_us = estimate_in(state, parent.entry).mid_us + child.path_us
        if path_us > parent.path_us:
            parent.path_us = path_us
            grown.append(parent.key)
            queue_anew(state, parent)
    return grown


def _parents(state: State, child: Job) -> Iterator[Job]:
    if child.dependency is None:
        return
    for first, count, _ in child.dependency.after:
        for number in range(first, first + count):
            parent = state.jobs.get(JobKey(number))
            if parent is not None:
                yield parent
