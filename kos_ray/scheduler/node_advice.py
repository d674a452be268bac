"""Which nodes would help: of the kinds that somebody could add, those into which what waits fits best.

Largest demands first, and each time the kind of node that is used best by what is left (the method of Ray's own
autoscaler, `resource_demand_scheduler.py`, Apache-2.0): as many kinds of resources as possible are used, then the least
used one counts, then the mean. A resource of a node counts by `amount * (share in use) ** 3`, so that a small node that
is full goes before a large one that is not. Nodes with GPUs are for work that needs them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kos_ray.model.resources import UNIT, Resources, add
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.queues import count_ready
from kos_ray.scheduler.sites import apart_from_its_own
from kos_ray.scheduler.state import State

#: jobs of one class, and nodes in all, that are looked at
_JOBS_MAX = 10_000
_NODES_MAX = 1_000
_Score = tuple[bool, int, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKind:
    """A kind of node that could be added: what each has, and how many more there may be."""

    name: str
    resources: Resources
    at_most: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Jobs that wait: what one holds; whether each needs a node of its own."""

    resources: Resources
    alone: bool = False


def waiting(state: State) -> list[Demand]:
    """What waits for room, the largest first."""
    found: list[Demand] = []
    for job_class in state.classes.values():
        count = count_ready(job_class, state.jobs, _JOBS_MAX)
        demand = Demand(wanted_kind(state, job_class).resources, apart_from_its_own(job_class))
        found += [demand] * count
    return sorted(found, key=lambda demand: _size(demand.resources), reverse=True)


def advise(
    demands: Sequence[Demand], kinds: Iterable[NodeKind], *, coming: Iterable[Resources] = (), at_most: int = _NODES_MAX
) -> tuple[dict[str, int], list[Demand]]:
    """How many nodes of which kinds to add for demands, and what would still wait.

    `coming` are nodes that are on their way already: demands are put there first.
    """
    left = list(demands)
    for resources in coming:
        left = _beyond(resources, left)
    chosen: dict[str, int] = {}
    rooms = {kind.name: kind for kind in kinds}
    while left and sum(chosen.values()) < at_most:
        open_kinds = [kind for kind in rooms.values() if chosen.get(kind.name, 0) < kind.at_most]
        scores = [(score, kind.name) for kind in open_kinds if (score := utilisation(kind.resources, left)) is not None]
        if not scores:
            break
        _, name = max(scores)
        chosen[name] = chosen.get(name, 0) + 1
        left = _beyond(rooms[name].resources, left)
    return chosen, left


def utilisation(node: Resources, demands: Sequence[Demand]) -> _Score | None:
    """How well demands would use an empty node, more is better; None where none of them fits."""
    placed = _placed(node, demands)
    if not placed:
        return None
    free = dict(node.amounts)
    names: set[str] = set()
    for demand in placed:
        add(free, demand.resources, -1)
        names.update(name for name, _ in demand.resources.amounts)
    used = [amount / UNIT * (1 - free[name] / amount) ** 3 for name, amount in node.amounts]
    gpus = any(name == "GPU" for name, _ in node.amounts)
    wanted = any(name == "GPU" for demand in demands for name, _ in demand.resources.amounts)
    return (wanted or not gpus, len(names), min(used), sum(used) / len(used))


def _placed(node: Resources, demands: Iterable[Demand]) -> list[Demand]:
    """The demands that fit on an empty node, taken in their order."""
    free = dict(node.amounts)
    found: list[Demand] = []
    alone = False
    for demand in demands:
        if demand.resources.fits(free) and not (alone and demand.alone):
            add(free, demand.resources, -1)
            found.append(demand)
            alone = alone or demand.alone
    return found


def _beyond(node: Resources, demands: Iterable[Demand]) -> list[Demand]:
    """What is left of demands once a node has taken what fits."""
    left = list(demands)
    for demand in _placed(node, left):
        left.remove(demand)
    return left


def _size(resources: Resources) -> tuple[int, int, tuple[tuple[str, int], ...]]:
    amounts = resources.amounts
    return (len(amounts), sum(amount for _, amount in amounts), amounts)
