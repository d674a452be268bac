"""Whether several jobs fit at once: what the nodes would have free, tried without changing anything."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.resources import Resources, add
from kos_ray.model.where import ANYWHERE, Where
from kos_ray.scheduler import fgd
from kos_ray.scheduler.fit import able_nodes, near_nodes, pausing, usable
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.rooms import Index, room_of
from kos_ray.scheduler.shares import step_of
from kos_ray.scheduler.state import Lane, NodeState, State
from kos_ray.scheduler.victims import Used, count


class Shape(NamedTuple):
    """What jobs have in common that may be placed alike: their slots, where they may be, and who knows them."""

    kind: SlotKind
    where: Where = ANYWHERE
    words: tuple[str, ...] = ()


_MANY = 1 << 30
#: nodes that are compared for one part of a gang
_SCORED = 4
#: how many jobs a node takes
_Times = Callable[[NodeState], int]
#: so many jobs of a shape on a node each
Placement = list[tuple[NodeId, Shape, int]]
#: so many jobs of a shape others let start on a node
Let = Callable[[NodeState, Shape], int]
#: and so many those of a placement
Beside = Callable[[NodeState, Shape, Placement], int]


class Packing:
    """What each node has free once its idle slots are closed, and what is reserved by namespace then."""

    def __init__(self, state: State, now_us: int, *, empty: bool = False, near: int = 0) -> None:
        """`empty`: as if nothing ran at all, on so many of the nodes that lack the least (0: on all)."""
        self._state = state
        self._now_us = now_us
        self._empty = empty
        self._near = near
        self._found: dict[NodeId, NodeState] = {}
        #: nodes once these jobs have left them
        self._after: dict[tuple[NodeId, frozenset[JobKey]], NodeState] = {}
        #: nodes that some have left
        self._left: set[NodeId] = set()
        self.used: Used = {} if empty or not state.tree.matters else used_without_idle(state)

    def without(self, gone: Iterable[Job], used: Used | None = None) -> "Packing":
        """The same once these jobs have left their nodes; `used` is what is reserved then."""
        found = Packing.__new__(Packing)
        found._state, found._now_us, found._empty, found._near = self._state, self._now_us, self._empty, 0  # noqa: SLF001
        found._found, found._after = dict(self._found), self._after  # noqa: SLF001
        found.used = self.used if used is None else used
        leaving: dict[NodeId, list[Job]] = {}
        for job in gone:
            if job.node is not None and job.node in self._state.nodes:
                leaving.setdefault(job.node, []).append(job)
        found._left = set(leaving)  # noqa: SLF001
        for node_id, jobs in leaving.items():
            found._found[node_id] = self._without_some(node_id, jobs)  # noqa: SLF001
        return found

    def _without_some(self, node_id: NodeId, gone: Sequence[Job]) -> NodeState:
        """A node once some have left it; searches ask for the same ones again and again."""
        name = node_id, frozenset(job.key for job in gone)
        node = self._after.get(name)
        if node is None:
            node = self._after[name] = _copy(self._of(self._state.nodes[node_id]))
            for job in gone:
                add(node.free, job.kind.resources, 1)
                _slots(node, job.kind, -1)
        return node

    def fit(
        self,
        wanted: Mapping[Shape, int],
        least: int,
        let: Let,
        first: Callable[[NodeState], object] | None = None,
        beside: Beside | None = None,
        *,
        quota: bool = True,
    ) -> Placement | None:
        """Where so many of each shape go at once, as many as fit; None where fewer than `least` do.

        Those that ask for most go first. Of one shape each next part goes to the tightest node that holds all that is
        left, else to the roomiest, so that few nodes are used; `first` orders the nodes otherwise, and `beside`
        says how many those let start there that are placed already. For jobs of one shape the answer is exact; for
        several it may miss a packing that another order would have found.
        """
        nodes: dict[NodeId, NodeState] = {}
        used = {name: dict(amounts) for name, amounts in self.used.items()}
        found: Placement = []
        for shape in sorted(wanted, key=lambda shape: (-step_of(self._state, shape.kind.resources), shape.kind)):
            kind = shape.kind
            left = self._quota(used, kind, wanted[shape]) if quota else wanted[shape]
            enough = left if beside is None and first is None else _MANY
            rooms = self._rooms(shape, partial(self._times, nodes, shape, let), first, enough)
            while left and (best := rooms.next(left)) is not None:
                node_id, times = best
                if beside is not None:
                    times = min(times, beside(self._state.nodes[node_id], shape, found))
                    if times <= 0:
                        continue
                times = min(left, times)
                found.append((node_id, shape, times))
                node = nodes.setdefault(node_id, _copy(self._of(self._state.nodes[node_id])))
                add(node.free, kind.resources, -times)
                _slots(node, kind, times)
                count(used, kind, times)
                left -= times
        return found if sum(times for *_, times in found) >= max(1, least) else None

    def _rooms(
        self, shape: Shape, times: _Times, first: Callable[[NodeState], object] | None, enough: int
    ) -> "_AllRooms | _Rooms":
        """The nodes that may take jobs of a shape."""
        state, kind = self._state, shape.kind
        if self._empty:
            near = self._near
            able = near_nodes(state, kind, ANYWHERE, near) if near else able_nodes(state, kind)
            return _AllRooms(able, times, first, enough)
        return _Rooms(state.rooms.by_room(), [state.nodes[node] for node in sorted(self._left)], kind.resources, times)

    def _quota(self, used: Used, kind: SlotKind, at_most: int) -> int:
        tree = self._state.tree
        return tree.times(used, kind.namespace, kind.resources, at_most) if tree.matters else at_most

    def _times(self, nodes: Mapping[NodeId, NodeState], shape: Shape, let: Let, node: NodeState) -> int:
        """How many jobs of a shape a node takes, beside those of other shapes that are placed there already."""
        kind = shape.kind
        if not self._empty and pausing(node, kind, self._now_us):
            return 0
        policy = self._state.policy
        there = nodes.get(node.node.id) or self._of(node)
        at_most = min(policy.slots_per_node_max - there.slots, let(node, shape))
        if not kind.resources.amounts:
            lane = node.lanes.get(kind)
            at_most = min(at_most, policy.empty_slots_max - (lane.slots - lane.idle if lane and not self._empty else 0))
        return fgd.times(there, kind, kind.resources.times_in(usable(self._state, there, kind), at_most))

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
                    if fgd.gpus_of(lane.kind.resources):
                        found.lanes[lane.kind] = _lane(lane.kind, lane.slots - lane.idle)
        return found


class _AllRooms:
    """How many jobs of one shape each of some nodes takes."""

    def __init__(
        self, nodes: Iterable[NodeState], times: _Times, first: Callable[[NodeState], object] | None, enough: int
    ) -> None:
        """Nodes are looked at until they hold `enough`."""
        self._left: dict[NodeId, tuple[NodeState, int]] = {}
        self._first = first
        for node in nodes:
            count = times(node)
            if count > 0:
                self._left[node.node.id] = (node, count)
                enough -= count
                if enough <= 0:
                    break

    def next(self, left: int) -> tuple[NodeId, int] | None:
        """The node that is to take its part of so many, and how many it takes; each node once."""
        if not self._left:
            return None
        if self._first is not None:
            first = self._first
            node_id = min(self._left, key=lambda node_id: (first(self._left[node_id][0]), node_id))
        else:
            node_id = _best({node_id: count for node_id, (_, count) in self._left.items()}, left)
        return node_id, self._left.pop(node_id)[1]


class _Rooms:
    """The same of all nodes, of which only those are looked at that come into question, by the room that they have."""

    def __init__(self, index: Index, more: Sequence[NodeState], wanted: Resources, times: _Times) -> None:
        """`more`: nodes that have more room than the index knows."""
        self._index = index
        self._more = more
        self._wanted = wanted
        self._times = times
        self._known: dict[NodeId, int] = {}

    def next(self, left: int) -> tuple[NodeId, int] | None:
        """The node that is to take its part of so many, and how many it takes; each node once."""
        all_left = Resources(tuple((name, amount * left) for name, amount in self._wanted.amounts))
        found = self._some(self._index.large_enough(all_left), left)
        if not found:
            found = self._some(self._index.roomiest(self._wanted), 1)
        if not found:
            return None
        node_id = _best(found, left)
        self._known[node_id] = 0
        return node_id, found[node_id]

    def _some(self, nodes: Iterable[NodeState], least: int) -> dict[NodeId, int]:
        """The first of these nodes, and all whose room is not known to the index, that take at least so many."""
        found: dict[NodeId, int] = {}
        for node in self._more:
            self._note(node, least, found)
        for node in nodes:
            if self._wanted.times_in(room_of(node), least) == least:  # cheap, and most often the answer is no
                self._note(node, least, found)
            if len(found) >= _SCORED + len(self._more):
                break
        return found

    def _note(self, node: NodeState, least: int, found: dict[NodeId, int]) -> None:
        node_id = node.node.id
        times = self._known.get(node_id)
        if times is None:
            times = self._known[node_id] = self._times(node)
        if times >= least:
            found[node_id] = times


def _best(rooms: Mapping[NodeId, int], left: int) -> NodeId:
    """The tightest node that holds all that is left, else the roomiest."""
    holding = [(times, node) for node, times in rooms.items() if times >= left]
    return min(holding)[1] if holding else min(rooms, key=lambda node: (-rooms[node], node))


def shape_of(job: Job) -> Shape:
    """The shape of a job."""
    return Shape(job.entry.kind, job.job_class.where, job.job_class.name.words)


def counted(jobs: Iterable[Job]) -> dict[Shape, int]:
    """How many jobs there are of each shape."""
    return dict(Counter(map(shape_of, jobs)))


def assigned(members: Sequence[Job], placement: Placement) -> list[tuple[NodeId, SlotKind, list[Job]]]:
    """Which of the members goes where, in their order; those that have no place are left out."""
    waiting: dict[Shape, list[Job]] = {}
    for job in members:
        waiting.setdefault(shape_of(job), []).append(job)
    return [(node, shape.kind, [waiting[shape].pop(0) for _ in range(times)]) for node, shape, times in placement]


def used_without_idle(state: State) -> Used:
    """What is reserved by namespace once all idle slots are closed."""
    used = {name: dict(found) for name, found in state.reserved.items()}
    for kind, nodes in state.idle_lanes.items():
        count(used, kind, -sum(state.nodes[node_id].lanes[kind].idle for node_id in nodes))
    return used


def _copy(node: NodeState) -> NodeState:
    copy = NodeState(node.node)
    copy.free, copy.slots = dict(node.free), node.slots
    copy.lanes = {kind: _lane(kind, lane.slots) for kind, lane in node.lanes.items()}
    return copy


def _slots(node: NodeState, kind: SlotKind, times: int) -> None:
    """So many more slots of a kind; lanes are kept where they tell which devices are taken."""
    node.slots += times
    if fgd.gpus_of(kind.resources):
        lane = node.lanes.get(kind) or _lane(kind, 0)
        node.lanes[kind] = _lane(kind, lane.slots + times)


def _lane(kind: SlotKind, slots: int) -> Lane:
    lane = Lane(kind)
    lane.slots = slots
    return lane
