"""Heads that had no room and whose victims were looked for in vain are *parked*: passed over until something changes.

A long queue has many classes, and in a full cluster nearly all of them wait for room. Nothing changes for one before
some node has more to give than it needs. What counts are the nodes that have changed since it was looked at, and of
those only the largest: both are known without looking at the class's own story again. Derived; in no snapshot.
"""

from kos_ray.model.ids import JobKey
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.claims import Claims
from kos_ray.scheduler.jobs import JobClass, Parked
from kos_ray.scheduler.models import expected_us
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
        if job_class.why not in _ROOM_WANTED or not self._waits_for_room(turn):
            return
        if not searches:
            job_class.parked = Parked(turn.head, state.rooms.position, self._run_us(turn.head), None)
        elif rest is not None and rest.until_us > self._now_us:
            job_class.parked = Parked(turn.head, rest.position, self._run_us(turn.head), rest)

    def set_aside(self, turn: Turn) -> None:
        """The same for a job for which room is being made, and that has found none elsewhere."""
        self._state.aside.pop(turn.head, None)
        if turn.head in self._state.making and not turn.job_class.name.gang and self._waits_for_room(turn):
            self._state.aside[turn.head] = Parked(turn.head, self._state.rooms.position, self._run_us(turn.head), None)

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
        head, position, run_us, rest = parked
        if head != turn.head or searches is (rest is None) or state.taken_nodes or run_us != self._run_us(head):
            return False
        by_room = state.rooms.by_room()
        # nodes have come, or marks or settings have changed: whatever was known does not hold
        anew = not state.rooms.knows(position)
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
        parked = Parked(head, state.rooms.position, run_us, rest)
        if turn.nominated:
            state.aside[head] = parked
        else:
            job_class.parked = parked
        return True

    def _run_us(self, head: JobKey) -> int:
        return expected_us(self._state, self._state.jobs[head].entry)

    def _may_start(self, turn: Turn, position: int, by_room: Index) -> bool:
        """Whether a node that has changed since has room for a head that is not kept for others."""
        wanted = turn.job_class.kind.resources
        return any(
            wanted.fits(room_of(node)) and self._claims.times(node, turn.head, wanted, opens=True)
            for node in by_room.holding(self._state.rooms.changed_since(position) or (), wanted)
        )

    def _may_search(self, turn: Turn, position: int, index: Index) -> bool:
        """Whether on a node that has changed since enough may give way."""
        wanted = turn.job_class.kind.resources
        return any(
            self._targets.may_gain(node, turn.head, wanted)
            for node in index.holding(self._state.rooms.changed_since(position) or (), wanted)
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
