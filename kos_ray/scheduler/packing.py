"""Whether several jobs fit at once: what the nodes would have free, tried without changing anything."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from kos_ray.model.ids import NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.resources import add
from kos_ray.scheduler.fit import able_nodes, pausing, usable
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.shares import step_of
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.victims import Used, count

#: so many jobs of a kind on a node each
Placement = list[tuple[NodeId, SlotKind, int]]
#: so many jobs of a kind others let start on a node
Let = Callable[[NodeState, SlotKind], int]


class Packing:
    """What each node has free once its idle slots are closed, and what is reserved by namespace then."""

    def __init__(self, state: State, now_us: int, *, empty: bool = False) -> None:
        """`empty`: as if nothing ran at all."""
        self._state = state
        self._now_us = now_us
        self._empty = empty
        self._found: dict[NodeId, NodeState] = {}
        self.used: Used = {} if empty or not state.tree.matters else used_without_idle(state)

    def without(self, gone: Iterable[Job], used: Used | None = None) -> "Packing":
        """The same once these jobs have left their nodes; `used` is what is reserved then."""
        found = Packing.__new__(Packing)
        found._state, found._now_us, found._empty = self._state, self._now_us, self._empty  # noqa: SLF001 - its own
        found._found = dict(self._found)  # noqa: SLF001
        found.used = self.used if used is None else used
        changed: set[NodeId] = set()
        for job in gone:
            if job.node is None or job.node not in self._state.nodes:
                continue
            node = self._of(self._state.nodes[job.node]) if job.node not in changed else found._found[job.node]  # noqa: SLF001
            if job.node not in changed:
                changed.add(job.node)
                node = found._found[job.node] = _copy(node)  # noqa: SLF001
            add(node.free, job.kind.resources, 1)
            node.slots -= 1
        return found

    def fit(
        self,
        wanted: Mapping[SlotKind, int],
        least: int,
        let: Let,
        first: Callable[[NodeState], object] | None = None,
        *,
        quota: bool = True,
        alone: Callable[[NodeState], object] | None = None,
    ) -> Placement | None:
        """Where so many of each kind go at once, as many as fit; None where fewer than `least` do.

        Those that ask for most go first. Of one kind each next part goes to the tightest node that holds all that is
        left, else to the roomiest, so that few nodes are used; `first` orders the nodes otherwise. For jobs of one
        kind the answer is exact; for several it may miss a packing that another order would have found. `alone`: of the
        nodes for which it is the same, one takes one job.
        """
        places: set[object] = set()
        nodes: dict[NodeId, NodeState] = {}
        used = {name: dict(amounts) for name, amounts in self.used.items()}
        found: Placement = []
        for kind in sorted(wanted, key=lambda kind: (-step_of(self._state, kind.resources), kind)):
            left = self._quota(used, kind, wanted[kind]) if quota else wanted[kind]
            rooms = {node.node.id: self._times(nodes, node, kind, let) for node in able_nodes(self._state, kind)}
            rooms = {node: times for node, times in rooms.items() if times > 0}
            while left and rooms:
                node_id = self._next(rooms, left, first)
                times = min(left, rooms.pop(node_id))
                if alone is not None:
                    place, times = alone(self._state.nodes[node_id]), 1
                    if place in places:
                        continue
                    places.add(place)
                found.append((node_id, kind, times))
                node = nodes.setdefault(node_id, _copy(self._of(self._state.nodes[node_id])))
                add(node.free, kind.resources, -times)
                node.slots += times
                count(used, kind, times)
                left -= times
        return found if sum(times for *_, times in found) >= max(1, least) else None

    def _next(self, rooms: Mapping[NodeId, int], left: int, first: Callable[[NodeState], object] | None) -> NodeId:
        if first is not None:
            return min(rooms, key=lambda node: (first(self._state.nodes[node]), node))
        holding = [(times, node) for node, times in rooms.items() if times >= left]
        return min(holding)[1] if holding else min(rooms, key=lambda node: (-rooms[node], node))

    def _quota(self, used: Used, kind: SlotKind, at_most: int) -> int:
        tree = self._state.tree
        return tree.times(used, kind.namespace, kind.resources, at_most) if tree.matters else at_most

    def _times(self, nodes: Mapping[NodeId, NodeState], node: NodeState, kind: SlotKind, let: Let) -> int:
        """How many jobs of a kind a node takes, beside those of other kinds that are placed there already."""
        if not self._empty and pausing(node, kind, self._now_us):
            return 0
        policy = self._state.policy
        there = nodes.get(node.node.id) or self._of(node)
        at_most = min(policy.slots_per_node_max - there.slots, let(node, kind))
        if not kind.resources.amounts:
            lane = node.lanes.get(kind)
            at_most = min(at_most, policy.empty_slots_max - (lane.slots - lane.idle if lane and not self._empty else 0))
        return kind.resources.times_in(usable(self._state, there, kind), at_most)

    def _of(self, node: NodeState) -> NodeState:
        """A node without its idle slots."""
        found = self._found.get(node.node.id)
        if found is None:
            found = self._found[node.node.id] = NodeState(node.node)
            if not self._empty:
                found.free, found.slots = dict(node.free), node.slots
                for lane in node.lanes.values():
                    add(found.free, lane.kind.resources, lane.idle)
                    found.slots -= lane.idle
        return found


def counted(jobs: Iterable[Job]) -> dict[SlotKind, int]:
    """How many jobs want a slot of each kind."""
    found: dict[SlotKind, int] = {}
    for job in jobs:
        found[job.entry.kind] = found.get(job.entry.kind, 0) + 1
    return found


def assigned(members: Sequence[Job], placement: Placement) -> list[tuple[NodeId, SlotKind, list[Job]]]:
    """Which of the members goes where, in their order; those that have no place are left out."""
    waiting: dict[SlotKind, list[Job]] = {}
    for job in members:
        waiting.setdefault(job.entry.kind, []).append(job)
    return [(node, kind, [waiting[kind].pop(0) for _ in range(times)]) for node, kind, times in placement]


def used_without_idle(state: State) -> Used:
    """What is reserved by namespace once all idle slots are closed."""
    used = {name: dict(found) for name, found in state.reserved.items()}
    for kind, nodes in state.idle_lanes.items():
        count(used, kind, -sum(state.nodes[node_id].lanes[kind].idle for node_id in nodes))
    return used


def _copy(node: NodeState) -> NodeState:
    copy = NodeState(node.node)
    copy.free, copy.slots = dict(node.free), node.slots
    return copy
