"""How well a node fits, and why none does."""

from collections.abc import Iterator
from itertools import chain, islice

from kos_ray.model.ids import JobKey
from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.scheduler.evict import Search
from kos_ray.scheduler.rooms import room_of
from kos_ray.scheduler.state import JobClass, NodeState, State

#: thousandths
_WHOLE = 1_000


def why_not(state: State, job_class: JobClass, head: JobKey, search: Search, now_us: int) -> Reason:
    """Why the head of a class cannot be placed."""
    if not state.nodes:
        return Reason.NO_NODES
    kind = job_class.kind
    if not any(True for _ in able_nodes(state, kind)):
        return Reason.NEVER_FITS
    if search.forbidden(job_class, head):
        fits_ever = state.tree.times({}, kind.namespace, kind.resources, 1)
        return Reason.QUOTA if fits_ever else Reason.ABOVE_QUOTA
    if state.taken_nodes and all(pausing(node, kind, now_us) for node in able_nodes(state, kind)):
        return Reason.TAKEN_BY_OTHERS
    return Reason.NO_ROOM


def able_nodes(state: State, kind: SlotKind) -> Iterator[NodeState]:
    """The nodes that could hold a slot of a kind when they are empty."""
    return chain.from_iterable(state.rooms.shapes[shape].values() for shape in _able_shapes(state, kind))


def _able_shapes(state: State, kind: SlotKind) -> list[Resources]:
    """What those nodes have in all: nodes are many, and of few shapes."""
    found = state.able.get(kind)
    if found is None:
        shares = state.policy.memory_share
        found = [
            shape
            for shape in state.rooms.shapes
            if kind.resources.fits(_usable(dict(shape.amounts), shape, kind, shares))
        ]
        state.able[kind] = found
    return found


def nearest_nodes(state: State, kind: SlotKind, at_most: int) -> list[NodeState]:
    """Of the nodes that could hold a slot of a kind, all if they are few, else those that lack the least."""
    shapes = _able_shapes(state, kind)
    if sum(len(state.rooms.shapes[shape]) for shape in shapes) <= at_most:
        return list(able_nodes(state, kind))
    near = state.rooms.by_room().nearest(kind.resources)
    return list(islice((node for node in near if node.node.resources in shapes), at_most))


def usable(state: State, node: NodeState, kind: SlotKind) -> dict[str, int]:
    """What of a node's free resources a new slot may take: of memory, only the share that is ours."""
    return _usable(node.free, node.node.resources, kind, state.policy.memory_share)


def _usable(free: dict[str, int], whole: Resources, kind: SlotKind, share: int) -> dict[str, int]:
    if share >= _WHOLE or not any(name == "memory" for name, _ in kind.resources.amounts):
        return free
    kept = dict(whole.amounts).get("memory", 0) * (_WHOLE - share) // _WHOLE
    return {**free, "memory": free.get("memory", 0) - kept}


def pausing(node: NodeState, kind: SlotKind, now_us: int) -> bool:
    """Whether Ray has just given the kind's room on this node to others."""
    return node.taken.get(kind, (0, 0))[0] > now_us


def leftover(node: NodeState, kind: SlotKind) -> float:
    """Best fit: the shares of the node that stay free after one more slot, summed over what is asked, CPU and GPU."""
    wanted = dict(kind.resources.amounts)
    return sum(
        (node.free.get(name, 0) - wanted.get(name, 0)) / amount
        for name, amount in node.node.resources.amounts
        if name in wanted or name in ("CPU", "GPU")
    )


def deficit(node: NodeState, kind: SlotKind) -> float:
    """How much a node lacks for one more slot, as the sum over resources of the lacking share of the request.

    Idle slots of others count as free: they close for whoever has the claim, so that it stays with its node.
    """
    free = room_of(node)
    return sum(max(0, amount - free.get(name, 0)) / amount for name, amount in kind.resources.amounts)
