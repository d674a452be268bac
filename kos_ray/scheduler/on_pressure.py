"""How it changes which nodes are pressed, and what was moved away from them (`pressure.py`).

By events (`NodePressed`, `NodeCalm`) and decisions (`Stop` with the reasons of `AWAY`, `LetBack`) alone. While a job is
not to start where it was, that node's id stands among those where its class may not go.
"""

from collections.abc import Iterable
from dataclasses import replace

from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.where import ANYWHERE
from kos_ray.scheduler.fit import reconsider
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.pressure import UNKNOWN, Moved, Pressed
from kos_ray.scheduler.queues import class_named, withdraw
from kos_ray.scheduler.sites import stand_in
from kos_ray.scheduler.state import State


def barred(state: State, job: Job) -> Moved | None:
    """What keeps a job from where it was; None for all others."""
    moved = state.pressure.moved.get(job.key)
    where = job.job_class.name.where
    return moved if moved is not None and where is not None and moved.node in where.not_nodes else None


def node_pressed(state: State, event: e.NodePressed, _now_us: int) -> None:
    """Something is short on a node: nothing new starts there."""
    node = state.nodes.get(event.node)
    if node is None:
        return
    loads = dict(zip(event.kinds, event.loads, strict=True))
    uses = {
        key: (attempt, dict(zip(event.kinds, shares, strict=True)))
        for key, attempt, shares in zip(event.keys, event.attempts, event.uses, strict=True)
    }
    state.pressure.nodes[event.node] = Pressed(loads, uses)
    state.pressure.calm.pop(event.node, None)
    node.pressed = tuple(loads.items())
    reconsider(state)
    for key in [key for key, target in state.nominated.items() if target == event.node]:
        withdraw(state, key)


def node_calm(state: State, event: e.NodeCalm, _now_us: int) -> None:
    """There is enough of everything again, or more of it than before."""
    node = state.nodes.get(event.node)
    if node is None:
        return
    state.pressure.nodes.pop(event.node, None)
    node.pressed = ()
    if state.pressure.awaited(event.node):
        state.pressure.calm[event.node] = dict(zip(event.kinds, event.loads, strict=True))
    reconsider(state)


def sent_away(state: State, keys: Iterable[JobKey], node: NodeId, now_us: int) -> None:
    """These attempts are asked to leave a node that is pressed."""
    pressure, until_us = state.pressure, now_us + state.policy.rebalance.rest_us
    pressed = pressure.nodes[node]
    pressure.lately = pressure.within_minute(now_us)
    for key in keys:
        used = {kind: share for kind, share in pressed.uses[key][1].items() if share != UNKNOWN}
        pressure.moved[key] = Moved(node, until_us, used)
        pressure.lately.append(now_us)
        pressed = pressed._replace(asked=pressed.asked + 1)
    pressure.nodes[node] = pressed


def keep_off(state: State, job: Job) -> None:
    """A job that has left does not start where it was."""
    moved = state.pressure.moved.get(job.key)
    if moved is not None:
        _stay_off(state, job, moved.node, on=True)


def let_back(state: State, keys: Iterable[JobKey], now_us: int) -> None:
    """These may start where they were; whose rest is over may be moved again besides."""
    pressure = state.pressure
    for key in keys:
        moved = pressure.moved.pop(key)
        if moved.until_us > now_us:
            pressure.moved[key] = moved._replace(back=True)
            loads = pressure.calm.get(moved.node, {})
            for kind, share in moved.used.items():
                loads[kind] = loads.get(kind, 0) + share
        if key in state.jobs:
            _stay_off(state, state.jobs[key], moved.node, on=False)
    for node in [node for node in pressure.calm if not pressure.awaited(node)]:
        del pressure.calm[node]


def _stay_off(state: State, job: Job, node: NodeId, *, on: bool) -> None:
    name = job.job_class.name
    where = name.where or ANYWHERE
    others = {one for one in where.not_nodes if one != node}
    where = replace(where, not_nodes=tuple(sorted(others | ({node} if on else set()))))
    stand_in(state, job, class_named(state, replace(name, where=None if where == ANYWHERE else where)))
