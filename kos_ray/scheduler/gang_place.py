"""A gang's turn: all that are needed start in this pass, or none; room is kept, or made, for all of them together."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Demands, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources, add, total
from kos_ray.model.where import ANYWHERE
from kos_ray.scheduler import gangs, gates
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.claims import NEVER, Claims, Ready, ready_at
from kos_ray.scheduler.evict import Search
from kos_ray.scheduler.fit import usable
from kos_ray.scheduler.jobs import Gang, Job
from kos_ray.scheduler.packing import Beside, Let, Packing, Placement, Shape, assigned, counted, shape_of
from kos_ray.scheduler.queues import first_ready, take_first
from kos_ray.scheduler.sites import Sites, matches
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.turns import Turn
from kos_ray.scheduler.victims import Used, Victim

_MANY = 1 << 30
#: nodes that are compared for a claim, and one more for each member
_NEAR = 64
#: what a pass does to nodes, and remembers as decisions
_Resize = Callable[[NodeState, SlotKind, int, Reason], None]
_Launch = Callable[[NodeState, SlotKind, list[JobKey]], None]


class GangTurns:
    """The turns of gangs in one pass. `starts` are decisions that go before the pass's launches."""

    def __init__(
        self,
        state: State,
        claims: Claims,
        sites: Sites,
        search: Search,
        now_us: int,
        resize: _Resize,
        launch: _Launch,
    ) -> None:
        self._state = state
        self._claims = claims
        self._sites = sites
        self._search = search
        self._now_us = now_us
        self._resize = resize
        self._launch = launch
        self.starts: list[d.StartGang] = []
        #: a gang has started, and others of it may join: they have their turns in another pass
        self.joining = False

    def keep_made(self, key: JobKey) -> bool:
        """Keep the nodes on which room is being made for a gang; False where the job stands for none."""
        gang = self._state.gang_of.get(key)
        if gang is None or gang.leader != key:
            return False
        self._keep(gang, gang.room, NEVER)
        return True

    def may_start_there(self, gang: Gang) -> bool:
        """Whether members may start on all nodes on which room was made for them."""
        site, shapes = self._site(gang), {shape_of(job) for job in gangs.ready(self._state, gang)}
        nodes = [self._state.nodes[node_id] for node_id in gang.room]
        return all(any(site(node, shape) for shape in shapes) for node in nodes)

    # --- starting

    def place(self, turn: Turn) -> bool:
        """Start a gang; False: it may not, or not enough of it fit."""
        gang = self._state.gang_of[turn.head]
        members, why = self._admitted(gang)
        if len(members) < max(1, gangs.needed(gang)):
            turn.job_class.why = gates.never(self._state, self.demands(turn.head)) or why
            return False
        placement = Packing(self._state, self._now_us).fit(
            counted(members), gangs.needed(gang), self._let(gang, turn.head), beside=self._beside(gang)
        )
        if placement is None:
            return False
        self.drop_claims(gang.leader)
        if not turn.nominated:
            first_ready(self._state, turn.job_class)
            take_first(self._state, turn.job_class)
        places = assigned(members, placement)
        keys = tuple(sorted(job.key for *_, jobs in places for job in jobs))
        decision = d.StartGang(gang=gang.name, keys=keys)
        apply_decision(self._state, decision, self._now_us)
        self.starts.append(decision)
        self.joining |= len(keys) < len(gangs.ready(self._state, gang))
        self._open(placement)
        for node_id, kind, jobs in places:
            self._launch(self._state.nodes[node_id], kind, [job.key for job in jobs])
        return True

    def demands(self, head: JobKey) -> Demands:
        """What the members that a gang needs demand together."""
        gang = self._state.gang_of[head]
        return gates.summed(gangs.ready(self._state, gang)[: gangs.needed(gang)])

    def _admitted(self, gang: Gang) -> tuple[list[Job], Reason]:
        """The members that may start together as far as licences, rates and keys go, and what holds the next one."""
        return gates.admitted(self._state, gangs.ready(self._state, gang), self._now_us)

    def _let(self, gang: Gang, head: JobKey) -> Let:
        site = self._site(gang)
        longest_us = gangs.longest_us(self._state, gang)

        def let(node: NodeState, shape: Shape) -> int:
            wanted = shape.kind.resources
            return min(site(node, shape), self._claims.times(node, head, wanted, opens=True, gang_us=longest_us))

        return let

    def _site(self, gang: Gang) -> Let:
        """How many members of a shape may start on a node as far as room does not matter."""
        first: dict[Shape, Job] = {}
        for job in gangs.ready(self._state, gang):
            first.setdefault(shape_of(job), job)

        def site(node: NodeState, shape: Shape) -> int:
            return self._sites.times(node, first[shape].job_class, shape.kind, first[shape].key)

        return site

    def _beside(self, gang: Gang) -> Beside | None:
        """How many members may start on a node beside those of their own gang that are to start with them."""
        classes = {shape_of(job): job.job_class for job in gangs.ready(self._state, gang)}
        if not any(rule.apart and not rule.weight for found in classes.values() for rule in found.where.jobs):
            return None

        def beside(node: NodeState, shape: Shape, placed: Placement) -> int:
            others = [(classes[other], self._state.nodes[node_id]) for node_id, other, _ in placed]
            return 0 if any(self._sites.keeps_apart(node, classes[shape], *other) for other in others) else _MANY

        return beside

    def _open(self, placement: Placement) -> None:
        """Make the slots for a placement: those that are idle already, else new ones where idle ones were closed."""
        state = self._state
        wanted: Counter[tuple[NodeId, SlotKind]] = Counter()
        for node_id, shape, count in placement:
            wanted[node_id, shape.kind] += count
        if state.tree.matters:
            for kind, nodes in list(state.idle_lanes.items()):
                for node_id in list(nodes):
                    self._close(node_id, kind, wanted)
        for (node_id, kind), count in wanted.items():
            node = state.nodes[node_id]
            lane = node.lanes.get(kind)
            more = count - (lane.idle if lane else 0)
            if more <= 0:
                continue
            for other in sorted(node.lanes.values(), key=lambda lane: (lane.idle_since_us, lane.kind)):
                fits = kind.resources.times_in(usable(state, node, kind), more) >= more
                if fits and node.slots + more <= state.policy.slots_per_node_max:
                    break
                self._close(node_id, other.kind, wanted)
            self._resize(node, kind, (lane.slots if lane else 0) + more, Reason.NONE)

    def _close(self, node_id: NodeId, kind: SlotKind, wanted: dict[tuple[NodeId, SlotKind], int]) -> None:
        """Close the idle slots of a lane, but those that the gang itself is going to use."""
        lane = self._state.nodes[node_id].lanes[kind]
        spare = lane.idle - min(lane.idle, wanted.get((node_id, kind), 0))
        if spare:
            self._resize(self._state.nodes[node_id], kind, lane.slots - spare, Reason.ROOM_WANTED)

    # --- waiting

    def why_not(self, turn: Turn) -> Reason:
        """Why a gang whose members may start cannot be placed."""
        state, gang = self._state, self._state.gang_of[turn.head]
        if not state.nodes:
            return Reason.NO_NODES
        wanted, least = counted(gangs.ready(state, gang)), gangs.needed(gang)
        never = self._never(wanted, least)
        if never is not Reason.NONE:
            return never
        if state.windows or state.marks or any(shape.where != ANYWHERE or shape.words for shape in wanted):
            empty = Packing(state, self._now_us, empty=True)
            if empty.fit(wanted, least, self._site(gang), beside=self._beside(gang), quota=False) is None:
                return self._refusal(gang)
        kind = turn.job_class.kind
        needs = Resources.from_amounts(total(kind.resources for _ in range(max(1, least))))
        if state.tree.matters and state.tree.forbids(Packing(state, self._now_us).used, kind.namespace, needs):
            return Reason.QUOTA
        return Reason.GANG_NO_ROOM

    def _never(self, wanted: Mapping[Shape, int], least: int) -> Reason:
        """Why so many could not start even if nothing ran, NONE if they could; kept until nodes change."""
        state, name = self._state, (least, *wanted.items())
        if name not in state.never:
            empty = Packing(state, self._now_us, empty=True)

            def may(node: NodeState, shape: Shape) -> int:
                return _MANY if matches(node, shape.where, shape.kind) else 0

            if empty.fit(wanted, least, _anything, quota=False) is None:
                state.never[name] = Reason.NEVER_FITS
            elif empty.fit(wanted, least, may, quota=False) is None:
                state.never[name] = Reason.NO_NODE_MATCHES
            else:
                state.never[name] = Reason.ABOVE_QUOTA if empty.fit(wanted, least, may) is None else Reason.NONE
        return state.never[name]

    def _refusal(self, gang: Gang) -> Reason:
        """Why nodes that match do not take so many of a gang, though they were empty."""
        return (
            max(
                (
                    self._sites.refusal(node, job.job_class, job.key)
                    for job in gangs.ready(self._state, gang)
                    for node in self._state.nodes.values()
                    if matches(node, job.job_class.where, job.entry.kind)
                ),
                default=Reason.NONE,
            )
            or Reason.APART
        )

    def claim(self, turn: Turn) -> list[NodeState]:
        """Keep nodes for a gang that together could hold it, those first that have the most room for it now."""
        state, gang = self._state, self._state.gang_of[turn.head]
        kind, site = turn.job_class.kind, self._site(gang)
        ready = gangs.ready(state, gang)
        placement = Packing(state, self._now_us, empty=True, near=_NEAR + len(ready)).fit(
            counted(ready),
            gangs.needed(gang),
            lambda node, shape: 0 if self._claims.taken(node) else site(node, shape),
            lambda node: -kind.resources.times_in(node.free, _MANY),
            self._beside(gang),
        )
        if placement is None:
            return []
        needs = _by_node(placement)
        at = [ready_at(state, state.nodes[node_id], kept, self._now_us) for node_id, kept in needs.items()]
        self._keep(gang, needs, Ready(max(one.declared_us for one in at), max(one.likely_us for one in at)))
        return [state.nodes[node_id] for node_id in needs]

    def _keep(self, gang: Gang, needs: Mapping[NodeId, Resources], ready: Ready) -> None:
        leader = self._state.jobs[gang.leader]
        for node_id, resources in needs.items():
            self._claims.add(self._state.nodes[node_id], leader.job_class, leader.key, ready, resources)

    def drop_claims(self, key: JobKey) -> None:
        """A gang has its room, or other room is being made for it."""
        for node_id in self._claims.by_node:
            self._claims.drop(node_id, key)

    # --- having room made

    def plan(self, turn: Turn) -> tuple[list[Victim], d.KeepForGang] | None:
        """Whom to ask so that enough of a gang can start, and where it will; None: nobody, or it would not help."""
        gang = self._state.gang_of[turn.head]
        members, _ = self._admitted(gang)
        wanted, least = counted(members), gangs.needed(gang)
        rooms = Packing(self._state, self._now_us)

        def fits(gone: Iterable[Job], used: Used) -> Placement | None:
            return rooms.without(gone, used).fit(
                wanted, least, self._let_after(gang, turn.head), beside=self._beside(gang)
            )

        needs = [job.entry.kind.resources for job in members[: max(1, least)]]
        found = self._search.plan_together(turn.job_class, turn.head, needs, fits)
        if found is None:
            return None
        victims, placement = found
        room = _by_node(placement)
        return victims, d.KeepForGang(gang=gang.name, nodes=tuple(room), resources=tuple(room.values()))

    def _let_after(self, gang: Gang, head: JobKey) -> Let:
        """Nodes that others claim are left to them."""
        site = self._site(gang)

        def let(node: NodeState, shape: Shape) -> int:
            others = [claim for claim in self._claims.by_node.get(node.node.id, ()) if claim.key != head]
            return 0 if others else site(node, shape)

        return let


def _by_node(placement: Placement) -> dict[NodeId, Resources]:
    """What a placement takes of each node."""
    sums: dict[NodeId, dict[str, int]] = {}
    for node_id, shape, count in placement:
        add(sums.setdefault(node_id, {}), shape.kind.resources, count)
    return {node_id: Resources.from_amounts(amounts) for node_id, amounts in sums.items()}


def _anything(_node: NodeState, _shape: Shape) -> int:
    return _MANY
