"""How many more jobs of each typical shape the nodes have room for, and what of that a start takes away.

After Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent",
USENIX ATC 2023: a job goes where the free GPUs stay of most use to the jobs that are typical here. The paper asks of
each node whether one job of a shape still fits, and so sees that CPU runs short only when it has run out. Here it is
counted how often each shape fits, and a start *loses*

    sum over shapes of  jobs * slots lost / (slots left in the cluster * sqrt(GPUs left for it))

A slot weighs the more the more jobs are of its shape and the fewer slots of it are left anywhere: whole nodes are
kept for those that need them, and the only nodes of a model for those who ask for it. What is left of a node counts as
a part of a slot, so that CPU and memory are taken where the GPUs beside them need them the least.

All of it is derived from nodes and specs, in integers, and in no snapshot.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isqrt
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.where import Selector, Where
from kos_ray.scheduler.fgd import GPU, devices, gpus_of, taken

if TYPE_CHECKING:
    from kos_ray.model.ids import NodeId
    from kos_ray.model.job import SlotKind
    from kos_ray.scheduler.state import NodeState, State

#: shapes that count are the most frequent ones that make up so much of the jobs, in percent, as in the paper, and no
#: more than so many; of some more it is known how often they fit
_TYPICAL = 95
_SHAPES_MAX = 64
_KNOWN_MAX = 4 * _SHAPES_MAX
#: slots are counted in thousandths, losses in this part of one
_SLOT = 1_000
_LOSS = 1 << 48


class Shape(NamedTuple):
    """What jobs ask for: resources, and labels of nodes."""

    resources: Resources
    labels: tuple[Selector, ...] = ()


def shape_of(resources: Resources, where: Where) -> Shape:
    """What jobs that ask for so much ask for; a wish is no demand."""
    return Shape(resources, tuple(label for label in where.labels if not label.weight))


def workload(state: "State") -> dict[Shape, int]:
    """Live jobs by shape, of those that want GPUs; the most frequent shapes."""
    counts: dict[Shape, int] = {}
    for entry in state.specs.values():
        if entry.live and gpus_of(entry.kind.resources):
            shape = shape_of(entry.kind.resources, entry.spec.where)
            counts[shape] = counts.get(shape, 0) + entry.live
    total, covered = sum(counts.values()), 0
    typical: dict[Shape, int] = {}
    for shape, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHAPES_MAX]:
        if 100 * covered >= _TYPICAL * total:
            break
        typical[shape] = count
        covered += count
    return typical


class Face:
    """What nodes alike have free: amounts, what is left of each GPU, and labels that shapes ask for."""

    __slots__ = ("_labels", "free", "losses", "nodes", "slots", "there")

    def __init__(self, free: Mapping[str, int], there: list[int], labels: Mapping[str, str]) -> None:
        self.free = free
        self.there = there
        self._labels = labels
        self.nodes: dict[NodeId, NodeState] = {}
        #: how often each known shape fits, in thousandths
        self.slots: list[int] = []
        #: what is left of each GPU after one start of a vector, and how many fewer times each shape fits then
        self.losses: dict[Resources, tuple[list[int] | None, list[int] | None]] = {}

    def know(self, shapes: list[Shape]) -> None:
        """Count how often shapes fit that were not asked before."""
        fresh = shapes[len(self.slots) :]
        if fresh:
            self.slots += times_in(self.free, self.there, [shape.resources for shape in fresh])
            for number, shape in enumerate(shapes):
                if shape.labels and not all(label.met(self._labels.get(label.label)) for label in shape.labels):
                    self.slots[number] = 0

    def loss(self, wanted: Resources, shapes: list[Shape]) -> list[int] | None:
        """How many fewer times each shape fits after one start; None: there is no room for it."""
        found = self.losses.get(wanted)
        if found is None:
            there = taken(self.there, gpus_of(wanted)) if wanted.fits(self.free) else None
            found = self.losses[wanted] = (there, None if there is None else [])
        there, lost = found
        if there is not None and lost is not None and len(lost) < len(shapes):
            free = {**self.free, **{name: self.free.get(name, 0) - amount for name, amount in wanted.amounts}}
            first = len(lost)
            after = times_in(free, there, [shape.resources for shape in shapes[first:]])
            lost += [before and before - now for before, now in zip(self.slots[first:], after, strict=True)]
        return lost


class Fragments:
    """All nodes by their faces. `refresh` before each look."""

    def __init__(self) -> None:
        self._position = -1
        self._shapes: list[Shape] = []
        self._number: dict[Shape, int] = {}
        #: labels that shapes name
        self._names: set[str] = set()
        self._faces: dict[object, Face] = {}
        self._of: dict[NodeId, Face] = {}
        #: how often each shape fits in all
        self._left: list[int] = []

    def refresh(self, state: "State", jobs: Mapping[Shape, int]) -> list[int]:
        """Take in which nodes have changed. What a slot of each known shape weighs while the workload is this one."""
        rooms = state.rooms
        rooms.by_room()  # takes in what was touched
        names = {label.label for shape in jobs for label in shape.labels}
        # None where a node is gone, or its labels are others
        changed = rooms.changed_since(self._position)
        if changed is None or not names <= self._names or len(self._shapes) > _KNOWN_MAX:
            self._forget()
            self._names = names
            changed = list(state.nodes.values())
        for node in changed:
            self._put(node)
        if len(self._faces) > 2 * len(self._of):
            self._faces = {key: face for key, face in self._faces.items() if face.nodes}
        self._position = rooms.position
        self._learn(shape for shape in jobs if shape not in self._number)
        return self._weights(jobs)

    def losses(self, kind: "SlotKind", weights: list[int]) -> Iterator[tuple[int, Face]]:
        """What one more slot of a kind takes away, by the face of nodes that have room for it."""
        for face in self._faces.values():
            if face.nodes:
                lost = face.loss(kind.resources, self._shapes)
                if lost is not None:
                    yield sum(map(mul, weights, lost)), face

    def number_of(self, shape: Shape) -> int:
        """Where a shape stands in weights, slots and losses."""
        return self._number[shape]

    def face_of(self, node: "NodeState") -> Face:
        """What a node has, as of the last time it was refreshed."""
        return self._of[node.node.id]

    def _forget(self) -> None:
        self._shapes, self._number, self._left = [], {}, []
        self._faces, self._of = {}, {}

    def _put(self, node: "NodeState") -> None:
        self._drop(node.node.id)
        there = sorted(devices(node))
        labels = {name: node.labels[name] for name in sorted(self._names & node.labels.keys())}
        key = (tuple(sorted(node.free.items())), tuple(there), tuple(labels.items()))
        face = self._faces.get(key)
        if face is None:
            face = self._faces[key] = Face(dict(node.free), there, labels)
        face.know(self._shapes)
        self._of[node.node.id] = face
        face.nodes[node.node.id] = node
        self._count(face.slots, 1)

    def _drop(self, node_id: "NodeId") -> None:
        face = self._of.pop(node_id, None)
        if face is not None:
            del face.nodes[node_id]
            self._count(face.slots, -1)

    def _count(self, slots: list[int], times: int) -> None:
        for number, found in enumerate(slots):
            self._left[number] += found * times

    def _learn(self, fresh: Iterable[Shape]) -> None:
        """Shapes that were not known."""
        before = len(self._shapes)
        for shape in fresh:
            self._number[shape] = len(self._shapes)
            self._shapes.append(shape)
        if len(self._shapes) == before:
            return
        self._left += [0] * (len(self._shapes) - before)
        for face in self._faces.values():
            face.know(self._shapes)
            for number in range(before, len(self._shapes)):
                self._left[number] += face.slots[number] * len(face.nodes)

    def _weights(self, jobs: Mapping[Shape, int]) -> list[int]:
        weights = [0] * len(self._shapes)
        for shape, count in jobs.items():
            number = self._number[shape]
            left = max(self._left[number], _SLOT)
            gpus = max(left * gpus_of(shape.resources) // UNIT, _SLOT)
            weights[number] = count * _LOSS // (left * isqrt(gpus))
        return weights


def times_in(free: Mapping[str, int], there: list[int], vectors: Iterable[Resources]) -> list[int]:
    """How often vectors fit into what is free, parts of a time included, in thousandths; a GPU has no parts."""
    on_gpus: dict[int, int] = {}
    found: list[int] = []
    for vector in vectors:
        times = 1 << 62
        for name, amount in vector.amounts:
            if name != GPU:
                of_one = free.get(name, 0) * _SLOT // amount
            else:
                known = on_gpus.get(amount)
                of_one = known if known is not None else on_gpus.setdefault(amount, _SLOT * _on_gpus(there, amount))
            times = min(times, of_one)
        found.append(times)
    return found


def _on_gpus(there: list[int], amount: int) -> int:
    """How often so much of GPUs can be given out."""
    if amount >= UNIT:
        return there.count(UNIT) * UNIT // amount
    return sum(part // amount for part in there)
