"""Submissions of jobs of which nothing is said but what to run: thousands at a time, so each costs little."""

from collections import Counter

from kos_ray.model.events import JobsSubmitted
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import JobState
from kos_ray.scheduler.jobs import Job, JobClass, SpecEntry
from kos_ray.scheduler.models import estimate_in
from kos_ray.scheduler.queues import burst_of, class_for, on_top, queue, start_waiting
from kos_ray.scheduler.state import State


def add_plain(state: State, event: JobsSubmitted, now_us: int) -> bool:
    """Add a submission's jobs, if all can start at once for what they say, and stand in their specs' own classes."""
    if event.dependencies or event.limits or event.gangs or state.watched:
        return False
    entries = {key: state.specs[key] for key in event.specs}
    if any(entry.spec.deadline_us or entry.spec.approval is not None for entry in entries.values()):
        return False
    lower = _bursts(state, event, entries, now_us)
    if lower is None:
        return False
    classes: dict[SpecKey, tuple[SpecEntry, JobClass, int]] = {}
    for spec_key, entry in entries.items():
        behind = lower[entry.spec.namespace]
        job_class = class_for(state, entry, entry.spec.band, now_us, user=event.sender, lower=int(behind))
        classes[spec_key] = entry, job_class, estimate_in(state, entry).mid_us
        state.idle_specs.pop(spec_key, None)
    jobs, key = state.jobs, event.first
    ready: list[Job] = []
    for count, spec_key in zip(event.counts, event.specs, strict=True):
        entry, job_class, run_us = classes[spec_key]
        end = JobKey(key + abs(count))
        entry.live += end - key
        while key < end:
            job = jobs[key] = Job(key, spec_key, entry, job_class, JobState.READY)
            job.path_us = run_us
            queue(state, job)
            ready.append(job)
            key = JobKey(key + 1)
    start_waiting(state, ready, now_us)
    state.next_key = key
    return True


def _bursts(
    state: State, event: JobsSubmitted, entries: dict[SpecKey, SpecEntry], now_us: int
) -> dict[str, bool] | None:
    """Whether each namespace's jobs come on top of a burst; None, and nothing counted, where only some of them do."""
    counts: Counter[str] = Counter()
    for count, spec_key in zip(event.counts, event.specs, strict=True):
        counts[entries[spec_key].spec.namespace] += abs(count)
    found = {name: on_top(state, name, count, now_us) for name, count in counts.items()}
    if None in found.values():
        return None
    return {name: burst_of(state, name, count, now_us) for name, count in counts.items()}
