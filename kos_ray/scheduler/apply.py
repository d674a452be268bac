"""The one door of the state: `apply_event` and `apply_decision`. Nothing here chooses anything.

Recovery folds frames through these two functions, so they must not depend on a policy that may change.
"""

from collections.abc import Callable
from heapq import heappush
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import IllegalMove
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import After, AttemptEnd, Guarantee, JobState, SlotKind, Spec
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler.ledger import (
    class_of,
    first_ready,
    lane_of,
    launch,
    leave_lane,
    move,
    queue,
    rest_spec,
    set_slots,
    settled,
)
from kos_ray.scheduler.state import Job, NodeState, SpecEntry, State

#: weight of the newest run in a spec's mean run time, as 1/n
_MEAN_WEIGHT = 8


def apply_event(state: State, event: e.Event, now_us: int) -> None:
    """Fold one event, which happened at `now_us`, into the state."""
    _EVENTS[type(event)](state, event, now_us)


def apply_decision(state: State, decision: d.Decision, now_us: int) -> None:
    """Fold one decision, which was taken at `now_us`, into the state."""
    _DECISIONS[type(decision)](state, decision, now_us)


# --- events


def _scheduler_started(state: State, event: e.SchedulerStarted, _now_us: int) -> None:
    state.epoch = event.epoch
    state.policy = event.policy


def _jobs_submitted(state: State, event: e.JobsSubmitted, _now_us: int) -> None:
    if event.first != state.next_key:
        raise IllegalMove(f"jobs must be numbered from {state.next_key} on, found {event.first}")
    for new_key, spec in event.new_specs:
        _remember_spec(state, new_key, spec)
    dependencies = {dependency.key: dependency for dependency in event.dependencies}
    ended = {parent: JobState(value) for parent, value in event.ended_parents}
    key = event.first
    for count, spec_key in zip(event.counts, event.specs, strict=True):
        entry = state.specs[spec_key]
        end = key + (1 if count < 0 else count)
        entry.live += end - key
        state.idle_specs.pop(spec_key, None)
        _add_jobs(state, range(key, end), spec_key, entry, dependencies, ended)
        key = JobKey(end)
    state.next_key = key


def _add_jobs(
    state: State,
    keys: range,
    spec_key: SpecKey,
    entry: SpecEntry,
    dependencies: dict[JobKey, e.JobDependency],
    ended: dict[JobKey, JobState],
) -> None:
    jobs = state.jobs
    ready = entry.job_class.ready
    for number in keys:
        key = JobKey(number)
        dependency = dependencies.get(key)
        waits = dependency is not None and bool(dependency.after)
        job = jobs[key] = Job(key, spec_key, entry, JobState.BLOCKED if waits else JobState.READY)
        job.dependency = dependency
        if waits:
            _wait_for_parents(state, job, ended)
        else:
            job.queued = entry.job_class
            heappush(ready, key)


def _wait_for_parents(state: State, job: Job, ended: dict[JobKey, JobState]) -> None:
    """Count the parents that have not ended; a parent that is neither live nor in `ended` is a broken frame."""
    assert job.dependency is not None
    for first, count, kind in job.dependency.after:
        for number in range(first, first + count):
            parent = JobKey(number)
            if parent in state.jobs:
                state.dependents.setdefault(parent, []).append((job.key, kind))
                job.unmet += 1
            elif not After(kind).verdict(ended[parent]):
                state.todo.unmeetable[job.key] = None
    if job.unmet == 0 and job.key not in state.todo.unmeetable:
        state.todo.unblocked[job.key] = None


def _remember_spec(state: State, key: SpecKey, spec: Spec) -> None:
    state.specs[key] = SpecEntry(spec, class_of(state, spec.band, spec.slot_kind))
    state.idle_specs[key] = None


def _nodes_joined(state: State, event: e.NodesJoined, _now_us: int) -> None:
    for node in event.nodes:
        known = state.nodes.get(node.id)
        if known is None:
            state.nodes[node.id] = NodeState(node)
            continue
        known.node = node
        known.free = dict(node.resources.amounts)
        for lane in known.lanes.values():
            add(known.free, lane.kind.resources, -lane.slots)


def _node_lost(state: State, event: e.NodeLost, _now_us: int) -> None:
    lost = state.nodes.pop(event.node, None)
    if lost is None:
        return
    for kind, lane in lost.lanes.items():
        state.idle_lanes.pop((event.node, kind), None)
        state.todo.long_lanes.pop((event.node, kind), None)
        for key in lane.held:
            state.jobs[key].node = None
            state.todo.ended[key] = AttemptEnd.LOST


def _attempts_entered(state: State, event: e.AttemptsEntered, _now_us: int) -> None:
    for key, attempt in zip(event.keys, event.attempts, strict=True):
        job = state.jobs.get(key)
        if job is None or job.attempt != attempt or job.state is not JobState.LAUNCHED or key in state.todo.ended:
            continue
        move(job, JobState.RUNNING)
        kind = job.job_class.kind
        lane = state.nodes[event.node].lanes[kind]
        lane.running += 1
        if lane.running >= lane.slots and len(lane.held) > lane.running:
            state.todo.long_lanes[event.node, kind] = None


def _attempts_ended(state: State, event: e.AttemptsEnded, now_us: int) -> None:
    jobs, ended = state.jobs, state.todo.ended
    for i, key in enumerate(event.keys):
        job = jobs.get(key)
        if job is None or job.attempt != event.attempts[i] or job.node != event.node:
            continue  # fenced: another attempt has taken its place, or the job is over
        end = AttemptEnd(event.ends[i])
        leave_lane(state, job, now_us)
        ended[key] = end
        if end is AttemptEnd.SUCCEEDED:
            entry = job.entry
            run_us = max(1, event.ended_us[i] - event.entered_us[i])
            entry.mean_us = (entry.mean_us * (_MEAN_WEIGHT - 1) + run_us) // _MEAN_WEIGHT if entry.mean_us else run_us
            entry.mean_us = max(1, entry.mean_us)
            state.nodes[event.node].taken.pop(entry.job_class.kind, None)
        elif end is AttemptEnd.NOT_ADMITTED:
            _room_was_taken(state, event.node, job.job_class.kind, now_us)


def _room_was_taken(state: State, node: NodeId, kind: SlotKind, now_us: int) -> None:
    policy = state.policy
    until, times = state.nodes[node].taken.get(kind, (0, 0))
    if until > now_us:
        return  # one refusal speaks for all attempts that it ended
    pause = min(policy.taken_pause_us << min(times, 16), policy.taken_pause_us_max)
    state.nodes[node].taken[kind] = (now_us + pause, times + 1)


def _cancel_requested(state: State, event: e.CancelRequested, _now_us: int) -> None:
    for key in event.keys:
        job = state.jobs.get(key)
        if job is not None and not job.cancelled:
            state.todo.cancelled[key] = None


def _hold_requested(state: State, event: e.HoldRequested, now_us: int) -> None:
    for key in event.keys:
        job = state.jobs.get(key)
        if job is None or job.cancelled:
            continue
        job.held = True
        # One in BACKOFF is held when its delay is over: a release before that does not shorten it.
        if job.state is JobState.READY:
            state.todo.held[key] = None
        elif event.stop and job.state in (JobState.LAUNCHED, JobState.RUNNING) and _may_run_again(job):
            state.todo.paused[key] = None


def _may_run_again(job: Job) -> bool:
    """An at-most-once job that has been entered could never be entered again: a pause leaves it alone."""
    return job.entry.spec.guarantee is Guarantee.AT_LEAST_ONCE


def _release_requested(state: State, event: e.ReleaseRequested, now_us: int) -> None:
    for key in event.keys:
        job = state.jobs.get(key)
        if job is None:
            continue
        job.held = False
        state.todo.held.pop(key, None)
        state.todo.paused.pop(key, None)
        if job.state is JobState.HELD:
            state.todo.unblocked[key] = None


def _priority_changed(state: State, event: e.PriorityChanged, now_us: int) -> None:
    for key in event.keys:
        job = state.jobs.get(key)
        if job is not None:
            job.job_class = class_of(state, event.band, job.job_class.kind)
            if job.state is JobState.READY:
                queue(job)


def _nothing(_state: State, _event: Any, _now_us: int) -> None:
    """Events that only readers care for."""


# --- decisions


def _make_ready(state: State, decision: d.MakeReady, _now_us: int) -> None:
    lost = decision.reason == Reason.NODE_LOST
    for key in decision.keys:
        job = state.jobs[key]
        settled(state, key)
        move(job, JobState.READY)
        job.losses += lost
        queue(job)


def _hold(state: State, decision: d.Hold, now_us: int) -> None:
    lost = decision.reason == Reason.NODE_LOST
    for key in decision.keys:
        job = state.jobs[key]
        settled(state, key)
        move(job, JobState.HELD)
        job.losses += lost


def _retry_later(state: State, decision: d.RetryLater, _now_us: int) -> None:
    for key, due_us in zip(decision.keys, decision.due_us, strict=True):
        job = state.jobs[key]
        settled(state, key)
        move(job, JobState.BACKOFF)
        job.failures += 1
        job.due_us = due_us
        heappush(state.due, (due_us, key))


def _finish(state: State, decision: d.Finish, _now_us: int) -> None:
    outcome = JobState(decision.state)
    for key in decision.keys:
        job = state.jobs.pop(key)
        settled(state, key)
        move(job, outcome)
        entry = job.entry
        entry.live -= 1
        if not entry.live:
            rest_spec(state, job.spec)
        for child, kind in state.dependents.pop(key, ()):
            _parent_ended(state, child, After(kind), outcome)


def _parent_ended(state: State, child_key: JobKey, kind: After, outcome: JobState) -> None:
    child = state.jobs.get(child_key)
    if child is None or child.state is not JobState.BLOCKED:
        return
    child.unmet -= 1
    if not kind.verdict(outcome):
        state.todo.unmeetable[child_key] = None
        state.todo.unblocked.pop(child_key, None)
    elif child.unmet == 0 and child_key not in state.todo.unmeetable:
        state.todo.unblocked[child_key] = None


def _launch(state: State, decision: d.Launch, now_us: int) -> None:
    launch(state, decision.node, decision.kind, decision.keys, now_us, attempts=decision.attempts)
    set_slots(state, decision.node, decision.kind, decision.slots, now_us)
    # Placement took them out of their queues. They were the first there, so together they are found at the top.
    for job_class in {state.jobs[key].job_class: None for key in decision.keys}:
        first_ready(state, job_class)


def _resize_slots(state: State, decision: d.ResizeSlots, now_us: int) -> None:
    set_slots(state, decision.node, decision.kind, decision.slots, now_us)


def _recall(state: State, decision: d.Recall, _now_us: int) -> None:
    for key in decision.keys:
        state.jobs[key].recall_asked = True


def _stop(state: State, decision: d.Stop, now_us: int) -> None:
    for key in decision.keys:
        job = state.jobs[key]
        settled(state, key)
        if job.state is JobState.RUNNING:
            lane_of(state, job).running -= 1
        move(job, JobState.STOPPING)
        job.cancelled = decision.reason == Reason.CANCELLED_BY_USER


_EVENTS: dict[type, Callable[[State, Any, int], None]] = {
    e.SchedulerStarted: _scheduler_started,
    e.JobsSubmitted: _jobs_submitted,
    e.NodesJoined: _nodes_joined,
    e.NodeLost: _node_lost,
    e.AttemptsEntered: _attempts_entered,
    e.AttemptsEnded: _attempts_ended,
    e.LogsStored: _nothing,
    e.ProgressMade: _nothing,
    e.CheckpointsStored: _nothing,
    e.CancelRequested: _cancel_requested,
    e.HoldRequested: _hold_requested,
    e.ReleaseRequested: _release_requested,
    e.PriorityChanged: _priority_changed,
}

_DECISIONS: dict[type, Callable[[State, Any, int], None]] = {
    d.MakeReady: _make_ready,
    d.Hold: _hold,
    d.RetryLater: _retry_later,
    d.Finish: _finish,
    d.Launch: _launch,
    d.ResizeSlots: _resize_slots,
    d.Recall: _recall,
    d.Stop: _stop,
}
