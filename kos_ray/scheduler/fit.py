"""How well a node fits, and why none does."""

from kos_ray.model.ids import JobKey
from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler.evict import Search
from kos_ray.scheduler.state import JobClass, NodeState, State


def why_not(state: State, job_class: JobClass, head: JobKey, search: Search, now_us: int) -> Reason:
    """Why the head of a class cannot be placed."""
    nodes = state.nodes.values()
    if not nodes:
        return Reason.NO_NODES
    kind = job_class.kind
    able = [node for node in nodes if kind.resources.fits(dict(node.node.resources.amounts))]
    if not able:
        return Reason.NEVER_FITS
    if search.lacks_quota(job_class, head):
        fits_ever = state.tree.times({}, kind.namespace, kind.resources, 1)
        return Reason.QUOTA if fits_ever else Reason.ABOVE_QUOTA
    if all(pausing(node, kind, now_us) for node in able):
        return Reason.TAKEN_BY_OTHERS
    return Reason.NO_ROOM


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
    free = dict(node.free)
    for lane in node.lanes.values():
        add(free, lane.kind.resources, lane.idle)
    return sum(max(0, amount - free.get(name, 0)) / amount for name, amount in kind.resources.amounts)
