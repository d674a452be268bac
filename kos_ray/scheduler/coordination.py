"""What parties do together, as it stands: one place of the state, beside jobs. Nothing here costs a job that has none.

A *ticket* is the id of what a party has or waits for, under a lease: whoever is not heard of loses it (`LeasesOver`, an
event: the engine counts leases). What an attempt has goes with its end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kos_ray.model.approval import ApprovalsAnswered
from kos_ray.model.barriers import (
    BarrierDecision,
    BarrierJoined,
    BarrierLeft,
    BarrierReached,
    BreakBarrier,
    OpenBarrier,
)
from kos_ray.model.coordination import CoordinationEvent, Leased
from kos_ray.model.ids import JobKey
from kos_ray.model.locks import GrantLocks, LeasesOver, LockAsked, LockDecision, LocksLeft, RefuseLock
from kos_ray.model.mailboxes import EndTakes, MailboxDecision, TakesEnded
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import approvals as _approvals
from kos_ray.scheduler import barriers as _barriers
from kos_ray.scheduler import locks as _locks
from kos_ray.scheduler import mailboxes as _mailboxes
from kos_ray.scheduler.approvals import Approvals
from kos_ray.scheduler.barriers import Barriers
from kos_ray.scheduler.locks import Locks
from kos_ray.scheduler.mailboxes import Mailboxes


@dataclass(slots=True)
class Coordination:
    """All of it."""

    locks: Locks = field(default_factory=Locks)
    mailboxes: Mailboxes = field(default_factory=Mailboxes)
    barriers: Barriers = field(default_factory=Barriers)
    approvals: Approvals = field(default_factory=Approvals)
    #: tickets of attempts, by job, and the attempt that each is of; derived
    of_job: dict[JobKey, dict[str, int]] = field(default_factory=dict)

    def said(self, ticket: str) -> Leased | None:
        """What a ticket was given for; None: there is no such ticket (any more)."""
        ask = self.locks.asks.get(ticket) or self.mailboxes.takes.get(ticket) or self.barriers.members.get(ticket)
        return None if ask is None else ask.said

    def tickets(self) -> list[str]:
        """All that are under a lease."""
        return [*self.locks.asks, *self.mailboxes.takes, *self.barriers.members]

    def next_due_us(self) -> int | None:
        """When time brings something, None: never."""
        parts = (self.locks, self.mailboxes, self.barriers, self.approvals)
        found = [part.next_due_us() for part in parts]
        return min((due_us for due_us in found if due_us is not None), default=None)

    def settled(self) -> None:
        """A frame was folded: what it left to be decided was decided in it."""
        self.locks.settled()
        self.mailboxes.touched.clear()
        self.barriers.touched.clear()
        self.barriers.losses.clear()
        self.approvals.answered.clear()

    def is_due(self, now_us: int) -> bool:
        """Whether something is to be decided."""
        parts = (self.locks, self.mailboxes, self.barriers, self.approvals)
        return any(part.is_due(now_us) for part in parts)

    def decide(self, now_us: int) -> Iterator[LockDecision | MailboxDecision | BarrierDecision]:
        """Decisions one after another; each is to be folded before the next one is asked for."""
        yield from self.locks.decide(now_us)
        yield from self.mailboxes.decide(now_us)
        yield from self.barriers.decide(now_us)

    # --- what happened, what was decided

    def fold(self, event: CoordinationEvent) -> None:
        """An event."""
        if isinstance(event, LockAsked):
            self.locks.asked(event)
        elif isinstance(event, LocksLeft):
            self._left(event.tickets, Reason.LOCK_BROKEN if event.broken else Reason.NONE, event.note)
        elif isinstance(event, LeasesOver):
            self._left(event.tickets, Reason.LEASE_OVER, lost=True)
        elif isinstance(event, ApprovalsAnswered):
            self.approvals.answered.append(event)
        elif isinstance(event, BarrierJoined | BarrierReached | BarrierLeft):
            if isinstance(event, BarrierLeft):
                self._forget(event.tickets)
            self.barriers.fold(event)
        else:
            if isinstance(event, TakesEnded):
                self._forget(event.tickets)
            self.mailboxes.fold(event)
        if isinstance(event, Leased):
            self.note(event)

    def apply(self, decision: LockDecision | MailboxDecision | BarrierDecision) -> None:
        """A decision."""
        if isinstance(decision, GrantLocks):
            self.locks.granted(decision)
        elif isinstance(decision, RefuseLock):
            self._forget((decision.ticket,))
            self.locks.refused(decision)
        elif isinstance(decision, OpenBarrier | BreakBarrier):
            self.barriers.apply(decision)
        else:
            if isinstance(decision, EndTakes):
                self._forget(decision.tickets)
            self.mailboxes.apply(decision)

    @property
    def has_jobs(self) -> bool:
        """Whether there is anything that ends with a job."""
        return bool(self.mailboxes.of_job or self.approvals.waiting or self.approvals.rejected)

    def jobs_over(self, keys: Iterable[JobKey]) -> None:
        """Jobs are over, and what is only for them."""
        for key in keys:
            self.mailboxes.job_over(key)
            self.approvals.job_over(key)

    def attempts_ended(self, ended: Iterable[tuple[JobKey, int]]) -> None:
        """Attempts are over, and what they had with them."""
        for key, attempt in ended:
            if key in self.of_job:
                self._left([ticket for ticket, of in self.of_job[key].items() if of <= attempt], Reason.NONE, lost=True)

    def note(self, said: Leased) -> None:
        """Write a ticket into the book of attempts."""
        if said.party.job and self.said(said.ticket) is not None:
            self.of_job.setdefault(said.party.job, {})[said.ticket] = said.party.attempt

    def _left(self, tickets: Iterable[str], reason: Reason, note: str = "", *, lost: bool = False) -> None:
        self._forget(tickets)
        self.locks.left(tickets, reason, note)
        self.mailboxes.left(tickets)
        self.barriers.left(tickets, lost=lost)

    def _forget(self, tickets: Iterable[str]) -> None:
        for ticket in tickets if self.of_job else ():
            said = self.said(ticket)
            job = said.party.job if said is not None else JobKey(0)
            if job in self.of_job:
                self.of_job[job].pop(ticket, None)
                if not self.of_job[job]:
                    del self.of_job[job]


def to_snapshot(coordination: Coordination) -> Any:
    """Plain data; what is derived is left out."""
    return {
        "locks": _locks.to_snapshot(coordination.locks),
        "mailboxes": _mailboxes.to_snapshot(coordination.mailboxes),
        "barriers": _barriers.to_snapshot(coordination.barriers),
        "approvals": _approvals.to_snapshot(coordination.approvals),
    }


def from_snapshot(plain: Any) -> Coordination:
    """The inverse; what a snapshot of before does not say is empty."""
    found = Coordination()
    if "locks" in plain:
        found.locks = _locks.from_snapshot(plain["locks"])
    if "mailboxes" in plain:
        found.mailboxes = _mailboxes.from_snapshot(plain["mailboxes"])
    found.barriers = _barriers.from_snapshot(plain.get("barriers", ()))
    found.approvals = _approvals.from_snapshot(plain.get("approvals", ()))
    for ticket in found.tickets():
        said = found.said(ticket)
        assert said is not None
        found.note(said)
    return found
