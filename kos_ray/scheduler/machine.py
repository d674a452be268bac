"""The page to read first: events in, decisions out.

    state, events, now  ──step──>  decisions          (and the state is moved by both)

`step` is what runs in the live cluster, in the simulator and in a rehearsal. `recover` folds a journal's frames
without deciding anything again, so that a new policy never breaks an old journal; `rehearse` decides them again.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop
from itertools import zip_longest
from typing import NamedTuple

from kos_ray.model.decisions import Decision
from kos_ray.model.events import Event
from kos_ray.scheduler import hearing, lineage, rebalance, resting
from kos_ray.scheduler.apply import apply_decision, apply_event
from kos_ray.scheduler.coordinate import coordinate
from kos_ray.scheduler.deadlines import judge
from kos_ray.scheduler.dispatch import dispatch
from kos_ray.scheduler.drain import drain
from kos_ray.scheduler.gangs import deal_out
from kos_ray.scheduler.place import Pass
from kos_ray.scheduler.queue_limits import expire, look_again
from kos_ray.scheduler.settle import age, settle, wake
from kos_ray.scheduler.stalls import stop_stalled
from kos_ray.scheduler.state import State


def step(state: State, events: Sequence[Event], now_us: int) -> list[Decision]:
    """One pass at the instant `now_us` (microseconds, never going backwards)."""
    # 1. What happened becomes known.
    for event in events:
        apply_event(state, event, now_us)
    # 2. What follows from it: jobs end, wait for a retry, become ready, are asked to stop.
    decisions = settle(state, now_us)
    decisions += _saves(state, now_us)
    # 3. What time brings: backoffs are over, jobs have waited as long as their band allows, or it is late for them.
    decisions += wake(state, now_us)
    decisions += age(state, now_us)
    decisions += judge(state, now_us)
    if state.coordination.is_due(now_us):
        decisions += coordinate(state, now_us)
    if state.silences:
        decisions += stop_stalled(state, now_us)
    if (state.queue_ends or state.queue_over) and (expired := expire(state, now_us)):
        decisions += expired
        decisions += settle(state, now_us)
    # And what people want of nodes: those that are to be empty are emptied, which may be the end of gangs.
    if drained := drain(state, now_us):
        decisions += drained
        decisions += settle(state, now_us)
    decisions += rebalance.rebalance(state, now_us)
    # Messages that are for a role are given to somebody; agents without work go, and come back when there is some.
    if state.dispatch.used:
        decisions += dispatch(state, now_us)
    if state.agents.dozing:
        decisions += resting.rest(state, now_us)
    # 4. Work is taken back from behind attempts that turned out long; ready jobs are placed, others make room for them;
    #    idle slots close.
    placement = Pass(state, now_us)
    placement.recalls.behind_long()
    decisions += placement.run()
    while placement.joining:
        placement = Pass(state, now_us, placement)
        decisions += placement.run()
    # 5. Members of gangs that are away have their share dealt out.
    if state.todo.shares:
        deal_out(state)
    return decisions


def _saves(state: State, now_us: int) -> list[Decision]:
    """What follows from what agents have saved, and from the wish that some do."""
    if not (state.agents.grown or state.agents.to_save):
        return []
    decisions: list[Decision] = [*lineage.decided(state)]
    state.agents.saves_decided()
    for decision in decisions:
        apply_decision(state, decision, now_us)
    return decisions


def recover(state: State, events: Iterable[Event], decisions: Iterable[Decision], now_us: int) -> None:
    """Fold one frame of the journal: what happened and what was decided then."""
    for event in events:
        apply_event(state, event, now_us)
    for decision in decisions:
        apply_decision(state, decision, now_us)
    state.todo.long_lanes.clear()
    state.todo.gangs.clear()
    state.agents.saves_decided()
    if state.todo.shares:
        deal_out(state)
    # whoever had waited long enough then, or was late, was promoted, or marked, by a decision
    for heap in (state.aging, state.deadlines):
        while heap and heap[0][0] <= now_us:
            heappop(heap)
    state.coordination.settled()
    look_again(state, now_us)
    hearing.look_again(state, now_us)


class Difference(NamedTuple):
    """Where a frame was decided otherwise: the number of its first other decision, from 0; None: there is none."""

    number: int
    recorded: Decision | None
    decided: Decision | None


def rehearse(state: State, events: Sequence[Event], recorded: Sequence[Decision], now_us: int) -> Difference | None:
    """Decide one frame of the journal again, and compare: None where all decisions are the recorded ones.

    The state is moved by what is decided now, so behind a difference it is another history's.
    """
    decided = step(state, events, now_us)
    for number, (before, now) in enumerate(zip_longest(recorded, decided)):
        if before != now:
            return Difference(number, before, now)
    return None


def next_due_us(state: State, now_us: int) -> int | None:
    """When `step` should run again though nothing happens: the next retry, idle slot, end of a pause, slice or wait."""
    instants = [
        heap[0][0] for heap in (state.due, state.aging, state.deadlines, state.queue_ends, state.silences) if heap
    ]
    if state.retry_us is not None:
        instants.append(state.retry_us)
    if (due_us := state.coordination.next_due_us()) is not None:
        instants.append(due_us)
    idle_us = state.policy.idle_slot_us
    for kind, nodes in state.idle_lanes.items():
        instants.append(state.nodes[next(iter(nodes))].lanes[kind].idle_since_us + idle_us)
    for node_id in state.taken_nodes:
        instants += [until for until, _ in state.nodes[node_id].taken.values() if until > now_us]
    if state.pressure.used:
        instants += rebalance.due_us(state, now_us)
    if state.agents.dozing:
        instants += resting.due_us(state, now_us)
    if state.agents.lazy and resting.called(state):
        instants.append(now_us)
    return min(instants, default=None)
