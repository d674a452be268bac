"""Where waiting jobs go: whoever's turn it is, to the best node; and room kept, or made, for a head that does not fit.

A pass takes the turns in order (`turns.py`). A head that cannot be placed has others asked to make room for it where it
has a right to that (`evict.py`); else it *claims* the node where it can start first: jobs behind it use that node
only where they do not delay it (`claims.py`).
"""

from collections.abc import Iterable, Iterator

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import fgd, gates
from kos_ray.scheduler.ahead import Ahead
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.claims import NEVER, Claims, earliest
from kos_ray.scheduler.evict import Search
from kos_ray.scheduler.fit import kinds_of, pausing, usable, why_not
from kos_ray.scheduler.gang_place import GangTurns
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.ledger import launch
from kos_ray.scheduler.models import slot_end_us
from kos_ray.scheduler.nominations import of_no_use
from kos_ray.scheduler.parking import Parking
from kos_ray.scheduler.queues import drop_unused, first_ready, place_in_class, take_first
from kos_ray.scheduler.recalls import Recalls
from kos_ray.scheduler.score import best_fits, in_rotation, liked_best
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.slots import Slots
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.turns import Heads, Turn, Turns, turns_of
from kos_ray.scheduler.victims import evictions


class Pass:
    """One placement pass. It changes the state as it goes and remembers what it did as decisions."""

    def __init__(self, state: State, now_us: int, before: "Pass | None" = None) -> None:
        """`before`: the pass at the same instant that this one goes on from; what that started is no victim."""
        self.state = state
        self.now_us = now_us
        self.launched: dict[tuple[NodeId, SlotKind], list[JobKey]] = {}
        self.slots = Slots(state, now_us)
        self.evictions: list[d.Decision] = []
        self.claims = Claims(state, now_us)
        self.sites = Sites(state, now_us)
        self._search = Search(state, self.claims, self.sites, now_us)
        if before is not None:
            self._search.rights.fresh |= before.started()
        self.recalls = Recalls(state, now_us, self._search.rights.fresh)
        self._gangs = GangTurns(state, self.claims, self.sites, self._search, now_us, self.slots.resize, self._launch)
        self._parking = Parking(state, now_us, self.claims, self._search.targets)
        self._ahead = Ahead(state)
        #: where jobs of a class have started in this pass
        self._last: dict[JobClass, NodeState] = {}
        self._claims_max = min(state.policy.claims_max, len(state.nodes))  # nobody claims a node that is claimed
        self._claimed = 0
        #: how often claims had changed when nodes were told of them
        self._compared = -1
        self._given_up: list[d.Decision] = []
        self._refill_us: int | None = None

    def run(self) -> list[d.Decision]:
        """Let idle slots go whose time is over; then place what can be placed, in order."""
        self.state.rooms.tick(self.now_us)
        self.slots.release_taken()
        self.slots.release_idle()
        drop_unused(self.state)
        self._parking.forget_placed()
        idle_kinds = set(self.state.idle_lanes)
        for job_class in self.state.classes.values():
            job_class.why = Reason.NONE
        self._keep_what_was_made()
        turns = Turns(self.state, self.now_us, idle_kinds.__contains__, self._all_stay)
        while (turn := turns.next()) is not None:
            if self._waits_for_others(turn):
                turns.placed()
                continue
            if self._passes_over(turn):
                turns.pass_over()
                continue
            turns.bound(turn)
            if self._place(turn) or self._make_room(turn):
                turns.placed()
            else:
                self._hold(turn)
                turns.pass_over()
        while self.sites.somebody_came():
            self._follow()
        self._compare_claims()
        slot_us = slot_end_us(self.state, self.now_us)
        hints = [self._search.targets.retry_us, self._refill_us, self.sites.opens_us, slot_us]
        self.state.retry_us = min((at_us for at_us in hints if at_us is not None), default=None)
        return self._decisions()

    def _keep_what_was_made(self) -> None:
        """Room that others have made, or make, is claimed; but for what is of no use any more."""
        self._given_up = of_no_use(self.state, self.sites, self._gangs.may_start_there)
        for decision in self._given_up:
            apply_decision(self.state, decision, self.now_us)
        for key, node_id in self.state.nominated.items():
            if not self._gangs.keep_made(key):
                self.claims.add(self.state.nodes[node_id], self.state.jobs[key].job_class, key, NEVER)

    def _waits_for_others(self, turn: Turn) -> bool:
        """Whether a head has lost its turn in this pass: its gang was stopped to make room, and waits as a whole."""
        if turn.nominated:
            return turn.head not in self.state.nominated
        return self.state.jobs[turn.head].queued is not turn.job_class

    def _all_stay(self, heads: Heads) -> bool:
        """Whether nothing has changed for any of these heads, so that none of them needs a turn."""
        if self._claimed < self._claims_max:
            return False
        self._compare_claims()
        stay = self._parking.all_stay(heads, self._search.may_help)
        for job_class, _ in heads if stay else ():
            job_class.why = _no_room(job_class)
        return stay

    def _passes_over(self, turn: Turn) -> bool:
        """Whether nothing has changed for a head that had no room, and no node is to be claimed for it."""
        if self._claimed < self._claims_max and not turn.nominated:
            return False
        parked = self._parking.parked(turn)
        if parked is None:
            return False
        self._compare_claims()
        searches = not turn.nominated and self._search.may_help(turn.job_class)
        if not self._parking.stays(turn.job_class, turn.head, parked, searches=searches):
            return False
        if not turn.nominated:
            turn.job_class.why = _no_room(turn.job_class)
        return True

    def _compare_claims(self) -> None:
        """Nodes that are claimed for others than before have changed."""
        if self._compared != self.claims.changes:
            self._compared = self.claims.changes
            self.state.rooms.compare_claims(self.claims.names())

    def _follow(self) -> None:
        """Let those have their turn again that wait to be near others: somebody has come since."""
        for turn in turns_of(self.state, Reason.NEAR, self.now_us):
            turn.job_class.why = Reason.NONE
            while self._place(turn):
                head = first_ready(self.state, turn.job_class)
                if head is None:
                    break
                turn.head = head
            else:
                self._hold(turn)

    # --- one turn

    def _place(self, turn: Turn) -> bool:
        """Start jobs of a turn in one lane, as many as may, or a whole gang; False: no room."""
        if turn.job_class.name.gang:
            return self._gangs.place(turn)
        at_most, why = gates.room(self.state, turn.job_class, self.now_us)
        at_most = min(at_most, 1 if turn.job_class.rotates else turn.at_most)
        if at_most <= 0:
            turn.job_class.why = why
            return False
        for kind in kinds_of(self.state, turn.job_class):
            turn.kind = kind
            if self._start(turn, at_most):
                return True
        return False

    def _start(self, turn: Turn, at_most: int) -> bool:
        """The same in slots of one kind."""
        started = False
        for node, room in self._rooms(turn):
            keys = self._take(turn, min(room, at_most))
            self._start_on(node, turn.kind, keys)
            self.sites.came = self.sites.came or bool(turn.job_class.name.words)
            started, at_most = True, at_most - len(keys)
            if at_most <= 0 or turn.nominated or not self._goes_on(turn):
                return True
        return started or (not turn.nominated and self._queue_ahead(turn, at_most))

    def _goes_on(self, turn: Turn) -> bool:
        """Whether the next job of a turn may start on the next node: all nodes are alike to it, and it is its turn."""
        state, job_class = self.state, turn.job_class
        if job_class.special or state.windows or self.sites.chooses(job_class):
            return False
        head = first_ready(state, job_class)
        if head is None or place_in_class(job_class, head) >= turn.before:
            return False
        turn.head = head
        return True

    def _start_on(self, node: NodeState, kind: SlotKind, keys: list[JobKey]) -> None:
        lane = node.lanes.get(kind)
        slots, idle = (lane.slots, lane.idle) if lane else (0, 0)
        if len(keys) > idle:
            self.slots.resize(node, kind, slots + len(keys) - idle, Reason.NONE)
        self._launch(node, kind, keys)

    def _rooms(self, turn: Turn) -> Iterable[tuple[NodeState, int]]:
        """Nodes and how many jobs they can start at once: idle slots first, then best fit, then by closing others'."""
        kind = turn.kind
        if turn.job_class.rotates:
            yield from in_rotation(self.state, self.sites, turn, self._fits_anew, self._let)
        yield from liked_best(self.state, self.sites, turn, self._fits_anew, self._let)
        for node_id in list(self.state.idle_lanes.get(kind, ())):
            node = self.state.nodes[node_id]
            times = self._let(node, turn, opens=False)
            if times:
                yield node, min(times, node.lanes[kind].idle)
        yield from self._new_slots(turn)
        if self.state.idle_lanes and self.slots.quota(kind):
            for node in self.state.rooms.by_room().large_enough(kind.resources):
                idle = any(lane.noted for lane in node.lanes.values())
                if idle and self._let(node, turn) and self.slots.close_idle(node, kind):
                    yield node, 1

    def _new_slots(self, turn: Turn) -> Iterator[tuple[NodeState, int]]:
        """Nodes and how many slots can be opened there, as far as quota goes."""
        kind = turn.kind
        quota = self.slots.quota(kind)
        if not quota and not self._search.lacks_quota(kind, turn.head):
            quota = int(self.slots.close_for_quota(kind))
        if not quota:
            return
        for node, times in best_fits(self.state, turn, self._last, self._times):
            yield node, min(quota, times)
            quota = self.slots.quota(kind)
            if not quota:
                return

    def _times(self, node: NodeState, turn: Turn) -> int:
        """How many slots of a turn's kind may be opened on a node."""
        times = self._fits_anew(node, turn.kind)
        return times and min(times, self._let(node, turn))

    def _fits_anew(self, node: NodeState, kind: SlotKind) -> int:
        """The same as far as its room goes."""
        if pausing(node, kind, self.now_us):
            return 0
        times = kind.resources.times_in(usable(self.state, node, kind), self.slots.slots_left(node, kind))
        return times and fgd.times(node, kind, times)

    def _let(self, node: NodeState, turn: Turn, *, opens: bool = True) -> int:
        """How many jobs of a turn a node, and the claims on it, let start there."""
        most = self.sites.times(node, turn.job_class, turn.kind, turn.head)
        return most and min(most, self.claims.times(node, turn.head, turn.kind.resources, opens=opens))

    def _take(self, turn: Turn, room: int) -> list[JobKey]:
        """Take up to `room` jobs of a turn out of their queue."""
        if turn.nominated:
            self.claims.drop(self.state.nominated[turn.head], turn.head)
            return [turn.head]
        state, job_class = self.state, turn.job_class
        keys: list[JobKey] = []
        while len(keys) < room and (head := first_ready(state, job_class)) is not None:
            if place_in_class(job_class, head) >= turn.before:
                break
            take_first(state, job_class)
            keys.append(head)
        return keys

    # --- queueing ahead

    def _queue_ahead(self, turn: Turn, at_most: int) -> bool:
        """Give one run of short jobs to the lane that will be free first, so that its slots never wait for us."""
        found = self._ahead.lane(turn, lambda node: self._let_ahead(node, turn))
        if found is None:
            return False
        node, room = found[0], min(at_most, found[1])
        keys = self._take(turn, max(1, room // 2) if len(self.state.nodes) > 1 else room)
        self._ahead.took(turn, len(keys))
        self._launch(node, turn.kind, keys)
        return True

    def _let_ahead(self, node: NodeState, turn: Turn) -> int:
        """How many may wait: they start later, and might outlive a window; what a claimer wants is asked back."""
        bounded = self.sites.bounded(node, turn.job_class) or self.claims.holds_off(node, turn.head)
        return 0 if bounded else self._let(node, turn, opens=False)

    # --- a head that does not fit

    def _make_room(self, turn: Turn) -> bool:
        """Ask others to make room for a head, if it has a right to that; it is set aside until they have."""
        job_class, state = turn.job_class, self.state
        if job_class.why is not Reason.NONE or (turn.nominated and turn.head in state.making):
            return False
        if job_class.name.gang:
            return self._make_room_for_gang(turn)
        plan = self._search.plan(job_class, turn.head)
        if plan is None:
            return False
        if not turn.nominated:
            take_first(state, job_class)
        self._decide(*evictions(state, plan.victims, turn.head, plan.node))
        self.claims.add(state.nodes[plan.node], job_class, turn.head, NEVER)
        self.recalls.ahead(state.nodes[plan.node], turn)
        return True

    def _make_room_for_gang(self, turn: Turn) -> bool:
        found = self._gangs.plan(turn)
        if found is None:
            return False
        victims, keep = found
        if turn.nominated:
            self._gangs.drop_claims(turn.head)
        else:
            take_first(self.state, turn.job_class)
        self._decide(keep, *evictions(self.state, victims, turn.head, keep.nodes[0]))
        self._gangs.keep_made(turn.head)
        for node in keep.nodes:
            self.recalls.ahead(self.state.nodes[node], turn)
        return True

    def _decide(self, *decisions: d.Decision) -> None:
        for decision in decisions:
            apply_decision(self.state, decision, self.now_us)
        self.evictions += decisions

    def _hold(self, turn: Turn) -> None:
        """Say why a head waits, and keep the node for it where it can start first."""
        job_class, state = turn.job_class, self.state
        if job_class.why is Reason.RATE_LIMIT:
            demands = self._gangs.demands(turn.head) if job_class.name.gang else job_class.demands
            due_us = gates.refill_us(state, demands, self.now_us)
            if due_us is not None:
                self._refill_us = due_us if self._refill_us is None else min(self._refill_us, due_us)
        if turn.nominated:
            self._parking.set_aside(turn)
            return
        if job_class.why is Reason.NONE:
            why = self._gangs.why_not(turn) if job_class.name.gang else None
            job_class.why = why or why_not(state, job_class, turn.head, self._search, self.sites, self.now_us)
        self._parking.park(turn, searches=self._search.may_help(job_class))
        if self._claimed < self._claims_max:
            self._claim(turn)

    def _claim(self, turn: Turn) -> None:
        job_class, state = turn.job_class, self.state
        if job_class.why is Reason.GANG_NO_ROOM:
            kept = self._gangs.claim(turn)
            self._claimed += bool(kept)
            for node in kept:
                self.recalls.ahead(node, turn)
        if job_class.why is not Reason.NO_ROOM:
            return
        found = earliest(state, self.claims, self.sites, job_class, turn.head, self.now_us)
        if found is None:
            return
        ready, node = found
        self._claimed += 1
        self.claims.add(node, job_class, turn.head, ready)
        self.recalls.ahead(node, turn)

    # --- what was done

    def _launch(self, node: NodeState, kind: SlotKind, keys: list[JobKey]) -> None:
        launch(self.state, node.node.id, kind, keys, self.now_us)
        self.launched.setdefault((node.node.id, kind), []).extend(keys)
        self._search.rights.fresh.update(keys)

    def _decisions(self) -> list[d.Decision]:
        """Resizes, launches, recalls, in columns. A launch carries its lane's slots, so its resize is not repeated."""
        state = self.state
        found: list[d.Decision] = []
        for (node_id, kind), reason in self.slots.resized.items():
            if (node_id, kind) not in self.launched:
                lane = state.nodes[node_id].lanes.get(kind)
                slots = lane.slots if lane else 0
                found.append(d.ResizeSlots(node=node_id, kind=kind, slots=slots, reason=reason))
        for (node_id, kind), keys in self.launched.items():
            found.append(
                d.Launch(
                    node=node_id,
                    kind=kind,
                    slots=state.nodes[node_id].lanes[kind].slots,
                    keys=tuple(keys),
                    attempts=tuple([state.jobs[key].attempt for key in keys]),
                )
            )
        return [*self._given_up, *self._gangs.starts, *found, *self.evictions, *self.recalls.decisions]

    def started(self) -> set[JobKey]:
        """What was started at this instant."""
        return self._search.rights.fresh

    @property
    def joining(self) -> bool:
        """Whether a gang has started of which others may join: they have their turns in a pass of their own."""
        return self._gangs.joining


def _no_room(job_class: JobClass) -> Reason:
    """Why a head waits that has no room."""
    return Reason.GANG_NO_ROOM if job_class.name.gang else Reason.NO_ROOM


_MANY = 1 << 30
