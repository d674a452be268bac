"""Children: jobs that a job submitted while it ran, where its spec says what becomes of them when it is over."""

from kos_ray.model.dependency import Ended
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Children, JobState
from kos_ray.scheduler.dependencies import parent_ended
from kos_ray.scheduler.state import State


def born(state: State, parent_key: JobKey, keys: range) -> None:
    """New jobs of a parent. Those of parents that do not care are not remembered."""
    parent = state.jobs.get(parent_key)
    if parent is None or parent.entry.spec.children is Children.ABANDON:
        return
    known = state.children.setdefault(parent_key, {})
    for number in keys:
        known[JobKey(number)] = None
        state.parent_of[JobKey(number)] = parent_key


def closed(state: State, key: JobKey, outcome: JobState, ended: Ended) -> None:
    """A job is over. Its children end with it, or it stays open for those that wait for it until they have ended."""
    known = state.children.get(key)
    if known and state.jobs[key].entry.spec.children is Children.WAIT:
        state.closing[key] = outcome, ended
        return
    for child in state.children.pop(key, ()):
        state.parent_of.pop(child, None)
        job = state.jobs.get(child)  # none where only its own children are left of it
        if job is not None and not job.cancelled:
            state.todo.orphaned[child] = None
    _leave(state, key)


def _leave(state: State, key: JobKey) -> None:
    """A job is over, and its children with it: the last child of a parent that is over closes that one as well."""
    while (parent := state.parent_of.pop(key, None)) is not None:
        known = state.children[parent]
        del known[key]
        if known:
            return
        del state.children[parent]
        if parent not in state.closing:
            return
        parent_ended(state, state.dependents.pop(parent, []), *state.closing.pop(parent))
        key = parent
