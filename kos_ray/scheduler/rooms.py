"""Nodes by the room they have, so that a placement costs the nodes that come into question, and not all of them.

A node's *room* is what is free on it and what its idle slots hold, which close for whoever needs it. Nodes stand on
*shelves* by the magnitude of their room: GPU, then CPU, then memory. What fits is found from the tightest shelf on;
what fits nowhere is known after a look at the few shelves that are large enough. Other indexes of the same form hold
what a node would have if others gave way. All of it is derived from the nodes, and in no snapshot.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from kos_ray.model.ids import NodeId
from kos_ray.model.resources import Resources, add

if TYPE_CHECKING:
    from kos_ray.scheduler.state import NodeState

#: a shelf: magnitudes of GPU, CPU and memory
Shelf = tuple[int, int, int]
#: no node
NOTHING: Shelf = (-1, -1, -1)
#: bits kept behind the highest one of an amount: finer shelves hold fewer nodes that do not fit after all
_GPU_BITS, _CPU_BITS, _MEMORY_BITS = 2, 3, 1
#: amounts of a node that are not rounded in its shape, and bits that are kept of others
_EXACT, _SHAPE_BITS = 1 << 40, 6
#: changes of nodes that are remembered
_CHANGES_MAX = 8_192


class Index:
    """Nodes on shelves by one measure of them; brought up to date when it is asked."""

    __slots__ = ("_at", "_measure", "_nodes", "_shelves", "pending")

    def __init__(self, measure: "Callable[[NodeState], Mapping[str, int]]") -> None:
        self._measure = measure
        #: by GPU, CPU and memory, nodes in the order of their ids: the one in which they came there is in no snapshot
        self._shelves: dict[int, dict[int, dict[int, list[NodeId]]]] = {}
        self._at: dict[NodeId, Shelf] = {}
        self._nodes: dict[NodeId, NodeState] = {}
        #: nodes that have changed since it was asked last
        self.pending: dict[NodeId, NodeState] = {}

    def refresh(self) -> None:
        """Put the nodes that have changed where they belong."""
        for node_id, node in self.pending.items():
            shelf = _shelf(self._measure(node))
            if self._at.get(node_id) != shelf:
                self.take(node_id)
                self._at[node_id] = shelf
                self._nodes[node_id] = node
                gpu, cpu, memory = shelf
                insort(self._shelves.setdefault(gpu, {}).setdefault(cpu, {}).setdefault(memory, []), node_id)
        self.pending.clear()

    def take(self, node_id: NodeId) -> None:
        """Take a node off its shelf, and the shelf away when it was the last one."""
        shelf = self._at.pop(node_id, None)
        if shelf is None:
            return
        del self._nodes[node_id]
        gpu, cpu, memory = shelf
        cpus = self._shelves[gpu]
        memories = cpus[cpu]
        nodes = memories[memory]
        del nodes[bisect_left(nodes, node_id)]
        if not memories[memory]:
            del memories[memory]
            if not memories:
                del cpus[cpu]
                if not cpus:
                    del self._shelves[gpu]

    def large_enough(self, wanted: Resources) -> "Iterator[NodeState]":
        """Nodes that may have room for a vector, the tightest first. Those on a shelf of its own size may be short."""
        gpu, cpu, memory = shelf_of(wanted)
        for gpus in sorted([size for size in self._shelves if size >= gpu]):
            cpus = self._shelves[gpus]
            for size in sorted([size for size in cpus if size >= cpu]):
                memories = cpus[size]
                for found in sorted([size for size in memories if size >= memory]):
                    yield from map(self._nodes.__getitem__, memories[found])

    def roomiest(self, wanted: Resources) -> "Iterator[NodeState]":
        """Nodes that may have room for a vector, those first on whose shelves it fits most often."""
        gpu, cpu, memory = shelf_of(wanted)
        amounts = dict(wanted.amounts)
        needs = amounts.get("GPU", 0), amounts.get("CPU", 0), amounts.get("memory", 0)
        shelves = [
            (-_times_on((gpus, size, found), needs), gpus, size, found)
            for gpus, cpus in self._shelves.items()
            if gpus >= gpu
            for size, memories in cpus.items()
            if size >= cpu
            for found in memories
            if found >= memory
        ]
        for _, gpus, size, found in sorted(shelves):
            yield from map(self._nodes.__getitem__, self._shelves[gpus][size][found])

    def shelves(self, nodes: "Iterable[NodeState]") -> "dict[Shelf, list[NodeState]]":
        """These nodes by their shelves."""
        found: dict[Shelf, list[NodeState]] = {}
        for node in nodes:
            found.setdefault(self._at.get(node.node.id, NOTHING), []).append(node)
        return found

    def tightest(self, nodes: "Iterable[NodeState]", wanted: Resources) -> "list[NodeState]":
        """Which of these nodes may have room for a vector, in the order in which `large_enough` has them."""
        return sorted(self.holding(nodes, shelf_of(wanted)), key=lambda node: (self._at[node.node.id], node.node.id))

    def holding(self, nodes: "Iterable[NodeState]", size: Shelf) -> "list[NodeState]":
        """Which of these nodes may have room for a vector of a size, `shelf_of` it."""
        gpu, cpu, memory = size
        found = []
        for node in nodes:
            gpus, cpus, memories = self._at.get(node.node.id, NOTHING)
            if gpus >= gpu and cpus >= cpu and memories >= memory:
                found.append(node)
        return found

    def nearest(self, wanted: Resources) -> "Iterator[NodeState]":
        """All nodes, from the shelves that are the least too small for a vector."""
        gpu, cpu, memory = shelf_of(wanted)
        shelves = [
            (max(0, gpu - gpus) + max(0, cpu - size) + max(0, memory - found), gpus, size, found)
            for gpus, cpus in self._shelves.items()
            for size, memories in cpus.items()
            for found in memories
        ]
        for _, gpus, size, found in sorted(shelves):
            yield from map(self._nodes.__getitem__, self._shelves[gpus][size][found])


class Rooms:
    """All indexes, and the nodes by what they have when they are empty."""

    __slots__ = (
        *("_changes", "_claims", "_first", "_indexes", "_last", "_nodes", "_shape_of", "_since", "_wakes"),
        *("now_us", "position", "shapes", "touched"),
    )

    def __init__(self) -> None:
        #: whoever changes what is free or held on a node puts it here
        self.touched: dict[NodeId, NodeState] = {}
        self._nodes: dict[NodeId, NodeState] = {}
        #: nodes by what they have in all, rounded down; see `rounded`
        self.shapes: dict[Resources, dict[NodeId, NodeState]] = {}
        self._shape_of: dict[NodeId, Resources] = {}
        #: what the nodes were claimed for when that was told last
        self._claims: Mapping[NodeId, Hashable] = {}
        self._indexes: dict[Hashable, Index] = {}
        #: nodes that have changed, the last ones; the number of the first of them
        self._changes: list[NodeState] = []
        self._first = 0
        #: how many changes there were
        self.position = 0
        #: the position of each node's last change
        self._last: dict[NodeId, int] = {}
        #: of this pass: what has changed between two positions
        self._since: dict[tuple[int, int], list[NodeState]] = {}
        #: the instant of the present pass; nodes that change by then though nothing happens, a heap
        self.now_us = 0
        self._wakes: list[tuple[int, NodeId]] = []

    def join(self, node: "NodeState") -> None:
        """A node has come, or what it has in all has changed."""
        self._forget_shape(node)
        self._nodes[node.node.id] = node
        shape = self._shape_of[node.node.id] = rounded(node.node.resources)
        self.shapes.setdefault(shape, {})[node.node.id] = node
        self.touched[node.node.id] = node

    def leave(self, node: "NodeState") -> None:
        """A node is gone."""
        node_id = node.node.id
        self._forget_shape(node)
        del self._nodes[node_id]
        self.touched.pop(node_id, None)
        self._last.pop(node_id, None)
        for index in self._indexes.values():
            index.pending.pop(node_id, None)
            index.take(node_id)

    def _forget_shape(self, node: "NodeState") -> None:
        shape = self._shape_of.pop(node.node.id, None)
        if shape is not None:
            del self.shapes[shape][node.node.id]
            if not self.shapes[shape]:
                del self.shapes[shape]

    def shape_of(self, node: "NodeState") -> Resources:
        """Under which of the shapes a node stands."""
        return self._shape_of[node.node.id]

    def index(self, name: Hashable, measure: "Callable[[NodeState], Mapping[str, int]]") -> Index:
        """The index of that name, up to date; `measure` tells what it goes by and makes it when it is new."""
        found = self._indexes.get(name)
        if found is None:
            found = self._indexes[name] = Index(measure)
            found.pending.update(self._nodes)
        if self.touched:
            for index in self._indexes.values():
                index.pending.update(self.touched)
            for position, (node_id, node) in enumerate(self.touched.items(), start=self.position):
                node.forget()
                self._last[node_id] = position
            self._changes += self.touched.values()
            self.position += len(self.touched)
            self.touched.clear()
            if len(self._changes) > _CHANGES_MAX:
                self._first += len(self._changes) // 2
                del self._changes[: len(self._changes) // 2]
        if found.pending:
            found.refresh()
        return found

    def by_room(self) -> Index:
        """Nodes by what they could give at once."""
        return self.index("", self.room)

    def room(self, node: "NodeState") -> Mapping[str, int]:
        """The same of one node as it is now, kept until something changes there."""
        if node.node.id in self.touched:
            return room_of(node)
        if node.room is None:
            node.room = room_of(node)
        return node.room

    def knows(self, position: int) -> bool:
        """Whether all changes since a position are known."""
        return position >= self._first

    def changed_since(self, position: int) -> "list[NodeState] | None":
        """The nodes that have changed since a position and are still there; None: that is too long ago."""
        if not self.knows(position):
            return None
        span = (position, self.position)
        if span not in self._since:
            changed = {node.node.id: node for node in self._changes[position - self._first :]}
            self._since[span] = [node for node_id, node in changed.items() if self._nodes.get(node_id) is node]
        return self._since[span]

    def may_have_changed(self, position: int) -> "Iterable[NodeState]":
        """The same; all nodes where that is too long ago."""
        changed = self.changed_since(position)
        return self._nodes.values() if changed is None else changed

    def of_those_changed(self, nodes: "Iterable[NodeState]", position: int) -> "list[NodeState]":
        """Which of these nodes have changed since a position that is known."""
        last = self._last
        return [node for node in nodes if last.get(node.node.id, -1) >= position]

    def compare_claims(self, claims: Mapping[NodeId, Hashable]) -> None:
        """What nodes are claimed for: where that is not what it was when this was told last, they have changed."""
        for node_id in {*claims, *self._claims}:
            if claims.get(node_id) != self._claims.get(node_id) and node_id in self._nodes:
                self.touched[node_id] = self._nodes[node_id]
        self._claims = claims

    def tick(self, now_us: int) -> None:
        """Time has gone on: what was to change by now has changed."""
        self.now_us = now_us
        self._since.clear()
        while self._wakes and self._wakes[0][0] <= now_us:
            _, node_id = heappop(self._wakes)
            node = self._nodes.get(node_id)
            if node is not None:
                node.wake_us = 0
                self.touched[node_id] = node

    def wake(self, node: "NodeState", at_us: int) -> None:
        """A node will have changed by then."""
        if not 0 < node.wake_us <= at_us:
            node.wake_us = at_us
            heappush(self._wakes, (at_us, node.node.id))

    @property
    def next_wake_us(self) -> int | None:
        """When the next node will have changed."""
        return self._wakes[0][0] if self._wakes else None

    def stir(self) -> None:
        """Whatever is known of earlier changes does not hold any more."""
        self.position += 1
        self._first = self.position
        self._changes.clear()

    def reset(self) -> None:
        """Forget what was derived from jobs and policy; nodes stay known."""
        self._indexes.clear()
        self.touched.clear()
        self.stir()
        self._wakes.clear()
        self._claims = {}
        for node in self._nodes.values():
            node.forget()
            node.wake_us = 0


def room_of(node: "NodeState") -> dict[str, int]:
    """What a node could give at once: free amounts, and those of idle slots."""
    room = dict(node.free)
    for lane in node.lanes.values():
        if lane.noted:
            add(room, lane.kind.resources, lane.idle)
    return room


def rounded(resources: Resources, *, up: bool = False) -> Resources:
    """The shape of a node: large amounts, bytes that is, are another on each node, and are rounded to a share of them.

    What fits where there is so much fits on all nodes of the shape; what does not where it is rounded `up`, on none.
    """
    return Resources(tuple((name, _round(amount, up=up)) for name, amount in resources.amounts))


def _round(amount: int, *, up: bool) -> int:
    if amount < _EXACT:
        return amount
    dropped = amount.bit_length() - _SHAPE_BITS
    return ((amount >> dropped) + up << dropped) - up


@lru_cache(maxsize=8_192)
def shelf_of(wanted: Resources) -> Shelf:
    """The magnitudes of a vector: of equal ones, the same nodes may have room for it."""
    return _shelf(dict(wanted.amounts))


def _shelf(amounts: Mapping[str, int]) -> Shelf:
    return (
        _magnitude(amounts.get("GPU", 0), _GPU_BITS),
        _magnitude(amounts.get("CPU", 0), _CPU_BITS),
        _magnitude(amounts.get("memory", 0), _MEMORY_BITS),
    )


def _times_on(shelf: Shelf, needs: tuple[int, int, int]) -> int:
    """How often amounts fit into the least that stands on a shelf."""
    places = zip(shelf, needs, (_GPU_BITS, _CPU_BITS, _MEMORY_BITS), strict=True)
    return min((_amount(place, bits) // need for place, need, bits in places if need), default=0)


def _amount(magnitude: int, bits: int) -> int:
    """The least amount of a magnitude."""
    length = magnitude >> bits
    if length <= bits:
        return magnitude
    return (1 << (length - 1)) | ((magnitude & ((1 << bits) - 1)) << (length - 1 - bits))


def _magnitude(amount: int, bits: int) -> int:
    """The place of the highest bit and the `bits` behind it: grows with the amount, by steps of a share of it."""
    if amount <= 0:
        return 0
    length = amount.bit_length()
    if length <= bits:
        return amount
    return (length << bits) | ((amount >> (length - 1 - bits)) & ((1 << bits) - 1))
