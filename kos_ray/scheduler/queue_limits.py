"""Jobs that are to be entered within a time, or are over (`queue_timeout`)."""

from heapq import heappop

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.state import State


def expire(state: State, now_us: int) -> list[d.Decision]:
    """End the jobs that have not been entered within their `queue_timeout`."""
    late = look_again(state, now_us)
    if not late:
        return []
    decision = d.Finish(keys=tuple(late), state=JobState.FAILED, reason=Reason.QUEUE_TIMEOUT)
    apply_decision(state, decision, now_us)
    return [decision]


def look_again(state: State, now_us: int) -> list[JobKey]:
    """Go through the jobs whose `queue_timeout` is over: those that still wait.

    One that is on its way to a node by then is over as soon as it is back without having been entered. What is left
    depends on the jobs as they are now alone, so that steps that leave no frame change nothing.
    """
    while state.queue_ends and state.queue_ends[0][0] <= now_us:
        state.queue_over.update(dict.fromkeys(heappop(state.queue_ends)[1]))
    late: list[JobKey] = []
    for key in list(state.queue_over):
        job = state.jobs.get(key)
        if job is not None and not job.entered and not job.failures:
            if job.state in (JobState.LAUNCHED, JobState.STOPPING, JobState.BACKOFF):
                continue
            if job.state is JobState.READY:
                late.append(key)
        del state.queue_over[key]
    return late
