"""What was decided, folded into the state: one function for each decision. Nothing here chooses anything."""

from collections.abc import Callable
from dataclasses import replace
from heapq import heappush
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model.agent_snapshots import ForgetSnapshots, SaveAgents
from kos_ray.model.approval import JudgeApprovals
from kos_ray.model.barriers import BarrierDecision
from kos_ray.model.coordination import COORDINATION_DECISIONS
from kos_ray.model.dependency import ended_as
from kos_ray.model.job import JobState
from kos_ray.model.locks import LockDecision
from kos_ray.model.mailboxes import MailboxDecision
from kos_ray.model.reasons import FOR_GOOD, UNCHARGED, Reason
from kos_ray.scheduler import agents, approvals, gangs, lineage
from kos_ray.scheduler.advice import forget_advice
from kos_ray.scheduler.again import avoid, raise_memory
from kos_ray.scheduler.assigned import asked_again, assign, back_in_line, over, take_over
from kos_ray.scheduler.dependencies import leave_line, parent_ended, parent_started
from kos_ray.scheduler.family import closed
from kos_ray.scheduler.groups import item_ended
from kos_ray.scheduler.ledger import (
    lane_of,
    launch,
    move,
    rest_spec,
    set_slots,
    settled,
    stops,
)
from kos_ray.scheduler.models import waits_again
from kos_ray.scheduler.on_pressure import keep_off, let_back, sent_away
from kos_ray.scheduler.pressure import AWAY
from kos_ray.scheduler.queues import (
    class_named,
    first_ready,
    queue,
    reclass,
    start_waiting,
    withdraw,
)
from kos_ray.scheduler.reactions import End
from kos_ray.scheduler.schedules import job_ended
from kos_ray.scheduler.state import State


def _make_ready(state: State, decision: d.MakeReady, now_us: int) -> None:
    lost = decision.reason == Reason.NODE_LOST
    for key in decision.keys:
        job = state.jobs[key]
        if lost:
            avoid(state, job, state.todo.lost_on.get(key, ""))
            agents.note_lost(state.agents, key)
        elif decision.reason == Reason.AGENT_CALLED:
            agents.note_woken(state.agents, key)
            job.held = False
        elif decision.reason in AWAY:
            keep_off(state, job)
        settled(state, key)
        move(job, JobState.READY)
        job.losses += lost
        waits_again(state, job)
        queue(state, job)
    start_waiting(state, (state.jobs[key] for key in decision.keys), now_us)


def _hold(state: State, decision: d.Hold, now_us: int) -> None:
    lost = decision.reason == Reason.NODE_LOST
    for key in decision.keys:
        job = state.jobs[key]
        if lost:
            agents.note_lost(state.agents, key)
        elif decision.reason == Reason.CRASH_LOOP:
            job.held = True
            agents.note_crash(state.agents, key, now_us, braked=True)
        settled(state, key)
        state.nominated.pop(key, None)
        move(job, JobState.HELD)
        if job.entry.spec.approval is not None:
            approvals.asked(state, key, now_us)
        job.losses += lost
        waits_again(state, job)


def _retry_later(state: State, decision: d.RetryLater, now_us: int) -> None:
    if state.dispatch.declined:
        for key, reason in zip(decision.keys, decision.reasons, strict=True):
            if reason == Reason.DECLINED:
                asked_again(state, key)
    if state.dispatch.chosen:
        back_in_line(state, decision.keys)
    for key, due_us, reason in zip(decision.keys, decision.due_us, decision.reasons, strict=True):
        job = state.jobs[key]
        if reason == Reason.NODE_LOST:
            avoid(state, job, state.todo.lost_on.get(key, ""))
        settled(state, key)
        move(job, JobState.BACKOFF)
        waits_again(state, job)
        job.failures += reason not in UNCHARGED
        job.losses += reason == Reason.NODE_LOST
        if key in state.agents.of_job and reason not in UNCHARGED:
            agents.note_crash(state.agents, key, now_us)
        elif reason == Reason.CRASHED:
            state.crashes[key] = state.crashes.get(key, 0) + 1
        job.due_us = due_us
        heappush(state.due, (due_us, key))


def _raise_memory(state: State, decision: d.RaiseMemory, _now_us: int) -> None:
    for key, amount in zip(decision.keys, decision.amounts, strict=True):
        raise_memory(state, state.jobs[key], amount)


def _finish(state: State, decision: d.Finish, _now_us: int) -> None:
    outcome = JobState(decision.state)
    grouped = state.starters or state.lines or state.groups or state.children or state.gangs
    scheduled = state.schedules.nominal or state.schedules.reactions.triggers
    carried = not state.agents.of_job.keys().isdisjoint(decision.keys)
    if grouped or scheduled or carried or state.todo.orphaned or state.advice or state.unadvised or state.missed:
        _finish_besides(state, decision, outcome)
    if state.coordination.has_jobs:
        state.coordination.jobs_over(decision.keys)
    over(state, decision.keys, well=outcome is JobState.SUCCEEDED)
    for key in decision.keys:
        job = state.jobs.pop(key)
        settled(state, key)
        state.nominated.pop(key, None)
        if state.sizes:
            state.sizes.pop(key, None)
        if state.crashes:
            state.crashes.pop(key, None)
        move(job, outcome)
        entry = job.entry
        entry.live -= 1
        if not entry.live:
            rest_spec(state, job.spec)
        children = state.dependents.pop(key, None)
        if children:
            if key in state.closing:
                state.dependents[key] = children
            else:
                parent_ended(state, children, outcome, ended_as(outcome, decision.reason, job.attempt))


def _finish_besides(state: State, decision: d.Finish, outcome: JobState) -> None:
    """What only some jobs have: others that wait for their start, a line, a group, a family, a plug-in's rank."""
    for key in decision.keys:
        forget_advice(state, key)
        if state.schedules.reactions.triggers:
            job, by = state.jobs[key], state.schedules.of_job.get(key, "")
            spec = job.entry.spec
            end = End(spec.namespace, spec.type, outcome, decision.reason, job.attempt, by)
            state.schedules.reactions.job_ended(key, end)
        if key in state.schedules.nominal:
            job_ended(state.schedules, key, outcome)
        agents.carrier_ended(state, key, outcome)
        state.missed.pop(key, None)
        state.todo.given_up.pop(key, None)
        state.todo.orphaned.pop(key, None)
        parent_started(state, key)
        leave_line(state, state.jobs[key])
        item_ended(state, key, outcome)
        gangs.member_over(state, key, outcome)
        closed(state, key, outcome, ended_as(outcome, decision.reason, state.jobs[key].attempt))


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
        state.todo.given_up.pop(key, None)


def _stop(state: State, decision: d.Stop, now_us: int) -> None:
    if decision.reason in AWAY:
        sent_away(state, decision.keys, decision.node, now_us)
    for key in decision.keys:
        job = state.jobs[key]
        settled(state, key)
        if job.state is JobState.RUNNING:
            lane_of(job).running -= 1
        move(job, JobState.STOPPING)
        stops(state, job)
        if key in state.gang_of:
            state.touched[state.gang_of[key].name] = None
        state.todo.orphaned.pop(key, None)
        job.cancelled = decision.reason in FOR_GOOD
        if decision.reason == Reason.AGENT_IDLE:
            job.held = True
            agents.note_asleep(state.agents, key)
        job.stopped_by = Reason(decision.reason)


def _evict(state: State, decision: d.Evict, now_us: int) -> None:
    claimer = state.jobs[decision.wanted_by]
    claimer.queued = None
    state.nominated[claimer.key] = decision.target
    until_us = now_us + state.policy.exempt_us
    for key in decision.keys:
        job = state.jobs[key]
        if job.state is JobState.RUNNING:
            lane_of(job).running -= 1
        move(job, JobState.STOPPING)
        stops(state, job)
        job.stopped_by = Reason(decision.reason)
        gang = state.gang_of.get(key)
        shrinks = gang is not None and gang.going and job.entry.shrinks
        if gang is not None:
            state.touched[gang.name] = None
        job.evicted_for = claimer.key
        state.making[claimer.key] = state.making.get(claimer.key, 0) + 1
        # a gang may shrink as often as room is wanted: it goes on
        job.evictions += not shrinks
        job.barred = (claimer.job_class.account, until_us)


def _let_back(state: State, decision: d.LetBack, now_us: int) -> None:
    let_back(state, decision.keys, now_us)


def _promote(state: State, decision: d.Promote, _now_us: int) -> None:
    for key in decision.keys:
        job = state.jobs[key]
        name = job.job_class.name
        if key in state.nominated:
            withdraw(state, key)
        reclass(state, job, class_named(state, replace(name, order=decision.order)))


def _mark_missed(state: State, decision: d.MarkMissed, _now_us: int) -> None:
    state.missed |= dict.fromkeys(decision.keys)


def _start_gang(state: State, decision: d.StartGang, _now_us: int) -> None:
    gangs.start(state, state.gangs[decision.gang], decision.keys)


def _stop_gang(state: State, decision: d.StopGang, _now_us: int) -> None:
    gangs.stop(state, state.gangs[decision.gang], Reason(decision.reason), final=decision.final)


def _keep_for_gang(state: State, decision: d.KeepForGang, _now_us: int) -> None:
    state.gangs[decision.gang].room = dict(zip(decision.nodes, decision.resources, strict=True))


def _assign(state: State, decision: d.Assign, _now_us: int) -> None:
    assign(state, decision)


def _take_over(state: State, decision: d.TakeOver, _now_us: int) -> None:
    take_over(state, decision)


def _keep_no_room(state: State, decision: d.KeepNoRoom, _now_us: int) -> None:
    for key in decision.keys:
        withdraw(state, key)


def _forget_snapshots(state: State, decision: ForgetSnapshots, _now_us: int) -> None:
    lineage.forgotten(state, decision)


def _save_agents(_state: State, _decision: SaveAgents, _now_us: int) -> None:
    """What becomes of it is said by those who are asked."""


def _judge_approvals(state: State, decision: JudgeApprovals, _now_us: int) -> None:
    approvals.judged(state, decision)


def _coordination(state: State, decision: LockDecision | MailboxDecision | BarrierDecision, _now_us: int) -> None:
    state.coordination.apply(decision)


ON_DECISION: dict[type, Callable[[State, Any, int], None]] = {
    d.MakeReady: _make_ready,
    d.Hold: _hold,
    d.RetryLater: _retry_later,
    d.RaiseMemory: _raise_memory,
    d.Finish: _finish,
    d.Launch: _launch,
    d.ResizeSlots: _resize_slots,
    d.Recall: _recall,
    d.Stop: _stop,
    d.Evict: _evict,
    d.LetBack: _let_back,
    d.Promote: _promote,
    d.MarkMissed: _mark_missed,
    d.StartGang: _start_gang,
    d.StopGang: _stop_gang,
    d.KeepForGang: _keep_for_gang,
    d.KeepNoRoom: _keep_no_room,
    **dict.fromkeys(COORDINATION_DECISIONS, _coordination),
    JudgeApprovals: _judge_approvals,
    d.Assign: _assign,
    d.TakeOver: _take_over,
    SaveAgents: _save_agents,
    ForgetSnapshots: _forget_snapshots,
}
