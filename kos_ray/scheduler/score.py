"""Which of the nodes that fit a class would rather have: what it asks for first, then by its strategy."""

from collections.abc import Callable, Iterator

from kos_ray.model.ids import NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.resources import add
from kos_ray.model.where import ANYWHERE, Strategy
from kos_ray.scheduler.fit import able_nodes, leftover, roomy_nodes
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.models import load_of
from kos_ray.scheduler.sites import Sites, matches
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.turns import Turn

#: nodes that are compared for one start: of the tightest ones that have room
_SCORED = 8


def in_rotation(
    state: State,
    sites: Sites,
    turn: Turn,
    fits_anew: Callable[[NodeState, SlotKind], int],
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
    fits_anew: Callable[[NodeState, SlotKind], int],
    let: Callable[..., int],
) -> Iterator[tuple[NodeState, int]]:
    """The node that a class which has wishes would rather have than others, in an idle slot or in a new one."""
    kind, job_class = turn.kind, turn.job_class
    if not sites.chooses(job_class):
        return
    opens = state.tree.times(state.reserved, kind.namespace, kind.resources, 1)
    for node in ranked(state, sites, job_class, kind):
        lane = node.lanes.get(kind)
        idle = lane is not None and lane.idle > 0
        if (idle or (opens and fits_anew(node, kind))) and let(node, turn, opens=not idle):
            yield node, 1
            return


def best_fits(
    state: State, turn: Turn, last: dict[JobClass, NodeState], times: Callable[[NodeState, Turn], int]
) -> Iterator[tuple[NodeState, int]]:
    """The nodes with room for new slots, and for how many; of the tightest those first on which one leaves least over.

    `times` tells how many of a turn a node takes now; `last` is where jobs of a class have started in this pass.
    """
    kind, job_class = turn.kind, turn.job_class
    node = last.get(job_class)
    if node is not None and kind is job_class.kind and (count := times(node, turn)):
        yield node, count  # it was the tightest, and is tighter now
    wanted = dict(kind.resources.amounts)
    while True:
        found: list[tuple[float, NodeId, int]] = []
        for node in roomy_nodes(state, kind, job_class.where):
            if count := times(node, turn):
                found.append((leftover(node, wanted), node.node.id, count))
                if len(found) == _SCORED:
                    break
        if not found:
            return
        for number, (_, node_id, count) in enumerate(sorted(found)):
            node = state.nodes[node_id]
            if number == 0 or (count := times(node, turn)):
                if kind is job_class.kind:
                    last[job_class] = node
                yield node, count


def ranked(state: State, sites: Sites, job_class: JobClass, kind: SlotKind) -> Iterator[NodeState]:
    """The nodes that may have room for a slot of a kind, the best first.

    Those that meet most of what the class wishes; of these what the strategy says; where that is equal as well the
    tightest, unless jobs are spread.
    """
    strategy = sites.strategy(job_class)
    wishes, idle = sites.wishes(job_class), state.idle_lanes.get(kind, {})
    if strategy is Strategy.FGD and sites.workload:
        placed = _by_loss(state, sites, job_class, kind)
    else:
        placed = _by_room(state, job_class, kind, spreads=strategy is Strategy.SPREAD)
    groups: dict[tuple[float, ...], list[NodeState]] = {}
    for place, node in placed:
        liked = sites.liked(node, job_class) if wishes else 0
        groups.setdefault((-liked, place), []).append(node)

    wanted = dict(kind.resources.amounts)

    def then(node: NodeState) -> tuple[float, bool, NodeId]:
        left = 0.0 if strategy is Strategy.SPREAD else leftover(node, wanted)
        return (left, node.node.id not in idle, node.node.id)

    for _, among in sorted(groups.items(), key=lambda group: group[0]):
        yield from sorted(among, key=then)


def _by_room(state: State, job_class: JobClass, kind: SlotKind, *, spreads: bool) -> Iterator[tuple[float, NodeState]]:
    idle = state.idle_lanes.get(kind, {})
    for node in able_nodes(state, kind, job_class.where):
        if node.node.id in idle or kind.resources.fits(node.free):
            yield _load(node) if spreads else 0.0, node


def _by_loss(state: State, sites: Sites, job_class: JobClass, kind: SlotKind) -> Iterator[tuple[float, NodeState]]:
    """An idle slot takes nothing from anybody."""
    idle = [state.nodes[node_id] for node_id in state.idle_lanes.get(kind, ())]
    yield from ((0, node) for node in idle if matches(node, job_class.where, kind))
    anywhere = job_class.where == ANYWHERE
    weights = state.fragments.refresh(state, sites.workload)
    for loss, face in state.fragments.losses(kind, weights):
        for node in face.nodes.values():
            if anywhere or matches(node, job_class.where, kind):
                yield loss, node


def _load(node: NodeState) -> float:
    """The largest share of any of its resources that jobs hold; idle slots hold nothing, and are free for others."""
    free = dict(node.free)
    for lane in node.lanes.values():
        add(free, lane.kind.resources, lane.idle)
    shares = (1 - free.get(name, 0) / amount for name, amount in node.node.resources.amounts)
    return max(shares, default=0.0)
