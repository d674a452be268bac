"""Heads that had no room and whose victims were looked for in vain are *parked*: passed over until something changes.

A long queue has many classes, and in a full cluster nearly all of them wait for room. Nothing changes for one before
some node has more to give than it needs. What counts are the nodes that have changed since it was looked at, and of
those only which have enough: known at once for all classes of a size. Derived; in no snapshot.
"""

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.scheduler.claims import Claims, length_us
from kos_ray.scheduler.jobs import Parked, Rest
from kos_ray.scheduler.packing import shape_of
from kos_ray.scheduler.rooms import Index, Rooms, Shelf, room_of, shelf_of
from kos_ray.scheduler.slots import ahead_lanes
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.targets import Targets
from kos_ray.scheduler.turns import Turn

_ROOM_WANTED = (Reason.NO_ROOM, Reason.GANG_NO_ROOM)


class Parking:
    """Who is passed over in one pass."""

    def __init__(self, state: State, now_us: int, claims: Claims, targets: Targets) -> None:
        self._state = state
        self._now_us = now_us
        self._claims = claims
        self._targets = targets
        self._changed: dict[Index, _Changed] = {}
        #: what nodes have at a position
        self._rooms: dict[NodeId, dict[str, int]] = {}
        self._rooms_at = -1

    def park(self, turn: Turn, *, searches: bool) -> None:
        """A head has no room; `searches`: it may have victims."""
        state, job_class = self._state, turn.job_class
        rest = job_class.rests.get(turn.head)
        job_class.parked = None
        if job_class.why not in _ROOM_WANTED or not self._waits_for_room(turn):
            return
        if rest is not None and rest.until_us <= self._now_us:
            rest = None
        position = rest.position if rest is not None else state.rooms.position
        job_class.parked = Parked(turn.head, position, self._run_us(turn.head), searches, rest)

    def set_aside(self, turn: Turn) -> None:
        """The same for a job for which room is being made, and that has found none elsewhere."""
        self._state.aside.pop(turn.head, None)
        if turn.head in self._state.making and not turn.job_class.name.gang and self._waits_for_room(turn):
            position, run_us = self._state.rooms.position, self._run_us(turn.head)
            self._state.aside[turn.head] = Parked(turn.head, position, run_us, searches=False, rest=None)

    def forget_placed(self) -> None:
        """Of those that were set aside, know only whom room is still being made for."""
        state = self._state
        if state.aside:
            state.aside = {key: parked for key, parked in state.aside.items() if key in state.making}

    def _waits_for_room(self, turn: Turn) -> bool:
        """Whether only room on nodes is what a head waits for, so that nothing changes for it before a node does."""
        state, job_class = self._state, turn.job_class
        if state.tree.matters or state.taken_nodes or state.windows or job_class.special:
            return False
        return len(job_class.kinds) == 1 and not _of_many_shapes(state, turn)

    def parked(self, turn: Turn) -> Parked | None:
        """What is known of a head that had no room."""
        if turn.nominated:
            return self._state.aside.get(turn.head) if turn.head in self._state.making else None
        return turn.job_class.parked

    def stays(self, turn: Turn, *, searches: bool) -> bool:
        """Whether a head is still parked. When time may change that is told as it is for searches."""
        job_class, state, parked = turn.job_class, self._state, self.parked(turn)
        if parked is None:
            return False
        head, position, run_us, _, rest = parked
        if head != turn.head or searches is not parked.searches or state.taken_nodes or run_us != self._run_us(head):
            return False
        by_room = state.rooms.by_room()
        # nodes have come, or marks or settings have changed: whatever was known does not hold
        anew = not state.rooms.knows(position) or self._may_queue_ahead(turn)
        if anew or self._may_start(turn, position, by_room):
            return False
        if searches and not self._rests(turn, position, rest):
            if not self._targets.exhausted():
                return False
            rest = None  # others searched enough for one pass: it is to be done in another one
        # what has changed by now was of no help
        parked = Parked(head, state.rooms.position, run_us, searches, rest)
        if turn.nominated:
            state.aside[head] = parked
        else:
            job_class.parked = parked
        return True

    def _rests(self, turn: Turn, position: int, rest: Rest | None) -> bool:
        """Whether a search for victims would be in vain again."""
        if rest is None or rest.until_us <= self._now_us:
            return False
        index = self._targets.index(turn.job_class)
        if self._may_search(turn, position, index):
            return False
        self._targets.hint(rest.hint_us)
        return True

    def _run_us(self, head: JobKey) -> int:
        return length_us(self._state, self._state.jobs[head])

    def _may_start(self, turn: Turn, position: int, by_room: Index) -> bool:
        """Whether a node that has changed since has room for a head that is not kept for others."""
        wanted, gang = turn.job_class.kind.resources, turn.job_class.name.gang
        return any(  # what claims let start of a gang depends on all its members: that is left to its turn
            wanted.fits(self._room(node)) and (gang or self._claims.times(node, turn.head, wanted, opens=True))
            for node in self._holding(by_room, position, wanted)
        )

    def _may_queue_ahead(self, turn: Turn) -> bool:
        """Whether a head of short jobs needs no room: it may wait in a lane as well."""
        estimate_us = self._state.jobs[turn.head].entry.mean_us
        return any(ahead_lanes(self._state, turn.job_class.kind, estimate_us))

    def _may_search(self, turn: Turn, position: int, index: Index) -> bool:
        """Whether on a node that has changed since enough may give way."""
        wanted = turn.job_class.kind.resources
        return any(self._targets.may_gain(node, turn.head, wanted) for node in self._holding(index, position, wanted))

    def _holding(self, index: Index, position: int, wanted: Resources) -> list[NodeState]:
        """The nodes that have changed since and may have what a class needs."""
        changed = self._changed.get(index)
        if changed is None or position < changed.since:
            at = [found.parked.position for found in self._state.classes.values() if found.parked]
            since = min((position, *filter(self._state.rooms.knows, at)))
            changed = self._changed[index] = _Changed(self._state.rooms, index, since)
        return changed.holding(position, wanted)

    def _room(self, node: NodeState) -> dict[str, int]:
        position = self._state.rooms.position
        if position != self._rooms_at:
            self._rooms_at = position
            self._rooms.clear()
        room = self._rooms.get(node.node.id)
        if room is None:
            room = self._rooms[node.node.id] = room_of(node)
        return room


class _Changed:
    """The nodes that have changed since a position, by what one index says of them.

    Which of them may hold so much is found once for all classes of a size, and looked at again for those alone that
    change meanwhile: in a full cluster it is hardly any.
    """

    def __init__(self, rooms: Rooms, index: Index, since: int) -> None:
        self.since = since
        self._rooms = rooms
        self._index = index
        self._at = rooms.position
        self._shelves = index.shelves(rooms.changed_since(since) or ())
        #: by size: up to which position it was looked at, and which nodes were found
        self._found: dict[Shelf, tuple[int, dict[NodeId, NodeState]]] = {}

    def holding(self, position: int, wanted: Resources) -> list[NodeState]:
        """Which of them have changed since a later position and may hold so much."""
        size = shelf_of(wanted)
        known = self._found.get(size)
        if known is None:
            gpu, cpu, memory = size
            fits = [nodes for (g, c, m), nodes in self._shelves.items() if g >= gpu and c >= cpu and m >= memory]
            known = self._found[size] = self._at, {node.node.id: node for nodes in fits for node in nodes}
        upto, found = known
        if upto < self._rooms.position:
            changed = self._rooms.changed_since(upto) or ()
            found |= {node.node.id: node for node in self._index.holding(changed, wanted)}
            self._found[size] = self._rooms.position, found
        if not found:
            return []
        return [node for node in self._index.holding(found.values(), wanted) if self._rooms.has_changed(node, position)]


def _of_many_shapes(state: State, turn: Turn) -> bool:
    """Whether a head stands for a gang whose members want different rooms, or sites."""
    gang = state.gang_of.get(turn.head) if turn.job_class.name.gang else None
    return gang is not None and len({shape_of(state.jobs[key]) for key in gang.live}) > 1
