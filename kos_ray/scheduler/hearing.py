"""Who promised to say how far it is (`heartbeat_timeout`), and when each of them was heard last.

Any word counts: progress, the same as before too, and checkpoints. The time is the scheduler's: it runs from when it
heard the last one, and anew from when it was started or its journal writes again, for nobody could be heard meanwhile.
While a node is silent nothing on it is judged. Jobs that promised nothing are in none of this.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from kos_ray.model.ids import MS_US, JobKey, NodeId
from kos_ray.model.job import JobState
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.state import State

#: agents pass words on once a second: one that is on its way counts
_ON_ITS_WAY_US = 1_000_000


def begin(state: State, job: Job, now_us: int) -> None:
    """An attempt was entered that promised to be heard."""
    state.heard[job.key] = now_us
    heappush(state.silences, (_due_us(job, now_us), job.key))


def hear(state: State, keys: Sequence[JobKey], attempts: Sequence[int], now_us: int) -> None:
    """These attempts said something."""
    for key, attempt in zip(keys, attempts, strict=True):
        if key in state.heard and state.jobs[key].attempt == attempt:
            state.heard[key] = now_us


def begin_anew(state: State, now_us: int, node: NodeId | None = None) -> None:
    """Attempts (of one node) could not be heard: their time begins now."""
    for key in state.heard:
        if node is None or state.jobs[key].node == node:
            state.heard[key] = now_us
    rebuild_silences(state)


def rebuild_silences(state: State) -> None:
    """Derive the heap from what was heard."""
    state.silences = [(_due_us(state.jobs[key], heard_us), key) for key, heard_us in state.heard.items()]
    heapify(state.silences)


def look_again(state: State, now_us: int) -> list[Job]:
    """Go through the attempts whose time was over by what was known: those that have said nothing since, by key."""
    stalled: dict[JobKey, Job] = {}
    while state.silences and state.silences[0][0] <= now_us:
        key = heappop(state.silences)[1]
        job, heard_us = state.jobs.get(key), state.heard.get(key)
        if job is None or heard_us is None or job.state is not JobState.RUNNING:
            continue
        assert job.node is not None
        if _due_us(job, heard_us) > now_us:
            heappush(state.silences, (_due_us(job, heard_us), key))
        elif not state.nodes[job.node].silent:
            stalled[key] = job
    return [stalled[key] for key in sorted(stalled)]


def _due_us(job: Job, heard_us: int) -> int:
    """When it is taken for stalled."""
    return heard_us + job.entry.spec.heartbeat_ms * MS_US + _ON_ITS_WAY_US
