"""Heads that had no room and whose victims were looked for in vain are *parked*: passed over until something changes.

A long queue has many classes, and in a full cluster nearly all of them wait for room. Nothing changes for one before
some node has more to give than it needs. What counts are the nodes that have changed since it was looked at, and of
those only which have enough: known at once for all classes of a size. Derived; in no snapshot.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from operator import attrgetter

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.ahead import may_wait_ahead
from kos_ray.scheduler.claims import Claims, length_us
from kos_ray.scheduler.gangs import longest_us
from kos_ray.scheduler.jobs import JobClass, Parked
from kos_ray.scheduler.packing import shape_of
from kos_ray.scheduler.rooms import Index, Rooms, Shelf
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.targets import Targets
from kos_ray.scheduler.turns import Heads, Turn

_position = attrgetter("position")
_NOBODY: Sequence[NodeState] = ()
#: changes of nodes
_MUCH = 64
_ROOM_WANTED = (Reason.NO_ROOM, Reason.GANG_NO_ROOM)


class _Look(Enum):
    """What has become of a parked head."""

    AWAKE = 0
    #: it waits for room, and may have no victims
    WAITS = 1
    #: its search for victims would be in vain again
    RESTS = 2
    #: it is to be done in another pass
    TO_SEARCH = 3


class Parking:
    """Who is passed over in one pass."""

    def __init__(self, state: State, now_us: int, claims: Claims, targets: Targets) -> None:
        self._state = state
        self._now_us = now_us
        self._claims = claims
        self._targets = targets
        self._changed: dict[Index, _Changed] = {}
        #: since when the first of all that are parked has looked at no change
        self._oldest = min(map(_position, _parked(state)), default=state.rooms.position)
        #: by size: whether there may be room for it on nodes that somebody claims; and on what that depends
        self._claimed: dict[Shelf, bool] = {}
        self._claimed_at = (-1, -1)

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
        job_class.parked = Parked(turn.head, position, self._run_us(job_class, turn.head), searches, rest)

    def set_aside(self, turn: Turn) -> None:
        """The same for a job for which room is being made, and that has found none elsewhere."""
        self._state.aside.pop(turn.head, None)
        if turn.head in self._state.making and not turn.job_class.name.gang and self._waits_for_room(turn):
            position, run_us = self._state.rooms.position, self._run_us(turn.job_class, turn.head)
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

    def stays(self, job_class: JobClass, head: JobKey, parked: Parked, *, searches: bool) -> bool:
        """Whether a head is still parked. When time may change that is told as it is for searches."""
        found = self._look(job_class, head, parked, searches=searches)
        if found is not _Look.AWAKE:
            self._pass_over(parked, found)
        return found is not _Look.AWAKE

    def all_stay(self, heads: Heads, may_help: Callable[[JobClass], bool]) -> bool:
        """The same of many heads at once; where one of them is not, nothing is known of the others.

        Where much has changed somebody is sure to be awake: then it is not asked, as all would be looked at twice.
        """
        if self._state.rooms.position - self._oldest > _MUCH:
            return False
        found: list[tuple[Parked, _Look]] = []
        queued = self._state.jobs
        for job_class, head in heads:
            parked = job_class.parked
            if parked is None or queued[head].queued is not job_class:
                return False
            look = self._look(job_class, head, parked, searches=may_help(job_class))
            if look is _Look.AWAKE:
                return False
            found.append((parked, look))
        for parked, look in found:
            self._pass_over(parked, look)
        return True

    def _pass_over(self, parked: Parked, look: "_Look") -> None:
        """What has changed by now was of no help."""
        parked.position = self._state.rooms.position
        if look is _Look.TO_SEARCH:
            parked.rest = None
        elif look is _Look.RESTS and parked.rest is not None:
            self._targets.hint(parked.rest.hint_us)

    def _look(self, job_class: JobClass, head: JobKey, parked: Parked, *, searches: bool) -> "_Look":
        """What has become of a head that was parked; nothing is noted."""
        if searches is not parked.searches or self._is_another(job_class, head, parked):
            return _Look.AWAKE
        rest = parked.rest if searches else None
        if rest is not None and rest.until_us <= self._now_us:
            rest = None
        # who could use no node if others gave way has no room there as it is
        index = self._targets.index(job_class) if rest is not None else self._state.rooms.by_room()
        nodes = self._holding(index, parked.position, job_class)
        if nodes and self._may_start(job_class, head, nodes):
            return _Look.AWAKE
        if rest is not None and not (nodes and self._may_search(job_class, head, nodes)):
            return _Look.RESTS
        if not searches:
            return _Look.WAITS
        # others may have searched enough for one pass: it is to be done in another one
        return _Look.TO_SEARCH if self._targets.exhausted() else _Look.AWAKE

    def _is_another(self, job_class: JobClass, head: JobKey, parked: Parked) -> bool:
        """Whether what was known of a head does not hold, whatever has changed on which nodes."""
        if head != parked.head or self._state.taken_nodes:
            return True
        # nodes have come, or marks or settings have changed
        if not self._state.rooms.knows(parked.position) or self._may_queue_ahead(job_class, head):
            return True
        return self._length_counts(job_class) and parked.run_us != self._run_us(job_class, head)

    def _run_us(self, job_class: JobClass, head: JobKey) -> int:
        """For how long a head is taken to run, or the gang that it stands for."""
        state = self._state
        gang_us = longest_us(state, state.gang_of[head]) if job_class.name.gang else None
        return length_us(state, state.jobs[head], gang_us)

    def _length_counts(self, job_class: JobClass) -> bool:
        """Whether there may be room where others claim it: jobs start there that are over in time."""
        rooms, changes = self._state.rooms, self._claims.changes
        if rooms.touched or self._claimed_at != (rooms.position, changes):
            rooms.by_room()  # takes in what was touched
            self._claimed_at = rooms.position, changes
            self._claimed.clear()
        found = self._claimed.get(job_class.size)
        if found is None:
            nodes = [self._state.nodes[node_id] for node_id in self._claims.by_node]
            found = self._claimed[job_class.size] = bool(rooms.by_room().holding(nodes, job_class.size))
        return found

    def _may_queue_ahead(self, job_class: JobClass, head: JobKey) -> bool:
        """Whether a head of short jobs needs no room: it may wait in a lane as well."""
        return may_wait_ahead(self._state, job_class, self._state.jobs[head].entry.mean_us)

    def _may_start(self, job_class: JobClass, head: JobKey, nodes: Sequence[NodeState]) -> bool:
        """Whether one of these nodes has room for a head that is not kept for others."""
        wanted, gang, rooms = job_class.kind.resources, job_class.name.gang, self._state.rooms
        return any(  # what claims let start of a gang depends on all its members: that is left to its turn
            wanted.fits(rooms.room(node)) and (gang or self._claims.times(node, head, wanted, opens=True))
            for node in nodes
        )

    def _may_search(self, job_class: JobClass, head: JobKey, nodes: Sequence[NodeState]) -> bool:
        """Whether on one of these nodes enough may give way."""
        wanted = job_class.kind.resources
        return any(self._targets.may_gain(node, head, wanted) for node in nodes)

    def _holding(self, index: Index, position: int, job_class: JobClass) -> Sequence[NodeState]:
        """The nodes that have changed since and may have what a class needs."""
        changed = self._changed.get(index)
        if changed is None or position < changed.since:
            changed = self._changed[index] = _Changed(self._state.rooms, index, min(position, self._oldest))
        return changed.holding(position, job_class.size)


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
        self._shelves = index.shelves(rooms.may_have_changed(since))
        #: by size: up to which position it was looked at, and which nodes were found
        self._found: dict[Shelf, tuple[int, dict[NodeId, NodeState]]] = {}

    def holding(self, position: int, size: Shelf) -> Sequence[NodeState]:
        """Which of them have changed since a later position and may hold so much."""
        known = self._found.get(size)
        if known is None:
            gpu, cpu, memory = size
            fits = [nodes for (g, c, m), nodes in self._shelves.items() if g >= gpu and c >= cpu and m >= memory]
            known = self._found[size] = self._at, {node.node.id: node for nodes in fits for node in nodes}
        upto, found = known
        if upto < self._rooms.position:
            changed = self._rooms.may_have_changed(upto)
            for node in changed:
                found.pop(node.node.id, None)
            found |= {node.node.id: node for node in self._index.holding(changed, size)}
            self._found[size] = self._rooms.position, found
        return self._rooms.of_those_changed(found.values(), position) if found else _NOBODY


def _parked(state: State) -> Iterator[Parked]:
    """Those whose heads still wait: what was known of one that has started stays until the next of its class."""
    for job_class in state.classes.values():
        parked = job_class.parked
        if parked is not None and state.rooms.knows(parked.position):
            job = state.jobs.get(parked.head)
            if job is not None and job.queued is job_class:
                yield parked


def _of_many_shapes(state: State, turn: Turn) -> bool:
    """Whether a head stands for a gang whose members want different rooms, or sites."""
    gang = state.gang_of.get(turn.head) if turn.job_class.name.gang else None
    return gang is not None and len({shape_of(state.jobs[key]) for key in gang.live}) > 1
