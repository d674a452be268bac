"""What is not ready yet, told to people: node agents that were started and do not answer, slots that were asked for."""

import time
from collections.abc import Callable, Mapping

from kos_ray.model.ids import NodeId
from kos_ray.scheduler.state import NodeState

#: a start that is over sooner is nobody's business, in seconds
_TOLD_S = 2.0

#: of slots: their namespace, since how many seconds, and whether they have a process yet
Starting = tuple[tuple[str, int, bool], ...]


class Boots:
    """Newest words from each node; what they said with a heartbeat is as old as that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._agents: dict[NodeId, tuple[str, float]] = {}
        self._slots: dict[NodeId, Starting] = {}

    def agent(self, node: NodeId, host: str) -> None:
        """A node's agent is being greeted."""
        self._agents.setdefault(node, (host, self._clock()))

    def greeted(self, node: NodeId) -> None:
        """It has answered."""
        self._agents.pop(node, None)

    def slots(self, node: NodeId, starting: Starting) -> None:
        """What an agent said of its slots."""
        if starting:
            self._slots[node] = starting
        else:
            self._slots.pop(node, None)

    def gone(self, node: NodeId) -> None:
        """A node is lost."""
        self._agents.pop(node, None)
        self._slots.pop(node, None)

    def told(self, nodes: Mapping[NodeId, NodeState]) -> tuple[str, ...]:
        """A text for each node with something that takes long."""
        now = self._clock()
        agents = [
            f"node {host} ({node[:12]}): its agent has been starting for {now - since:.0f} s; it is waited for"
            for node, (host, since) in self._agents.items()
            if now - since >= _TOLD_S
        ]
        slots = [f"node {nodes[node].node.name}: {_words(some)}" for node, some in self._slots.items() if node in nodes]
        return (*agents, *[text for text in slots if not text.endswith(": ")])

    def of(self, node: NodeId, namespace: str) -> str:
        """What a job that was sent to a node may be waiting for there."""
        return _words(tuple(one for one in self._slots.get(node, ()) if one[0] == namespace))


def _words(starting: Starting) -> str:
    long = [one for one in starting if one[1] >= _TOLD_S]
    boot, wait = [one for one in long if one[2]], [one for one in long if not one[2]]
    parts = [
        f"{len(boot)} slots boot, for up to {max(one[1] for one in boot)} s; they are waited for" if boot else "",
        f"{len(wait)} slots wait for Ray to give them room, for up to {max(one[1] for one in wait)} s" if wait else "",
    ]
    return ", ".join(part for part in parts if part)
