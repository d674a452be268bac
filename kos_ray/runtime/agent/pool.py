"""The queue of one slot kind, and the slots that empty it."""

from heapq import heappop, heappush

from kos_ray.model.ids import JobKey
from kos_ray.model.job import SlotKind
from kos_ray.runtime.agent.attempt import Attempt, Stage
from kos_ray.runtime.agent.slot_end import SlotEnd

_WAITING = Stage.WAITING


class Pool:
    """Attempts of one kind by (rank, key), and the kind's slots by id."""

    def __init__(self, kind: SlotKind) -> None:
        self.kind = kind
        #: how many slots the scheduler wants
        self.wanted = 0
        #: whether its code bundle is on the node
        self.ready = not kind.code
        self.fetching = False
        self.slots: dict[str, SlotEnd] = {}
        #: attempts in the queue, and attempts whose blobs are on their way
        self.waiting = 0
        self.preparing = 0
        #: loop time since when attempts wait without a single connected slot, None when they do not
        self.starving_since: float | None = None
        #: slots in a row that ended before they connected
        self.failed_starts = 0
        self._heap: list[tuple[int, JobKey, int, Attempt]] = []

    @property
    def connected(self) -> int:
        """Slots that are there."""
        return sum(slot.connected for slot in self.slots.values())

    @property
    def empty(self) -> bool:
        """Nothing is wanted, held or running."""
        return not (self.wanted or self.slots or self.waiting or self.preparing)

    def push(self, attempt: Attempt) -> None:
        """Put an attempt into the queue; its stage is `WAITING`."""
        heappush(self._heap, (attempt.rank, attempt.key, attempt.number, attempt))
        self.waiting += 1

    def dropped(self) -> None:
        """An attempt of the queue has ended: its entry is passed over when it comes up."""
        self.waiting -= 1
        if len(self._heap) > 1000 and len(self._heap) > 4 * self.waiting:
            self._heap = [entry for entry in self._heap if entry[3].stage is _WAITING]
            self._heap.sort()

    def waiting_attempts(self) -> list[Attempt]:
        """Everything in the queue, in order."""
        return [entry[3] for entry in sorted(self._heap) if entry[3].stage is _WAITING]

    def take_back(self, slot: SlotEnd) -> int:
        """Put what a slot has not entered back into the queue; returns how many."""
        taken = slot.take_back()
        for attempt in taken:
            self.push(attempt)
        return len(taken)

    def fill(self, slot: SlotEnd, at_most: int | None = None) -> None:
        """Hand the first attempts of the queue to a slot, as many as it may have ahead, but never its peers' share."""
        if not self.waiting or not slot.open:
            return
        share = self.waiting // len(self.slots) + 1
        room = min(slot.target, share, at_most or share) - len(slot.handed)
        heap = self._heap
        while room > 0 and heap:
            attempt = heap[0][3]
            if attempt.stage is _WAITING:
                if not slot.hand(attempt):
                    return
                self.waiting -= 1
                room -= 1
            heappop(heap)

    def fill_all(self) -> None:
        """Hand one attempt to every idle slot, then more to those that may have more."""
        if not self.waiting:
            return
        for slot in self.slots.values():
            if not slot.handed:
                self.fill(slot, at_most=1)
        for slot in self.slots.values():
            if not self.waiting:
                return
            self.fill(slot)

    def starts_due(self) -> int:
        """How many slots to start now."""
        if not self.ready or not self.waiting:
            return 0
        starting = len(self.slots) - self.connected
        return max(0, min(self.wanted - len(self.slots), self.waiting - starting))

    def surplus(self) -> list[SlotEnd]:
        """The slots to close first so that no more than wanted stay: not connected, then idle, then busy ones."""
        staying = [slot for slot in self.slots.values() if not slot.closing]
        count = len(staying) - self.wanted
        if count <= 0:
            return []
        staying.sort(key=lambda slot: (slot.connected, bool(slot.handed), -slot.started_at))
        return staying[:count]
