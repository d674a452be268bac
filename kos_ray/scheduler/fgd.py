"""The GPUs of a node one by one: what is free of each, as Ray shares them out, and what a request takes of them."""

from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

from kos_ray.model.job import SlotKind
from kos_ray.model.resources import UNIT, Resources

if TYPE_CHECKING:
    from kos_ray.scheduler.state import Lane, NodeState

GPU = "GPU"
#: behind all keys of jobs
_LAST = 1 << 62


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


def devices(node: "NodeState") -> list[int]:
    """What each GPU of a node has free, as Ray shares them out.

    Whole ones are given out as such, fractions where the least is left, in the order in which the jobs were submitted;
    idle slots stand behind them.
    """
    whole, part = divmod(gpus_of(node.node.resources), UNIT)
    found = [UNIT] * whole + [part] * bool(part)
    parts: list[tuple[int, int]] = []
    for kind, lane in node.lanes.items():
        amount = gpus_of(kind.resources)
        if amount >= UNIT:
            for _ in range(lane.slots):
                found = taken(found, amount) or found
        elif amount:
            parts += ((key, -amount) for key in _holders(lane))
    for _, amount in sorted(parts):
        found = taken(found, -amount) or found
    return found


def _holders(lane: "Lane") -> list[int]:
    """By slot of a lane the job in it, a number behind all of them for idle ones."""
    return list(chain(list(lane.held)[: lane.slots], repeat(_LAST, lane.idle)))


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


def times(node: "NodeState", kind: SlotKind, at_most: int) -> int:
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
