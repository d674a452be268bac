"""Heartbeats of node agents: who has answered lately, and how each node stands.

With very many nodes this is what an idle scheduler does, so a heartbeat is a few bytes on the agent's channel and no
task of its own; only agents without a door are asked by Ray, which costs ten times as much.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from kos_ray.engine.engine import Engine
from kos_ray.model.events import NodeCondition
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import NodeId
from kos_ray.runtime.booting import Boots
from kos_ray.runtime.channel import ChannelBroken
from kos_ray.runtime.links import Link
from kos_ray.runtime.loads import Loads
from kos_ray.runtime.versions import condition

_log = logging.getLogger("kos_ray.nodes")

#: seconds for one heartbeat
BEAT_S = 10.0
#: heartbeats without an answer after which a node gets nothing new
SILENT_AFTER = 2
#: a look that comes sooner than after this share of a heartbeat is none of the regular ones
_SOON = 0.9


class _Asked(NamedTuple):
    answer: "asyncio.Future[Any]"
    since: float


class Beats:
    """The heartbeats of all greeted nodes.

    `broken` is called when an agent does not answer any more, `kick` after something was posted to the engine.
    """

    def __init__(
        self, engine: Engine, boots: Boots, loads: Loads, broken: Callable[[], None], kick: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._boots = boots
        self._loads = loads
        self._broken = broken
        self._kick = kick
        self._asked: dict[NodeId, _Asked] = {}
        #: nodes that have not answered since the last heartbeat, and how many heartbeats ago they did
        self._unanswered: dict[NodeId, int] = {}
        self._counted = 0.0

    def heard(self, node_id: NodeId) -> None:
        """A node has just answered."""
        self._unanswered[node_id] = 0

    def gone(self, node_id: NodeId) -> None:
        """A node is lost."""
        self._unanswered.pop(node_id, None)
        self._loads.gone(node_id)

    def ask(self, node_id: NodeId, link: Link) -> None:
        """Ask an agent, unless it is being asked; one that takes too long has its link broken."""
        asked = self._asked.get(node_id)
        if asked is not None:
            if time.monotonic() - asked.since > BEAT_S:
                asked.answer.cancel()
            return
        try:
            reach("nodes.before_renewal")
            answer = link.beat()
        except ChannelBroken:
            link.broken = True
            self._broken()
            return
        self._asked[node_id] = _Asked(answer, time.monotonic())
        answer.add_done_callback(partial(self._answered, node_id, link))

    def _answered(self, node_id: NodeId, link: Link, answer: "asyncio.Future[Any]") -> None:
        del self._asked[node_id]
        if answer.cancelled() or answer.exception() is not None:
            # dead, hung or cut off: the greeting finds out
            if answer.cancelled() or not link.beats_by_ray(answer.exception()):
                link.broken = True
                self._broken()
            return
        reach("nodes.after_renewal")
        battery, gpu_free, *more = answer.result()
        self._boots.slots(node_id, more[0] if more else ())
        if len(more) > 1:  # agents of before measure nothing
            self._loads.heard(node_id, more[1])
        self._unanswered[node_id] = 0
        self._condition(node_id, battery, tuple(gpu_free))

    def count(self, alive: Iterable[NodeId]) -> None:
        """A node that has not answered for two heartbeats gets nothing new, until it is heard again.

        What is counted are looks, not time: in one that is late because this process had no time, nobody is silent.
        """
        now = time.monotonic()
        heartbeat_s = self._engine.state.policy.heartbeat_us / 1e6
        if now - self._counted < heartbeat_s * _SOON:
            return  # it looks again because a link broke
        self._counted = now
        for node_id in alive:
            known = self._engine.state.nodes.get(node_id)
            if known is None:
                continue
            missed = self._unanswered[node_id] = self._unanswered.get(node_id, 0) + 1
            if missed > SILENT_AFTER and not known.silent:
                _log.warning("node %s: its agent has not answered %d heartbeats", node_id[:12], SILENT_AFTER)
                self._post(condition(known, silent=True))

    def _condition(self, node_id: NodeId, battery: int, gpu_free: tuple[int, ...]) -> None:
        """A change is an event. GPU memory changes all the time, and is one only while somebody asks for it."""
        state = self._engine.state
        known = state.nodes.get(node_id)
        if known is None:
            return
        if gpu_free != known.gpu_free and not any(one.where.gpu_memory for one in state.classes.values()):
            gpu_free = known.gpu_free
        if (battery, gpu_free) != (known.battery, known.gpu_free) or known.silent:
            self._post(NodeCondition(node=node_id, battery=battery, gpu_free=gpu_free, retires=known.retires))

    def _post(self, found: NodeCondition) -> None:
        self._engine.post(found)
        self._kick()
