"""What follows from what happened: ended attempts, met and unmeetable dependencies, cancellations, due retries."""

from heapq import heappop

from kos_ray.model import decisions as d
from kos_ray.model.ids import MS_US, JobKey, NodeId
from kos_ray.model.job import AttemptEnd, Backoff, Eviction, Guarantee, JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import agents, gangs
from kos_ray.scheduler.again import more_memory
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.desk import NOBODY_YET
from kos_ray.scheduler.dispatch import left_to_ask
from kos_ray.scheduler.groups import given_up
from kos_ray.scheduler.jobs import OVERDUE, Job
from kos_ray.scheduler.pressure import AWAY
from kos_ray.scheduler.retry import backoff_us, lease_over_us, longest_lease_us
from kos_ray.scheduler.state import State

_SUCCEEDED = (JobState.SUCCEEDED, Reason.SUCCEEDED)
#: what a job that is over because of its attempt's end is said to have ended by
_CAUSE = {
    AttemptEnd.SUCCEEDED: Reason.SUCCEEDED,
    AttemptEnd.FAILED: Reason.USER_ERROR,
    AttemptEnd.TIMED_OUT: Reason.TIMEOUT,
    AttemptEnd.CRASHED: Reason.CRASHED,
    AttemptEnd.UNPREPARED: Reason.UNPREPARED,
    AttemptEnd.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    # the one stop that is charged
    AttemptEnd.STOPPED: Reason.HEARTBEAT_TIMEOUT,
}

#: so often those are asked again that declined a message because they were not available
DECLINED_ROUNDS_MAX = 3

#: ends by the death of the process
_DIED = (AttemptEnd.CRASHED, AttemptEnd.OUT_OF_MEMORY)

#: ends that send a job back to the queue at no charge, and what is said of it
_RETURNED = {
    AttemptEnd.RECALLED: Reason.RECALLED,
    AttemptEnd.NOT_ADMITTED: Reason.TAKEN_BY_OTHERS,
}


#: jobs that are held are so by people's wish, but for these reasons
_HELD_FOR = (Reason.NODE_LOST, Reason.AGENT_IDLE)


class _Groups:
    """Decisions of one round, gathered into columns; job by job the order does not matter within a round."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.finish: dict[tuple[JobState, Reason], list[JobKey]] = {}
        self.ready: dict[Reason, list[JobKey]] = {}
        self.hold: dict[Reason, list[JobKey]] = {}
        self.retry: list[tuple[JobKey, int, Reason]] = []
        self.more: list[tuple[JobKey, int]] = []
        #: by node, reason, and the grace in milliseconds, 0 for the policy's
        self.stop: dict[tuple[NodeId, Reason, int], list[Job]] = {}
        self.recall: dict[NodeId, list[Job]] = {}
        self.gangs: list[d.Decision] = []

    def back(self, job: Job, reason: Reason) -> None:
        """The job may run (again), unless somebody holds it, or its array was given up."""
        if self._state.groups and given_up(self._state, job.key):
            self.give_up(job)
        elif job.held:
            hold_reason = reason if reason in _HELD_FOR else held_by(self._state, job.key)
            self.hold.setdefault(hold_reason, []).append(job.key)
        else:
            self.ready.setdefault(reason, []).append(job.key)

    def give_up(self, job: Job) -> None:
        """So many items of the job's array failed that it is not to start: what waits at a node is asked back."""
        if job.node is None:
            self.finish.setdefault((JobState.CANCELLED, Reason.TOO_MANY_FAILED), []).append(job.key)
        else:
            self.recall.setdefault(job.node, []).append(job)

    def stop_for(self, job: Job, reason: Reason) -> None:
        """The job's attempt is to end."""
        assert job.node is not None
        spec = job.entry.spec
        # an agent shuts down, or saves its state, before it goes
        grace_ms = spec.grace_ms if spec.carries is not None else 0
        self.stop.setdefault((job.node, reason, grace_ms), []).append(job)

    @property
    def decided(self) -> bool:
        """Whether anything was."""
        return bool(self.finish or self.ready or self.hold or self.retry or self.stop or self.recall)

    def decisions(self, grace_ms: int) -> list[d.Decision]:
        found: list[d.Decision] = [
            *self.gangs,
            *(d.Finish(keys=tuple(keys), state=state, reason=reason) for (state, reason), keys in self.finish.items()),
        ]
        if self.more:
            keys, amounts = zip(*self.more, strict=True)
            found.append(d.RaiseMemory(keys=keys, amounts=amounts))
        if self.retry:
            keys, due, reasons = zip(*self.retry, strict=True)
            found.append(d.RetryLater(keys=keys, due_us=due, reasons=reasons))
        found += [d.MakeReady(keys=tuple(keys), reason=reason) for reason, keys in self.ready.items()]
        found += [d.Hold(keys=tuple(keys), reason=reason) for reason, keys in self.hold.items()]
        found += [
            d.Stop(
                node=node,
                keys=tuple(job.key for job in jobs),
                attempts=tuple(job.attempt for job in jobs),
                grace_ms=own_ms or grace_ms,
                reason=reason,
            )
            for (node, reason, own_ms), jobs in self.stop.items()
        ]
        found += [
            d.Recall(
                node=node,
                keys=tuple(job.key for job in jobs),
                attempts=tuple(job.attempt for job in jobs),
                reason=Reason.TOO_MANY_FAILED,
            )
            for node, jobs in self.recall.items()
        ]
        return found


def held_by(state: State, key: JobKey) -> Reason:
    """What holds a job that is held: nobody has approved it yet, or somebody holds it."""
    return Reason.APPROVAL if key in state.coordination.approvals.waiting else Reason.HELD_BY_USER


def settle(state: State, now_us: int) -> list[d.Decision]:
    """Decide until nothing is left to settle: ending a job can unblock or end others."""
    taken: list[d.Decision] = []
    while state.todo.unsettled:
        groups = _Groups(state)
        _attempts(groups, state, now_us)
        _requests(groups, state)
        if not groups.decided:
            _gangs(groups, state)
        taken += _apply_all(state, groups, now_us)
    return taken


def _attempts(groups: _Groups, state: State, now_us: int) -> None:
    """What follows from ended attempts and from dependencies."""
    todo = state.todo
    for key, end in todo.ended.items():
        _ended(groups, state, state.jobs[key], end, now_us)
    for key in todo.given_up:
        if key not in todo.cancelled and key not in todo.orphaned and key not in todo.ended:
            groups.give_up(state.jobs[key])
    for key, reason in todo.unmeetable.items():
        if not todo.ends(key):
            groups.finish.setdefault((JobState.SKIPPED, reason), []).append(key)
    for key in todo.unblocked:
        if not todo.ends(key):
            groups.back(state.jobs[key], Reason.NONE)


def _requests(groups: _Groups, state: State) -> None:
    """What somebody wants: an ended attempt goes before it, a cancellation before everything else that is wanted."""
    todo = state.todo
    for key in todo.cancelled:
        if key not in todo.ended:
            _cancelled(groups, state.jobs[key], Reason.CANCELLED_BY_USER)
    for key in todo.orphaned:
        if key not in todo.ended and key not in todo.cancelled:
            _cancelled(groups, state.jobs[key], Reason.PARENT_ENDED)
    for key in todo.held:
        if not todo.ends(key):
            groups.hold.setdefault(held_by(state, key), []).append(key)
    for key in todo.paused:
        if key not in todo.ended and not todo.ends(key):
            groups.stop_for(state.jobs[key], Reason.PAUSED_BY_USER)


def _gangs(groups: _Groups, state: State) -> None:
    """Gangs that lost members, once it is known what becomes of these: they start anew, or they are over."""
    for name in state.todo.gangs:
        gang = state.gangs.get(name)
        reason = gangs.verdict(state, gang) if gang else Reason.NONE
        if gang is None or reason is Reason.NONE:
            continue
        final = reason is Reason.GANG_ENDED
        if gang.going or not gang.over:
            groups.gangs.append(d.StopGang(gang=name, reason=reason, final=final))
        for job in gangs.jobs(state, gang) if final else gangs.active(state, gang):
            if final:
                _cancelled(groups, job, reason)
            else:
                groups.stop_for(job, reason)
    state.todo.gangs.clear()


def wake(state: State, now_us: int) -> list[d.Decision]:
    """Make the jobs ready whose backoff is over."""
    keys: dict[JobKey, None] = {}
    while state.due and state.due[0][0] <= now_us:
        due_us, key = heappop(state.due)
        job = state.jobs.get(key)
        if job is not None and job.state is JobState.BACKOFF and job.due_us == due_us:
            keys[key] = None
    groups = _Groups(state)
    for key in keys:
        groups.back(state.jobs[key], Reason.RETRY_LATER)
    taken = _apply_all(state, groups, now_us)
    # of arrays that were given up meanwhile: who waits for them hears that
    return [*taken, *settle(state, now_us)]


def age(state: State, now_us: int) -> list[d.Decision]:
    """Let the jobs go first that have been ready as long as their band allows."""
    keys: set[JobKey] = set()
    while state.aging and state.aging[0][0] <= now_us:
        _, waited = heappop(state.aging)
        for key in waited:
            job = state.jobs.get(key)
            if job is not None and job.job_class.order != OVERDUE and _overdue(state, job, now_us):
                keys.add(key)
    if not keys:
        return []
    # whoever became ready more than once stands there as often: what is left of that depends on the steps there were
    decision = d.Promote(keys=tuple(sorted(keys)))
    apply_decision(state, decision, now_us)
    return [decision]


def _overdue(state: State, job: Job, now_us: int) -> bool:
    wait_us = state.policy.aging_us[job.job_class.band]
    return job.state is JobState.READY and bool(wait_us) and job.since_us + wait_us <= now_us


def _apply_all(state: State, groups: _Groups, now_us: int) -> list[d.Decision]:
    decisions = groups.decisions(state.policy.stop_grace_ms)
    state.todo.cancelled.clear()
    for decision in decisions:
        apply_decision(state, decision, now_us)
    return decisions


def _ended(groups: _Groups, state: State, job: Job, end: AttemptEnd, now_us: int) -> None:
    """One job whose attempt ended: over, later again, or back in the queue."""
    over: tuple[JobState, Reason] | None
    if end is AttemptEnd.SUCCEEDED:
        over = _SUCCEEDED
    elif why := _wanted_over(state, job):
        over = (JobState.CANCELLED, why)
    elif end in _RETURNED:
        over = None
        groups.back(job, _RETURNED[end])
    elif end is AttemptEnd.UNDELIVERED:
        over = _undelivered(groups, state, job, now_us)
    elif end is AttemptEnd.LOST:
        over = _lost(groups, state, job, now_us)
    elif end is AttemptEnd.DECLINED:
        over = _declined(groups, state, job, now_us)
    elif end is AttemptEnd.STOPPED and job.stopped_by is Reason.HEARTBEAT_TIMEOUT:
        over = _failed(groups, state, job, end, now_us)
    elif end is AttemptEnd.STOPPED or job.stopped_by is Reason.GANG_RESTARTED:
        over = _stopped(groups, job)
    else:
        charged = _died if job.key in state.agents.of_job else _failed
        over = charged(groups, state, job, end, now_us)
    if over:
        groups.finish.setdefault(over, []).append(job.key)


def _wanted_over(state: State, job: Job) -> Reason:
    """Why a job is not to go on, by somebody's wish or with its parent; NONE where it is."""
    if job.key in state.todo.orphaned or job.stopped_by is Reason.PARENT_ENDED:
        return Reason.PARENT_ENDED
    if job.stopped_by is Reason.GANG_ENDED:
        return Reason.GANG_ENDED
    if job.stopped_by is Reason.AGENT_DONE:
        return Reason.AGENT_DONE
    wanted = job.cancelled or job.key in state.todo.cancelled
    return Reason.CANCELLED_BY_USER if wanted else Reason.NONE


def _undelivered(groups: _Groups, state: State, job: Job, now_us: int) -> tuple[JobState, Reason] | None:
    """A message can be lost. One that never arrives is tried again ever later, away from those sent along with it."""
    policy, times = state.policy, job.undelivered
    if times >= policy.undelivered_max:
        return (JobState.FAILED, Reason.NEVER_DELIVERED)
    if times <= 1:
        groups.back(job, Reason.UNDELIVERED)
        return None
    pause = Backoff(policy.undelivered_pause_us // MS_US, 2, policy.undelivered_pause_us_max // MS_US, 0.5)
    groups.retry.append((job.key, now_us + backoff_us(pause, job.key, times - 1), Reason.UNDELIVERED))
    return None


def _lost(groups: _Groups, state: State, job: Job, now_us: int) -> tuple[JobState, Reason] | None:
    if job.entry.spec.guarantee is Guarantee.AT_MOST_ONCE:
        return (JobState.LOST, Reason.ENTERED_AT_MOST_ONCE)
    if not gangs.tries_again(state, job.key):
        return (JobState.FAILED, Reason.NODE_LOST)
    if job.losses >= state.policy.losses_max and job.key not in state.agents.of_job:
        return (JobState.FAILED, Reason.LOSSES_EXHAUSTED)
    if job.entry.spec.guarantee is Guarantee.EXACTLY_ONCE:
        # by then its last attempt is over, wherever that was: nobody renews its lease any more
        lease_us = longest_lease_us(state.policy.lease_us, state.longer_lease, now_us)
        groups.retry.append((job.key, now_us + lease_over_us(lease_us), Reason.NODE_LOST))
    else:
        groups.back(job, Reason.NODE_LOST)
    return None


def _declined(groups: _Groups, state: State, job: Job, now_us: int) -> tuple[JobState, Reason] | None:
    """Its agent does not do it: another one does. Where all have declined, those that may are asked again later."""
    declined = state.dispatch.declined.get(job.key, NOBODY_YET)
    if job.entry.spec.guarantee is Guarantee.AT_MOST_ONCE:
        return (JobState.FAILED, Reason.ALL_DECLINED)  # its code was entered: nobody else is asked
    over = all(for_good for _, for_good in declined.by) or declined.rounds >= DECLINED_ROUNDS_MAX
    # whoever was not available is not forgotten for somebody who has been stopped
    if left_to_ask(state, job, declined.names, soon=not over):
        groups.back(job, Reason.DECLINED)
        return None
    if over:
        return (JobState.FAILED, Reason.ALL_DECLINED)
    pause_us = max(0, state.todo.asked_ms.get(job.key, 0)) * MS_US
    pause_us = max(pause_us, backoff_us(job.entry.spec.backoff, job.key, declined.rounds + 1))
    groups.retry.append((job.key, now_us + pause_us, Reason.DECLINED))
    return None


def _stopped(groups: _Groups, job: Job) -> tuple[JobState, Reason] | None:
    """It was paused, or made room: it waits again, unless it may not be entered twice or is to be over then."""
    evicted = job.evicted_for is not None or job.stopped_by is Reason.DRAINED
    if evicted and job.entry.spec.eviction is Eviction.CANCEL:
        return (JobState.CANCELLED, job.stopped_by)
    if job.entry.spec.guarantee is Guarantee.AT_MOST_ONCE:
        return (JobState.LOST, Reason.ENTERED_AT_MOST_ONCE)
    told = evicted or job.stopped_by in (Reason.GANG_RESTARTED, Reason.AGENT_IDLE, *AWAY)
    groups.back(job, job.stopped_by if told else Reason.PAUSED_BY_USER)
    return None


def _failed(groups: _Groups, state: State, job: Job, end: AttemptEnd, now_us: int) -> tuple[JobState, Reason] | None:
    """It is charged: another attempt later, as long as its retries last."""
    spec = job.entry.spec
    if spec.guarantee is Guarantee.AT_MOST_ONCE:
        return (JobState.LOST, Reason.ENTERED_AT_MOST_ONCE) if end in _DIED else (JobState.FAILED, _CAUSE[end])
    again = job.failures < spec.retries or (end in _DIED and _restarts(state, job))
    stops = (state.groups and given_up(state, job.key)) or not gangs.tries_again(state, job.key)
    if end is AttemptEnd.CRASHED and _poison(state, job):
        return (JobState.FAILED, Reason.POISON)
    asked_ms = state.todo.asked_ms.get(job.key, 0) if state.todo.asked_ms else 0
    if asked_ms < 0:
        return (JobState.FAILED, Reason.NOT_RETRYABLE)
    if not again or stops:
        return (JobState.FAILED, _CAUSE[end])
    pause_us = asked_ms * MS_US or backoff_us(spec.backoff, job.key, job.failures + 1)
    due_us = now_us + pause_us
    late = spec.elapsed_ms_max and due_us > job.since_us + spec.elapsed_ms_max * MS_US
    more = more_memory(state, job) if end is AttemptEnd.OUT_OF_MEMORY else 0
    if late or more is None:
        return (JobState.FAILED, Reason.RETRY_TIME_OVER if late else Reason.OUT_OF_MEMORY)
    groups.more += [(job.key, more)] if more else []
    groups.retry.append((job.key, due_us, _CAUSE[end]))
    return None


def _died(groups: _Groups, state: State, job: Job, end: AttemptEnd, now_us: int) -> tuple[JobState, Reason] | None:
    """An agent's process died, or it could not start: it starts again later, or is given up and held."""
    due_us = agents.crashed(state, job, now_us)
    if due_us is None:
        return (JobState.FAILED, _CAUSE[end])
    if due_us:
        groups.retry.append((job.key, due_us, _CAUSE[end]))
    else:
        groups.hold.setdefault(Reason.CRASH_LOOP, []).append(job.key)
    return None


def _poison(state: State, job: Job) -> bool:
    """Whether with this one so many processes died under a job that it goes no more, whatever retries it has left."""
    after = state.policy.poison_after
    return bool(after) and state.crashes.get(job.key, 0) + 1 >= after and not _restarts(state, job)


def _restarts(state: State, job: Job) -> bool:
    """An agent is to be there: where the policy says so, it is started again as often as its process dies."""
    return job.job_class.demands.agent and state.policy.agents_restart


def _cancelled(groups: _Groups, job: Job, reason: Reason) -> None:
    if job.node is None:
        groups.finish.setdefault((JobState.CANCELLED, reason), []).append(job.key)
    elif not job.cancelled:
        groups.stop_for(job, reason)
