"""Attempts of short jobs that wait at a node for a slot which is not free yet, so that slots never wait for us.

So much work waits for each slot as hides a message's round trip (`ahead_us`). Of jobs that run longer than that one may
wait for each slot, while there is always a next one and nobody who stands before them waits for such slots: what waits
in a lane takes that lane's next slot, and else the first that is free anywhere.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from kos_ray.model.ids import NodeId
from kos_ray.model.job import SlotKind
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.queues import count_ready, first_ready, place_in_class
from kos_ray.scheduler.state import Lane, NodeState, State
from kos_ray.scheduler.turns import Turn

_Heap = list[tuple[float, NodeId]]


class _Limits(NamedTuple):
    """For attempts of one estimate: how much work may wait for each slot, and how many may be held for each."""

    estimate_us: int
    ahead_us: int
    most: int

    def room(self, lane: Lane) -> int:
        """How many more may wait in a lane; none behind attempts known to be long."""
        by_time = (lane.slots * (self.ahead_us + self.estimate_us) - lane.load_us) // self.estimate_us
        by_count = (lane.slots - lane.running) * self.most - (len(lane.held) - lane.running)
        return max(0, min(by_time, by_count)) if lane.running < lane.slots else 0


class Ahead:
    """Where attempts are to wait, in one pass."""

    def __init__(self, state: State) -> None:
        self._state = state
        #: lanes that may have room, by how much work they have; an entry may be stale
        self._heaps: dict[tuple[JobClass, SlotKind, int], _Heap] = {}
        #: of classes of longer jobs: how many of them wait, but for those that were sent ahead in this pass
        self._waiting: dict[tuple[JobClass, SlotKind], int] = {}

    def lane(self, turn: Turn, let: Callable[[NodeState], int]) -> tuple[NodeState, int] | None:
        """The node whose lane is free first for a head and those behind it, and how many of them may wait there.

        `let` says how many may start on a node, whatever its lanes have.
        """
        job_class, kind, lanes = turn.job_class, turn.kind, self._state.lanes.get(turn.kind, {})
        limits = _limits(self._state, kind, self._state.jobs[turn.head].entry.mean_us)
        if limits is None or (limits.ahead_us > self._state.policy.ahead_us and not self._always_next(turn)):
            return None
        key = job_class, kind, limits.estimate_us
        heap = self._heaps.get(key)
        if heap is None:
            heap = self._heaps[key] = [(lane.load_us / lane.slots, node) for node, lane in lanes.items() if lane.slots]
            heapify(heap)
        while heap:
            load, node_id = heap[0]
            lane, node = lanes.get(node_id), self._state.nodes[node_id]
            room = limits.room(lane) if lane else 0
            if lane and room and lane.load_us / lane.slots != load:
                heapreplace(heap, (lane.load_us / lane.slots, node_id))
            elif room and (most := let(node)):
                return node, min(room, most)
            else:
                heappop(heap)
        return None

    def took(self, turn: Turn, count: int) -> None:
        """So many were sent ahead."""
        if (turn.job_class, turn.kind) in self._waiting:
            self._waiting[turn.job_class, turn.kind] -= count

    def _always_next(self, turn: Turn) -> bool:
        """Whether as many wait as there are slots, and nobody for such slots who stands before them."""
        slots = _slots(self._state, turn.kind)
        waiting = self._waiting.get((turn.job_class, turn.kind))
        if waiting is None:
            first = all(self._stands_behind(other, turn) for other in self._state.classes.values())
            waiting = count_ready(turn.job_class, self._state.jobs, 2 * slots) if first else 0
            self._waiting[turn.job_class, turn.kind] = waiting
        return waiting >= slots

    def _stands_behind(self, other: JobClass, turn: Turn) -> bool:
        """Whether nobody of another class waits for slots of the kind who stands before the head of a turn."""
        own = turn.job_class
        if other is own or turn.kind not in other.kinds or other.order > own.order:
            return True
        head = first_ready(self._state, other)
        if head is None or (other.order == own.order and other.account != own.account):
            return True
        return (other.order, place_in_class(other, head)) > (own.order, place_in_class(own, turn.head))


def may_wait_ahead(state: State, job_class: JobClass, estimate_us: int) -> bool:
    """Whether a lane has room for attempts of a class that run so long, 0 where nobody knows; perhaps not for them."""
    limits = _limits(state, job_class.kind, estimate_us)
    if limits is None:
        return False
    if limits.ahead_us > state.policy.ahead_us and len(job_class.ready) < _slots(state, job_class.kind):
        return False
    return any(map(limits.room, state.lanes.get(job_class.kind, {}).values()))


def _limits(state: State, kind: SlotKind, estimate_us: int) -> _Limits | None:
    """None where none may wait."""
    policy = state.policy
    if kind.single_use or not policy.ahead_us or not 0 < estimate_us <= policy.ahead_run_us_max:
        return None
    if estimate_us <= policy.ahead_us:
        return _Limits(estimate_us, policy.ahead_us, policy.ahead_max)
    return _Limits(estimate_us, estimate_us, min(2, policy.ahead_max))


def _slots(state: State, kind: SlotKind) -> int:
    return sum(lane.slots for lane in state.lanes.get(kind, {}).values())
