"""Slots in one pass: opened where jobs start, closed where they are idle for too long or their room is wanted."""

from kos_ray.model.ids import NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler.fit import pausing, usable
from kos_ray.scheduler.ledger import set_slots
from kos_ray.scheduler.state import NodeState, State

#: more than any node runs
_MANY = 1 << 30


class Slots:
    """What one pass does to slots; `resized` says which lanes it changed, and why."""

    def __init__(self, state: State, now_us: int) -> None:
        self._state = state
        self._now_us = now_us
        self.resized: dict[tuple[NodeId, SlotKind], Reason] = {}

    def resize(self, node: NodeState, kind: SlotKind, slots: int, reason: Reason) -> None:
        """Have so many slots of a kind on a node from now on."""
        set_slots(self._state, node.node.id, kind, slots, self._now_us)
        self.resized[node.node.id, kind] = reason

    def quota(self, kind: SlotKind) -> int:
        """How many more slots of a kind its namespace may reserve."""
        tree = self._state.tree
        return tree.times(self._state.reserved, kind.namespace, kind.resources, _MANY) if tree.matters else _MANY

    def close_for_quota(self, kind: SlotKind) -> bool:
        """Close idle slots, those of its namespace first, until a kind's quota has room; False: that does not do."""
        lacking = self._state.tree.lacking
        places = [(node_id, other) for other, nodes in self._state.idle_lanes.items() for node_id in nodes]
        idle = sorted(places, key=lambda place: (place[1].namespace != kind.namespace, place))
        for node_id, other in idle:
            lane = self._state.nodes[node_id].lanes.get(other)
            while lane is not None and lane.idle and lacking(self._state.reserved, kind.namespace, kind.resources):
                self.resize(self._state.nodes[node_id], other, lane.slots - 1, Reason.ROOM_WANTED)
        return not lacking(self._state.reserved, kind.namespace, kind.resources)

    def slots_left(self, node: NodeState, kind: SlotKind, *, closed: int = 0) -> int:
        """How many more processes the node may run, whatever room it has, after so many others were closed."""
        policy = self._state.policy
        if kind.receiver:
            return _MANY  # a lane is no process of its own
        left = policy.slots_per_node_max - node.slots + closed
        if not kind.resources.amounts:
            lane = node.lanes.get(kind)
            left = min(left, policy.empty_slots_max - (lane.slots if lane else 0))
        return left

    def can_open(self, node: NodeState, kind: SlotKind, *, closed: int = 0) -> bool:
        """Whether the node may run one more process, and Ray has not just given the room to others."""
        return self.slots_left(node, kind, closed=closed) > 0 and not pausing(node, kind, self._now_us)

    def close_idle(self, node: NodeState, kind: SlotKind) -> bool:
        """Close idle slots of other kinds if that makes room for one slot of `kind`."""
        idle = sorted(
            (lane for lane in node.lanes.values() if lane.idle and lane.kind != kind),
            key=lambda lane: (lane.idle_since_us, lane.kind),
        )
        free = dict(usable(self._state, node, kind))
        close: dict[SlotKind, int] = {}
        closed = 0
        for lane in idle:
            for _ in range(lane.idle):
                if kind.resources.fits(free) and self.can_open(node, kind, closed=closed):
                    break
                add(free, lane.kind.resources, 1)
                close[lane.kind] = close.get(lane.kind, 0) + 1
                closed += 1
        if not kind.resources.fits(free) or not self.can_open(node, kind, closed=closed):
            return False
        for other, count in close.items():
            self.resize(node, other, node.lanes[other].slots - count, Reason.ROOM_WANTED)
        return True

    def release_taken(self) -> None:
        """Give reservations back that Ray did not honour: they would look like idle slots."""
        for node_id in self._state.taken_nodes:
            node = self._state.nodes[node_id]
            idle = [kind for kind in node.taken if kind in node.lanes and node.lanes[kind].idle]
            for kind in idle:
                if pausing(node, kind, self._now_us):
                    self.resize(node, kind, len(node.lanes[kind].held), Reason.TAKEN_BY_OTHERS)

    def release_idle(self) -> None:
        """Give reservations back that were idle long enough."""
        idle_us = self._state.policy.idle_slot_us
        for kind, nodes in list(self._state.idle_lanes.items()):
            for node_id in list(nodes):
                node = self._state.nodes[node_id]
                lane = node.lanes[kind]
                if lane.idle_since_us + idle_us > self._now_us:
                    break
                self.resize(node, kind, len(lane.held), Reason.IDLE)
