"""Limits that the items of an array have together: so many at a time, and so many failures before the rest is given up.

Arrays without limits are no group, and cost nothing.
"""

from dataclasses import replace

from kos_ray.model.events import ArrayLimits
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Demands, JobState
from kos_ray.scheduler.gates import GROUP
from kos_ray.scheduler.jobs import Group, Job
from kos_ray.scheduler.state import State

_ON_NODE = (JobState.LAUNCHED, JobState.RUNNING, JobState.STOPPING)
_FAILED = (JobState.FAILED, JobState.LOST)


def demands_of(name: str, limits: ArrayLimits, demands: Demands) -> Demands:
    """What an item needs for its start: room in its group, besides what its spec says."""
    if not limits.at_most:
        return demands
    return replace(demands, concurrency=(*demands.concurrency, (GROUP + name, limits.at_most)))


def join(state: State, name: str, limits: ArrayLimits, keys: range) -> None:
    """New items of a group; where it was given up, they are given up with it."""
    group = state.groups.get(name)
    if group is None:
        group = state.groups[name] = Group(limits.max_failures)
    for number in keys:
        key = JobKey(number)
        group.live[key] = None
        state.group_of[key] = name
        if group.given_up:
            state.todo.given_up[key] = None


def item_ended(state: State, key: JobKey, outcome: JobState) -> None:
    """An item is over. The last failure that is borne gives up what has not started."""
    name = state.group_of.pop(key, None)
    if name is None:
        return
    group = state.groups[name]
    del group.live[key]
    group.failed += outcome in _FAILED
    if group.max_failures and group.failed >= group.max_failures and not group.given_up:
        group.given_up = True
        for other in group.live:
            if _not_started(state, state.jobs[other]):
                state.todo.given_up[other] = None
    if not group.live:
        _dissolve(state, name)


def _not_started(state: State, job: Job) -> bool:
    """What runs goes on to its end; what waits at a node is asked back."""
    if job.key in state.todo.ended:
        return True  # it is not on its node any more: if it is not over, it waits
    if job.state is JobState.LAUNCHED:
        return not job.recall_asked
    return job.state not in _ON_NODE


def given_up(state: State, key: JobKey) -> bool:
    """Whether the job's array was given up: it does not go back to any queue."""
    name = state.group_of.get(key)
    return name is not None and state.groups[name].given_up


def _dissolve(state: State, name: str) -> None:
    """The last item is over: nobody waits in the classes that were made for the group."""
    del state.groups[name]
    own = GROUP + name
    for found in [found for found in state.classes if any(key == own for key, _ in found.demands.concurrency)]:
        del state.classes[found]
