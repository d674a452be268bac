"""How well a node fits, and why none does."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from kos_ray.model.ids import JobKey
from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.model.where import ANYWHERE, Where
from kos_ray.scheduler import fgd
from kos_ray.scheduler.agents import host
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.rooms import room_of, rounded
from kos_ray.scheduler.sites import Sites, gpu_share, matches
from kos_ray.scheduler.state import NodeState, State

if TYPE_CHECKING:
    from kos_ray.scheduler.evict import Search

#: thousandths
_WHOLE = 1_000
#: so many nodes are looked at one by one
_FEW = 64


def why_not(state: State, job_class: JobClass, head: JobKey, search: "Search", sites: Sites, now_us: int) -> Reason:
    """Why the head of a class cannot be placed."""
    if not state.nodes:
        return Reason.NO_NODES
    kind = wanted_kind(state, job_class)
    able = able_nodes(state, kind, job_class.where)
    if not able:
        return _unable(state, job_class, kind)
    if search.forbidden(kind, head):
        fits_ever = state.tree.times({}, kind.namespace, kind.resources, 1)
        return Reason.QUOTA if fits_ever else Reason.ABOVE_QUOTA
    if all(sites.refusal(node, job_class, head) for node in able):
        return max(sites.refusal(node, job_class, head) for node in able)
    if state.taken_nodes and all(pausing(node, kind, now_us) for node in able):
        return Reason.TAKEN_BY_OTHERS
    return Reason.NO_ROOM


def _unable(state: State, job_class: JobClass, kind: SlotKind) -> Reason:
    """Why no node could hold a slot even when it is empty."""
    if job_class.where.gpu_memory and not any(gpu_share(node, job_class.where) for node in state.nodes.values()):
        return Reason.GPU_MEMORY
    return Reason.NO_NODE_MATCHES if able_nodes(state, kind) else Reason.NEVER_FITS


def able_nodes(state: State, kind: SlotKind, where: Where = ANYWHERE) -> list[NodeState]:
    """The nodes that could hold a slot of a kind when they are empty and match, in the order in which they joined."""
    found = state.able.get((kind, where))
    if found is None:
        if where == ANYWHERE:
            found = _able_anywhere(state, kind)
        else:
            found = [node for node in able_nodes(state, kind) if matches(node, where, kind)]
        state.able[kind, where] = found
    return found


def _able_anywhere(state: State, kind: SlotKind) -> list[NodeState]:
    """Nodes are many, and of few shapes; those are looked at one by one where it is a close thing."""
    rooms = state.rooms
    able, close = set(), set()
    for shape in rooms.shapes:
        if _could_hold(state, shape, kind):
            able.add(shape)
        elif _could_hold(state, rounded(shape, up=True), kind):
            close.add(shape)
    if not close:
        return _of_shapes(state, frozenset(able))
    return [
        node
        for node in state.nodes.values()
        if (shape := rooms.shape_of(node)) in able or (shape in close and _could_hold(state, node.node.resources, kind))
    ]


def _could_hold(state: State, whole: Resources, kind: SlotKind) -> bool:
    """Whether a slot of a kind fits where there is so much in all."""
    return kind.resources.fits(_usable(dict(whole.amounts), whole, kind, state.policy.memory_share))


def _of_shapes(state: State, shapes: frozenset[Resources]) -> list[NodeState]:
    """The nodes of these shapes; one list for all kinds that fit the same ones."""
    found = state.of_shapes.get(shapes)
    if found is None:
        among = set().union(*(state.rooms.shapes[shape] for shape in shapes))
        found = [node for node_id, node in state.nodes.items() if node_id in among]
        state.of_shapes[shapes] = found
    return found


def near_nodes(state: State, kind: SlotKind, where: Where, at_most: int) -> Iterable[NodeState]:
    """Of the able nodes all if they are few, else those that lack the least."""
    able = able_nodes(state, kind, where)
    if len(able) <= at_most:
        return able
    anywhere = where == ANYWHERE
    return islice(
        (
            node
            for node in state.rooms.by_room().nearest(kind.resources)
            if _could_hold(state, node.node.resources, kind) and (anywhere or matches(node, where, kind))
        ),
        at_most,
    )


def roomy_nodes(state: State, kind: SlotKind, where: Where) -> Iterable[NodeState]:
    """Nodes that may have room for a slot of a kind, the tightest first."""
    if kind.receiver:
        node = host(state, kind)
        return () if node is None else (node,)
    if where != ANYWHERE and len(able := able_nodes(state, kind, where)) <= _FEW:
        return able
    return state.rooms.by_room().large_enough(kind.resources)


def kinds_of(state: State, job_class: JobClass) -> tuple[SlotKind, ...]:
    """The kinds of slots that would do for a class, in order of preference."""
    if not job_class.where.gpu_memory:
        return job_class.kinds
    shares = sorted({share for node in state.nodes.values() if (share := gpu_share(node, job_class.where))})
    return tuple(fgd.sharing(kind, share) for kind in job_class.kinds for share in reversed(shares))


def wanted_kind(state: State, job_class: JobClass) -> SlotKind:
    """For which kind of slot a class waits: of those that would do, the first that some node can hold."""
    kinds = kinds_of(state, job_class)
    if len(kinds) == 1:
        return kinds[0]
    able = (kind for kind in kinds if able_nodes(state, kind, job_class.where))
    return next(able, job_class.kind)


def reconsider(state: State) -> None:
    """What did not fit may fit now though no node has more room: a mark, a label, a neighbour, a window has changed."""
    state.able.clear()
    state.of_shapes.clear()
    state.never.clear()
    state.rooms.stir()


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
    return bool(node.taken) and node.taken.get(kind, (0, 0))[0] > now_us


def leftover(node: NodeState, wanted: Mapping[str, int]) -> float:
    """Best fit: the shares of the node that stay free after one more slot, summed over what is asked, CPU and GPU."""
    left = 0.0
    for name, amount in node.node.resources.amounts:
        if name in wanted or name in ("CPU", "GPU"):
            left += (node.free.get(name, 0) - wanted.get(name, 0)) / amount
    return left


def deficit(node: NodeState, kind: SlotKind) -> float:
    """How much a node lacks for one more slot, as the sum over resources of the lacking share of the request.

    Idle slots of others count as free: they close for whoever has the claim, so that it stays with its node.
    """
    free = room_of(node)
    return sum(max(0, amount - free.get(name, 0)) / amount for name, amount in kind.resources.amounts)
