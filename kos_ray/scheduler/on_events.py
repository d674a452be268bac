"""What happened, folded into the state: one function for each event. Nothing here chooses anything."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kos_ray.model import events as e
from kos_ray.model.agent_snapshots import SNAPSHOT_EVENTS
from kos_ray.model.agents import AGENT_EVENTS, AgentEvent
from kos_ray.model.coordination import COORDINATION_EVENTS, CoordinationEvent
from kos_ray.model.errors import IllegalMove
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Demands, Guarantee, JobState, SlotKind
from kos_ray.model.schedule import SCHEDULE_EVENTS, ScheduleEvent
from kos_ray.scheduler import agents, approvals, gangs, lineage
from kos_ray.scheduler.assigned import messages_ended
from kos_ray.scheduler.dependencies import Past, parent_started, wait
from kos_ray.scheduler.family import born
from kos_ray.scheduler.groups import demands_of, join
from kos_ray.scheduler.hearing import begin, hear
from kos_ray.scheduler.jobs import LATER, OVERDUE, Job, JobClass, SpecEntry
from kos_ray.scheduler.learnt import large_arguments
from kos_ray.scheduler.ledger import (
    count_on_nodes,
    lane_of,
    leave_lane,
    move,
)
from kos_ray.scheduler.models import estimate_in, note_deadline
from kos_ray.scheduler.on_node_events import node_condition, node_lost, nodes_joined, nodes_marked, windows_changed
from kos_ray.scheduler.on_pressure import node_calm, node_pressed
from kos_ray.scheduler.on_settings import (
    journal_resumed,
    plugin_disabled,
    policy_changed,
    ranks_advised,
    scheduler_started,
)
from kos_ray.scheduler.paths import lengthen_paths
from kos_ray.scheduler.plain import add_plain
from kos_ray.scheduler.queues import (
    burst_of,
    class_for,
    class_named,
    queue,
    reclass,
    start_waiting,
    wait_anew,
    withdraw,
)
from kos_ray.scheduler.schedules import fold
from kos_ray.scheduler.sites import full_word, watch, words_of
from kos_ray.scheduler.state import State

#: weight of the newest run in a spec's mean run time, as 1/n
_MEAN_WEIGHT = 8
#: a look into a table costs a fifth of the enumeration's own
_ENDS = {int(end): end for end in AttemptEnd}
#: attempts that end together of whose run times something is learnt
_LEARNT_MAX = 64


def _jobs_submitted(state: State, event: e.JobsSubmitted, now_us: int) -> None:
    if event.first != state.next_key:
        raise IllegalMove(f"jobs must be numbered from {state.next_key} on, found {event.first}")
    _remember(state, event)
    state.sizes.update(large_arguments(event))
    if not add_plain(state, event, now_us):
        _add_arrays(state, event, now_us)
    if event.parent:
        born(state, event.parent, range(event.first, state.next_key))


def _add_arrays(state: State, event: e.JobsSubmitted, now_us: int) -> None:
    names = dict(event.names) if state.watched else {}
    dependencies = {dependency.key: dependency for dependency in event.dependencies}
    past = Past(event)
    all_limits = {limits.index: limits for limits in event.limits}
    #: a request often has thousands of single jobs that are alike
    classes: dict[tuple[SpecKey, int, Demands | None, tuple[str, ...]], JobClass] = {}
    for gang in event.gangs:
        gangs.join(state, gang)
    key = event.first
    for index, (count, spec_key) in enumerate(zip(event.counts, event.specs, strict=True)):
        entry = state.specs[spec_key]
        end = key + (1 if count < 0 else count)
        entry.live += end - key
        state.idle_specs.pop(spec_key, None)
        lower = int(burst_of(state, entry.spec.namespace, end - key, now_us))
        limits = all_limits.get(index)
        name, demands = "", None
        if limits is not None:
            name = f"{entry.spec.namespace}\0{limits.group}"
            demands = demands_of(name, limits, entry.spec.demands)
        words = words_of(state, entry.spec, names.get(index, "")) if state.watched else ()
        alike = (spec_key, lower, demands, words)
        job_class = classes.get(alike)
        if job_class is None:
            job_class = classes[alike] = class_for(
                state, entry, entry.spec.band, now_us, user=event.sender, lower=lower, demands=demands, words=words
            )
        if entry.spec.deadline_us:
            note_deadline(state, entry.spec, range(key, end), later=job_class.order == LATER)
        ready = _add_jobs(state, range(key, end), spec_key, job_class, dependencies, past)
        start_waiting(state, ready, now_us)
        approvals.begin(state, entry.spec, range(key, end))
        if limits is not None:
            join(state, name, limits, range(key, end))
        key = JobKey(end)
    state.next_key = key
    if event.dependencies:
        lengthen_paths(state, event.dependencies)


def _add_jobs(
    state: State,
    keys: range,
    spec_key: SpecKey,
    job_class: JobClass,
    dependencies: dict[JobKey, e.JobDependency],
    past: Past,
) -> list[Job]:
    """The new jobs that are ready."""
    jobs, entry = state.jobs, state.specs[spec_key]
    ready: list[Job] = []
    run_us = estimate_in(state, entry).mid_us
    for number in keys:
        key = JobKey(number)
        dependency = dependencies.get(key)
        waits = dependency is not None and dependency.waits
        job = jobs[key] = Job(key, spec_key, entry, job_class, JobState.BLOCKED if waits else JobState.READY)
        job.dependency = dependency
        job.path_us = run_us
        if waits:
            wait(state, job, past)
        else:
            queue(state, job)
            ready.append(job)
    return ready


def _remember(state: State, event: e.JobsSubmitted) -> None:
    """What a submission says beside its jobs: new specs, and where the jobs that they name have run."""
    for key, spec in event.new_specs:
        state.specs[key] = SpecEntry(spec)
        state.queue_limits = state.queue_limits or bool(spec.queue_ms)
        state.heartbeats = state.heartbeats or bool(spec.heartbeat_ms)
        state.dispatch.used = state.dispatch.used or spec.to is not None
        state.idle_specs[key] = None
        if spec.where.jobs:
            watch(state, spec, event.neighbours)
    for namespace, name, node in event.ran_on:
        state.left.setdefault(full_word(namespace, f"job:{name}"), {})[NodeId(node)] = None


def _attempts_entered(state: State, event: e.AttemptsEntered, now_us: int) -> None:
    for key, attempt in zip(event.keys, event.attempts, strict=True):
        job = state.jobs.get(key)
        if job is None or job.attempt != attempt or job.state is not JobState.LAUNCHED or key in state.todo.ended:
            continue
        move(job, JobState.RUNNING)
        _has_started(state, job)
        if state.heartbeats and job.entry.spec.heartbeat_ms:
            begin(state, job, now_us)
        kind = job.kind
        lane = lane_of(job)
        lane.running += 1
        if lane.running >= lane.slots and len(lane.held) > lane.running:
            state.todo.long_lanes[event.node, kind] = None


def _attempts_ended(state: State, event: e.AttemptsEnded, now_us: int) -> None:
    jobs, ended = state.jobs, state.todo.ended
    node = state.nodes.get(event.node)
    taken = node.taken if node else {}
    ran: list[tuple[Job, int]] = []
    asked_ms = {error.index: error.again_ms for error in event.errors if error.again_ms} if event.errors else {}
    for i, key in enumerate(event.keys):
        job = jobs.get(key)
        if job is None or job.attempt != event.attempts[i] or job.node != event.node:
            continue  # fenced: another attempt has taken its place, or the job is over
        end = _ENDS[event.ends[i]]
        if i in asked_ms:
            state.todo.asked_ms[key] = asked_ms[i]
        leave_lane(state, job, now_us)
        ended[key] = end
        job.undelivered = job.undelivered + 1 if end is AttemptEnd.UNDELIVERED else 0
        if end is AttemptEnd.SUCCEEDED:
            run_us = max(1, event.ended_us[i] - event.entered_us[i])
            _measured(state, job, run_us)
            ran.append((job, run_us))
            if taken:
                _room_is_ours(state, event.node, job.kind)
        elif end is AttemptEnd.NOT_ADMITTED:
            _room_was_taken(state, event.node, job.kind, now_us)
        elif event.entered_us[i] and end.entered:
            _has_started(state, job)
            if end is AttemptEnd.TIMED_OUT:
                ran.append((job, max(1, event.ended_us[i] - event.entered_us[i])))
    _besides(state, event, ran, now_us)


def _besides(state: State, event: e.AttemptsEnded, ran: Sequence[tuple[Job, int]], now_us: int) -> None:
    """What is learnt of attempts that have ended, and what they had goes with them."""
    if ran:
        _learn(state, ran)
    if state.coordination.of_job:
        ends = zip(event.keys, event.attempts, strict=True)
        state.coordination.attempts_ended([(key, attempt) for key, attempt in ends if key in state.todo.ended])
    messages_ended(state, event, now_us)
    if event.errors and state.agents.of_job:
        agents.note_lacks(state, event)


def _learn(state: State, ran: Sequence[tuple[Job, int]]) -> None:
    """Jobs have run so long: what is known of jobs alike may change with that. Of many, some speak for all."""
    alike: dict[tuple[SpecEntry, int], list[int]] = {}
    for job, run_us in ran[:: 1 + len(ran) // _LEARNT_MAX]:
        # what goes on from a checkpoint has less to do
        if job.attempt == 1 or not job.entry.saves:
            alike.setdefault((job.entry, state.sizes.get(job.key, 0)), []).append(run_us)
    for (entry, size), runs_us in alike.items():
        state.learnt.add(entry.spec, size, runs_us)


def _has_started(state: State, job: Job) -> None:
    job.entered = True
    if state.starters:
        parent_started(state, job.key)


def _room_was_taken(state: State, node: NodeId, kind: SlotKind, now_us: int) -> None:
    policy = state.policy
    until, times = state.nodes[node].taken.get(kind, (0, 0))
    if until > now_us:
        return  # one refusal speaks for all attempts that it ended
    pause = min(policy.taken_pause_us << min(times, 16), policy.taken_pause_us_max)
    state.nodes[node].taken[kind] = (now_us + pause, times + 1)
    state.taken_nodes[node] = None


def _measured(state: State, job: Job, run_us: int) -> None:
    """How long jobs of a spec run, of late."""
    entry, patience_us = job.entry, state.policy.patience_us
    known_us = entry.mean_us
    mean_us = (known_us * (_MEAN_WEIGHT - 1) + run_us) // _MEAN_WEIGHT if known_us else run_us
    entry.mean_us = max(1, mean_us)
    if (0 < known_us <= patience_us) != (entry.mean_us <= patience_us):
        # whether they are waited for, or asked to give way, is another matter from now on
        for kind in job.job_class.kinds:
            state.rooms.touched.update((node_id, state.nodes[node_id]) for node_id in state.lanes.get(kind, ()))


def _room_is_ours(state: State, node: NodeId, kind: SlotKind) -> None:
    """An attempt of this kind ran there: Ray honours the reservation again."""
    taken = state.nodes[node].taken
    taken.pop(kind, None)
    if not taken:
        state.taken_nodes.pop(node, None)


def _cancel_requested(state: State, event: e.CancelRequested, _now_us: int) -> None:
    for key in event.keys:
        job = state.jobs.get(key)
        if job is not None and not job.cancelled:
            state.todo.cancelled[key] = None


def _hold_requested(state: State, event: e.HoldRequested, _now_us: int) -> None:
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
    return job.entry.spec.guarantee is not Guarantee.AT_MOST_ONCE


def _release_requested(state: State, event: e.ReleaseRequested, now_us: int) -> None:
    released: list[JobKey] = []
    for key in event.keys:
        job = state.jobs.get(key)
        if job is None or key in state.coordination.approvals.waiting:
            continue  # what waits for approval goes on with that alone
        job.held = False
        state.todo.held.pop(key, None)
        state.todo.paused.pop(key, None)
        if job.state is JobState.HELD:
            state.todo.unblocked[key] = None
            released.append(key)
    if state.queue_limits:
        wait_anew(state, released, now_us)


def _priority_changed(state: State, event: e.PriorityChanged, now_us: int) -> None:
    for key in event.keys:
        job = state.jobs.get(key)
        if job is not None:
            if key in state.nominated:
                withdraw(state, key)
            overdue = job.job_class.order == OVERDUE
            user = job.job_class.name.user
            if job.node is not None:
                count_on_nodes(state, job, -1)
            if key in state.gang_of:
                state.touched[state.gang_of[key].name] = None
            name = job.job_class.name
            moved = class_for(
                state, job.entry, event.band, now_us, user=user, overdue=overdue, demands=name.demands, words=name.words
            )
            # what was changed for it since its submission stays
            moved = class_named(state, replace(moved.name, kind=name.kind, where=name.where))
            reclass(state, job, moved)
            if job.node is not None:
                count_on_nodes(state, job, 1)
                state.rooms.touched[job.node] = state.nodes[job.node]


def _checkpoints_stored(state: State, event: e.CheckpointsStored, now_us: int) -> None:
    for key, attempt in zip(event.keys, event.attempts, strict=True):
        job = state.jobs.get(key)
        if job is not None and job.attempt == attempt:
            job.saved_us = now_us
    if state.agents.of_job:
        lineage.stored(state, event, now_us)
    if state.heard:
        hear(state, event.keys, event.attempts, now_us)


def _progress_made(state: State, event: e.ProgressMade, now_us: int) -> None:
    if state.heard:
        hear(state, event.keys, event.attempts, now_us)


def _nothing(_state: State, _event: Any, _now_us: int) -> None:
    """Events that only readers care for."""


def _schedule(state: State, event: ScheduleEvent, _now_us: int) -> None:
    fold(state.schedules, event)


def _agent(state: State, event: AgentEvent, now_us: int) -> None:
    agents.fold(state, event, now_us)


def _coordination(state: State, event: CoordinationEvent, _now_us: int) -> None:
    state.coordination.fold(event)


ON_EVENT: dict[type, Callable[[State, Any, int], None]] = {
    e.SchedulerStarted: scheduler_started,
    e.JobsSubmitted: _jobs_submitted,
    e.NodesJoined: nodes_joined,
    e.NodeLost: node_lost,
    e.AttemptsEntered: _attempts_entered,
    e.AttemptsEnded: _attempts_ended,
    e.LogsStored: _nothing,
    e.JournalCompacted: _nothing,
    e.JournalResumed: journal_resumed,
    e.ProgressMade: _progress_made,
    e.CheckpointsStored: _checkpoints_stored,
    e.CancelRequested: _cancel_requested,
    e.HoldRequested: _hold_requested,
    e.ReleaseRequested: _release_requested,
    e.PriorityChanged: _priority_changed,
    e.PolicyChanged: policy_changed,
    e.NodesMarked: nodes_marked,
    e.NodeCondition: node_condition,
    e.NodePressed: node_pressed,
    e.NodeCalm: node_calm,
    e.WindowsChanged: windows_changed,
    e.RanksAdvised: ranks_advised,
    e.PluginDisabled: plugin_disabled,
    **dict.fromkeys(SCHEDULE_EVENTS, _schedule),
    **dict.fromkeys(AGENT_EVENTS, _agent),
    **dict.fromkeys(SNAPSHOT_EVENTS, lineage.fold),
    **dict.fromkeys(COORDINATION_EVENTS, _coordination),
}
