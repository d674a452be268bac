"""Which of the nodes that fit a class would rather have: what it asks for first, then by its strategy."""

from collections.abc import Callable, Iterator

from kos_ray.model.ids import NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.resources import add
from kos_ray.model.where import Strategy
from kos_ray.scheduler.fgd import gpus_of, growth
from kos_ray.scheduler.fit import able_nodes, leftover
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.models import load_of
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.turns import Turn


def score(sites: Sites, node: NodeState, job_class: JobClass, kind: SlotKind) -> tuple[float, ...]:
    """The lower the better: the weights of wishes that it would meet, then what the strategy says."""
    strategy = sites.strategy(job_class)
    if strategy is Strategy.SPREAD:
        return (-sites.liked(node, job_class), _load(node))
    if strategy is Strategy.FGD and gpus_of(kind.resources):
        return (-sites.liked(node, job_class), growth(node, kind, sites.workload), leftover(node, kind))
    return (-sites.liked(node, job_class), leftover(node, kind))


def in_rotation(
    state: State,
    sites: Sites,
    turn: Turn,
    fits_anew: Callable[[NodeState, SlotKind], bool],
    let: Callable[..., int],
) -> Iterator[tuple[NodeState, int]]:
    """The nodes on which a job can start at once, one start at a time.

    What it asks for (`where: prefer`) goes first; of nodes alike in that, whichever had the fewest starts.
    """
    kind, job_class = turn.kind, turn.job_class
    quota = state.tree.times(state.reserved, kind.namespace, kind.resources, 1)

    def place(node: NodeState) -> tuple[int, int, NodeId]:
        return (-sites.liked(node, job_class), load_of(state, node), node.node.id)

    for node in sorted(able_nodes(state, kind, job_class.where), key=place):
        lane = node.lanes.get(kind)
        opens = not (lane and lane.idle)
        if (not opens or (quota and fits_anew(node, kind))) and let(node, turn, opens=opens):
            yield node, 1


def liked_best(
    state: State,
    sites: Sites,
    turn: Turn,
    fits_anew: Callable[[NodeState, SlotKind], bool],
    let: Callable[..., int],
) -> Iterator[tuple[NodeState, int]]:
    """The node that a class which has wishes would rather have than others, in an idle slot or in a new one."""
    kind, job_class = turn.kind, turn.job_class
    if not sites.chooses(job_class):
        return
    opens = state.tree.times(state.reserved, kind.namespace, kind.resources, 1)
    best: tuple[tuple[float, ...], NodeId] | None = None
    for node in able_nodes(state, kind, job_class.where):
        lane = node.lanes.get(kind)
        idle = lane is not None and lane.idle > 0
        if (idle or (opens and fits_anew(node, kind))) and let(node, turn, opens=not idle):
            rank = ((*score(sites, node, job_class, kind), not idle), node.node.id)
            best = min(best, rank) if best else rank
    if best:
        yield state.nodes[best[1]], 1


def _load(node: NodeState) -> float:
    """The largest share of any of its resources that jobs hold; idle slots hold nothing, and are free for others."""
    free = dict(node.free)
    for lane in node.lanes.values():
        add(free, lane.kind.resources, lane.idle)
    shares = (1 - free.get(name, 0) / amount for name, amount in node.node.resources.amounts)
    return max(shares, default=0.0)
