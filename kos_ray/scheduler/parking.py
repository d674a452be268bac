"""Heads that had no room and whose victims were looked for in vain are *parked*: passed over until something changes.

A long queue has many classes, and in a full cluster nearly all of them wait for room. Nothing changes for one before
some node has more to give than it needs. What counts are the nodes that have changed since it was looked at, and of
those only the largest: both are known without looking at the class's own story again. Derived; in no snapshot.
"""

from kos_ray.model.reasons import Reason
from kos_ray.scheduler.claims import Claims
from kos_ray.scheduler.jobs import JobClass
from kos_ray.scheduler.packing import shape_of
from kos_ray.scheduler.rooms import Index, Shelf, room_of
from kos_ray.scheduler.state import State
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
        #: by index and span of changes: the most that nodes that changed in it have to give
        self._largest: dict[tuple[int, int, int], Shelf] = {}

    def park(self, turn: Turn, *, searches: bool) -> None:
        """A head has no room; `searches`: it may have victims."""
        state, job_class = self._state, turn.job_class
        rest = job_class.rests.get(turn.head)
        job_class.parked = None
        if state.tree.matters or state.taken_nodes or state.windows or job_class.special:
            return
        if job_class.why not in _ROOM_WANTED or len(job_class.kinds) > 1 or _of_many_shapes(state, turn):
            return  # what it waits for is not only room on nodes
        if not searches:
            job_class.parked = (turn.head, state.rooms.position, None)
        elif rest is not None and rest.until_us > self._now_us:
            job_class.parked = (turn.head, rest.position, rest)

    def stays(self, turn: Turn, *, searches: bool) -> bool:
        """Whether a head is still parked. When time may change that is told as it is for searches."""
        job_class = turn.job_class
        if job_class.parked is None or turn.nominated:
            return False
        head, position, rest = job_class.parked
        if head != turn.head or searches is (rest is None) or self._state.taken_nodes:
            return False
        by_room = self._state.rooms.by_room()
        # nodes have come, or marks or settings have changed: whatever was known does not hold
        anew = not self._state.rooms.knows(position)
        if anew or (self._may_fit(job_class, position, by_room) and self._may_start(turn, position, by_room)):
            return False
        if rest is not None:
            if rest.until_us <= self._now_us:
                return False
            index = self._targets.index(job_class)
            if self._may_fit(job_class, position, index) and self._may_search(turn, position, index):
                return False
            self._targets.hint(rest.hint_us)
        # what has changed by now was of no help
        job_class.parked = (head, self._state.rooms.position, rest)
        return True

    def _may_start(self, turn: Turn, position: int, by_room: Index) -> bool:
        """Whether a node that has changed since has room for a head that is not kept for others."""
        wanted = turn.job_class.kind.resources
        return any(
            by_room.holds(node, wanted)
            and wanted.fits(room_of(node))
            and self._claims.times(node, turn.head, wanted, opens=True)
            for node in self._state.rooms.changed_since(position) or ()
        )

    def _may_search(self, turn: Turn, position: int, index: Index) -> bool:
        """Whether on a node that has changed since enough may give way."""
        wanted = turn.job_class.kind.resources
        return any(
            index.holds(node, wanted) and wanted.fits(self._targets.most(node, turn.head))
            for node in self._state.rooms.changed_since(position) or ()
        )

    def _may_fit(self, job_class: JobClass, position: int, index: Index) -> bool:
        """Whether a node that has changed since may have what a class needs."""
        rooms = self._state.rooms
        name = (id(index), position, rooms.position)
        if name not in self._largest:
            self._largest[name] = index.largest(rooms.changed_since(position) or ())
        return index.within(job_class.kind.resources, self._largest[name])


def _of_many_shapes(state: State, turn: Turn) -> bool:
    """Whether a head stands for a gang whose members want different rooms, or sites."""
    gang = state.gang_of.get(turn.head) if turn.job_class.name.gang else None
    return gang is not None and len({shape_of(state.jobs[key]) for key in gang.live}) > 1
