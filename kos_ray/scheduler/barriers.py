"""Barriers as they stand: who takes part, and who waits for the others.

A round is over when all who take part have come (as many as were said at first, less those who are done), or in
batches when so many have come, or one has waited long enough. What is lost breaks the barrier for good, or is left
out, as was said; a broken one is forgotten when all have left it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from kos_ray.model.barriers import (
    BarrierDecision,
    BarrierEvent,
    BarrierJoined,
    BarrierLeft,
    BreakBarrier,
    OnLoss,
    OpenBarrier,
)
from kos_ray.model.reasons import Reason
from kos_ray.model.wire import from_plain, to_plain


@dataclass(slots=True)
class Member:
    """A party as it stands: it has come `reached` times, and gone on `passed` times."""

    said: BarrierJoined
    reached: int = 0
    passed: int = 0
    until_us: int = 0
    #: the last round that it went on with
    round: int = 0

    @property
    def waits(self) -> bool:
        """Whether it waits for the others."""
        return self.reached > self.passed


@dataclass(slots=True)
class Barrier:
    """One barrier. `parties` is how many are to come: less with each that is done, or left out."""

    parties: int
    batch: bool
    on_loss: OnLoss
    round: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    #: tickets of those who wait, as they came
    waiting: dict[str, None] = field(default_factory=dict)
    #: why it is broken, and words; NONE: it is whole
    broken: Reason = Reason.NONE
    told: str = ""


@dataclass(slots=True)
class Barriers:
    """All of them."""

    by_name: dict[str, Barrier] = field(default_factory=dict)
    #: by ticket; derived
    members: dict[str, Member] = field(default_factory=dict)
    #: a heap of `(until_us, ticket)`, with stale entries; derived
    due: list[tuple[int, str]] = field(default_factory=list)
    #: empty between steps: barriers of which something has changed, and the first loss of those that break
    touched: dict[str, None] = field(default_factory=dict)
    losses: dict[str, str] = field(default_factory=dict)

    # --- what happened

    def fold(self, event: BarrierEvent) -> None:
        """An event."""
        if isinstance(event, BarrierJoined):
            self._joined(event)
        elif isinstance(event, BarrierLeft):
            self.left(event.tickets, lost=event.lost)
        elif event.ticket in self.members:
            member = self.members[event.ticket]
            if event.number == member.passed + 1 > member.reached:
                member.reached, member.until_us = event.number, event.until_us
                self.by_name[member.said.barrier].waiting[event.ticket] = None
                self.touched[member.said.barrier] = None
                self.note_due(member)

    def left(self, tickets: Iterable[str], *, lost: bool) -> None:
        """Parties are done, or lost."""
        for ticket in tickets:
            member = self.members.pop(ticket, None)
            if member is None:
                continue
            name = member.said.barrier
            barrier = self.by_name[name]
            del barrier.members[ticket]
            barrier.waiting.pop(ticket, None)
            if not barrier.batch:
                barrier.parties -= 1
            if lost and barrier.on_loss is OnLoss.BREAK and not barrier.broken:
                self.losses.setdefault(name, member.said.party.told or member.said.party.id)
            self.touched[name] = None
            if not barrier.members:
                del self.by_name[name]

    def _joined(self, event: BarrierJoined) -> None:
        if event.ticket in self.members:
            return
        barrier = self.by_name.setdefault(event.barrier, Barrier(event.parties, event.batch, OnLoss(event.on_loss)))
        member = Member(event)
        self.members[event.ticket] = barrier.members[event.ticket] = member
        if not barrier.batch:  # one that was lost may come back
            barrier.parties = max(barrier.parties, len(barrier.members))

    def note_due(self, member: Member) -> None:
        """Write down until when a party waits."""
        if member.until_us and member.waits:
            heappush(self.due, (member.until_us, member.said.ticket))

    # --- what was decided

    def apply(self, decision: BarrierDecision) -> None:
        """A decision."""
        barrier = self.by_name[decision.barrier]
        if isinstance(decision, BreakBarrier):
            barrier.broken, barrier.told = Reason(decision.reason), decision.told
            barrier.waiting.clear()
            return
        barrier.round = decision.round
        for ticket in decision.tickets:
            del barrier.waiting[ticket]
            member = barrier.members[ticket]
            member.passed, member.round = member.reached, decision.round

    # --- what is to be decided

    def is_due(self, now_us: int) -> bool:
        """Whether something is to be decided."""
        return bool(self.touched or (self.due and self.due[0][0] <= now_us))

    def decide(self, now_us: int) -> Iterator[BarrierDecision]:
        """Decisions one after another; each is to be folded before the next one is asked for."""
        while self.touched:
            name = next(iter(self.touched))
            del self.touched[name]
            lost = self.losses.pop(name, "")
            barrier = self.by_name.get(name)
            if barrier is None or barrier.broken:
                continue
            if lost:
                yield BreakBarrier(barrier=name, reason=Reason.PARTY_LOST, told=f"{lost} was lost")
                continue
            while barrier.waiting and len(barrier.waiting) >= barrier.parties:
                tickets = tuple(barrier.waiting)[: barrier.parties]
                yield OpenBarrier(barrier=name, round=barrier.round + 1, tickets=tickets)
        while self.due and self.due[0][0] <= now_us:
            until_us, ticket = heappop(self.due)
            member = self.members.get(ticket)
            if member is None or not member.waits or member.until_us != until_us:
                continue
            name = member.said.barrier
            barrier = self.by_name[name]
            if barrier.batch:
                yield OpenBarrier(barrier=name, round=barrier.round + 1, tickets=tuple(barrier.waiting))
            elif not barrier.broken:
                who, left = member.said.party.told or member.said.party.id, barrier.parties - len(barrier.waiting)
                yield BreakBarrier(barrier=name, reason=Reason.BARRIER_TIMEOUT, told=f"{who} waited for {left} more")

    def next_due_us(self) -> int | None:
        """When somebody has waited long enough, None: never."""
        while self.due:
            member = self.members.get(self.due[0][1])
            if member is not None and member.waits and member.until_us == self.due[0][0]:
                return self.due[0][0]
            heappop(self.due)
        return None


# --- snapshots


def to_snapshot(barriers: Barriers) -> Any:
    """Plain data; what is derived is left out."""
    return [
        (
            (name, one.parties, one.batch, int(one.on_loss), one.round, int(one.broken), one.told),
            [
                (to_plain(member.said), member.reached, member.passed, member.until_us, member.round)
                for member in one.members.values()
            ],
            list(one.waiting),
        )
        for name, one in barriers.by_name.items()
    ]


def from_snapshot(plain: Any) -> Barriers:
    """The inverse."""
    found = Barriers()
    for (name, parties, batch, on_loss, round_, broken, told), members, waiting in plain:
        barrier = found.by_name[name] = Barrier(parties, batch, OnLoss(on_loss), round_)
        barrier.broken, barrier.told = Reason(broken), told
        for said, reached, passed, until_us, last in members:
            member = Member(from_plain(BarrierJoined, said), reached, passed, until_us, last)
            found.members[member.said.ticket] = barrier.members[member.said.ticket] = member
        barrier.waiting = dict.fromkeys(waiting)
        for ticket in waiting:
            found.note_due(found.members[ticket])
    return found
