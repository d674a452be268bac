"""Fragmentation of GPUs: how much of a node's free GPUs is of no use to the jobs that are typical here.

Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC
2023. For one kind of job, all free GPUs of a node that cannot take it are fragments; where it can, those devices
that are too full for it. Over the workload that is an expectation, and a job goes where it grows the least. The
workload is what waits and runs now, by shape; shapes without GPUs can use them nowhere and say nothing: they are left
out.
"""

from dataclasses import replace

from kos_ray.model.job import SlotKind
from kos_ray.model.resources import UNIT, Resources, add
from kos_ray.scheduler.queues import count_ready
from kos_ray.scheduler.state import NodeState, State

GPU = "GPU"
#: shapes that are looked at, the most frequent ones; and jobs of one class that are counted
_SHAPES_MAX = 32
_COUNTED_MAX = 1_000


def workload(state: State) -> list[tuple[Resources, float]]:
    """Shapes of jobs that want GPUs, and the share of each among them."""
    counts: dict[Resources, int] = {}
    for job_class in state.classes.values():
        if gpus_of(job_class.kind.resources):
            waiting = count_ready(job_class, state.jobs, _COUNTED_MAX)
            counts[job_class.kind.resources] = counts.get(job_class.kind.resources, 0) + waiting
    for node in state.nodes.values():
        for kind, lane in node.lanes.items():
            if gpus_of(kind.resources):
                counts[kind.resources] = counts.get(kind.resources, 0) + len(lane.held)
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHAPES_MAX]
    total = sum(count for _, count in frequent)
    return [(shape, count / total) for shape, count in frequent if count]


def growth(node: NodeState, kind: SlotKind, shapes: list[tuple[Resources, float]]) -> float:
    """By how much one more slot of a kind makes the expected fragments of a node grow, in GPUs."""
    before = devices(node)
    after = taken(before, gpus_of(kind.resources))
    if after is None:
        return float("inf")
    free = dict(node.free)
    add(free, kind.resources, -1)
    return _fragments(free, after, shapes) - _fragments(node.free, before, shapes)


def _fragments(free: dict[str, int], there: list[int], shapes: list[tuple[Resources, float]]) -> float:
    return sum(share * _of_no_use(free, there, shape) for shape, share in shapes) / UNIT


def _of_no_use(free: dict[str, int], there: list[int], shape: Resources) -> int:
    """The free part of the devices that jobs of one shape cannot use."""
    wanted = gpus_of(shape)
    if not shape.fits(free) or taken(there, wanted) is None:
        return sum(there)
    least = min(wanted, UNIT)
    return sum(amount for amount in there if amount < least)


def gpus_of(resources: Resources) -> int:
    """The GPUs in a vector, as an amount."""
    for name, amount in resources.amounts:
        if name == GPU:
            return amount
    return 0


def sharing(kind: SlotKind, share: int) -> SlotKind:
    """A kind of slot with so much of a GPU; one that names GPUs already has whole ones."""
    if gpus_of(kind.resources):
        return kind
    amounts = {**dict(kind.resources.amounts), GPU: share}
    return replace(kind, resources=Resources.from_amounts(amounts), single_use=True)


def devices(node: NodeState) -> list[int]:
    """What each GPU of a node has free, as Ray shares them out: whole ones first, fractions where the least is left."""
    whole, part = divmod(gpus_of(node.node.resources), UNIT)
    found = [UNIT] * whole + [part] * bool(part)
    held = [(gpus_of(kind.resources), lane.slots) for kind, lane in node.lanes.items()]
    for amount, slots in sorted(held, reverse=True):
        for _ in range(slots if amount else 0):
            found = taken(found, amount) or found
    return found


def taken(there: list[int], wanted: int) -> list[int] | None:
    """The devices once somebody has got so much of them; None where nobody can: a fraction is of one device."""
    if not wanted:
        return there
    if wanted < UNIT:
        rooms = [amount for amount in there if amount >= wanted]
        if not rooms:
            return None
        left = list(there)
        left[left.index(min(rooms))] -= wanted
        return left
    count = wanted // UNIT
    if there.count(UNIT) < count:
        return None
    left = sorted(there)
    return [*left[: len(left) - count], *[0] * count]


def times(node: NodeState, kind: SlotKind, at_most: int) -> int:
    """How many slots of a kind a node's devices have room for: two halves of two GPUs are no whole one."""
    wanted = gpus_of(kind.resources)
    if not wanted:
        return at_most
    if not wanted % UNIT and all(gpus_of(lane.kind.resources) % UNIT == 0 for lane in node.lanes.values()):
        return at_most
    there: list[int] | None = devices(node)
    for count in range(at_most):
        there = taken(there, wanted) if there is not None else None
        if there is None:
            return count
    return at_most
