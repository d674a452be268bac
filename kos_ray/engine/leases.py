"""Leases of tickets: who was heard when. Heartbeats stay here; what nobody renewed becomes an event.

None of it is in the journal. Whoever takes the journal over lets all of them begin anew, for nobody could be heard
meanwhile: a lease may last longer than was agreed, never shorter.
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from kos_ray.model import events as e
from kos_ray.model.coordination import Leased
from kos_ray.model.ids import MS_US
from kos_ray.model.locks import LeasesOver
from kos_ray.scheduler.retry import lease_over_us
from kos_ray.scheduler.state import State


class Leases:
    """All of one engine. A ticket is over a tenth later than was agreed: clocks may drift by less than that."""

    def __init__(self) -> None:
        self._until: dict[str, int] = {}
        #: `(instant, ticket)`; what was renewed stands there by an earlier instant
        self._due: list[tuple[int, str]] = []
        #: whose tickets these are
        self._state: State | None = None

    def over(self, state: State, events: Sequence[e.Event], now_us: int) -> list[LeasesOver]:
        """Take in what begins in a round, and tell what has not been heard of for too long."""
        if state is not self._state:
            self._begin_anew(state, now_us)
        for event in events:
            if isinstance(event, Leased):
                self._begin(event.ticket, event.ttl_ms, now_us)
        tickets: list[str] = []
        while self._due and self._due[0][0] <= now_us:
            _, ticket = heappop(self._due)
            until_us = self._until.get(ticket, 0)
            if until_us > now_us:
                heappush(self._due, (until_us, ticket))
            elif self._until.pop(ticket, None) is not None and state.coordination.said(ticket) is not None:
                tickets.append(ticket)
        return [LeasesOver(tickets=tuple(tickets))] if tickets else []

    def renew(self, state: State, tickets: Iterable[str], now_us: int) -> list[str]:
        """Whoever has these was heard; those that are not his any more."""
        lost = []
        for ticket in tickets:
            said = state.coordination.said(ticket)
            if said is None:
                lost.append(ticket)
            elif ticket in self._until:
                self._until[ticket] = now_us + lease_over_us(said.ttl_ms * MS_US)
        return lost

    def next_due_us(self) -> int | None:
        """When something may be over, None: never."""
        return self._due[0][0] if self._due else None

    def _begin(self, ticket: str, ttl_ms: int, now_us: int) -> None:
        if ticket not in self._until:
            self._until[ticket] = now_us + lease_over_us(ttl_ms * MS_US)
            heappush(self._due, (self._until[ticket], ticket))

    def _begin_anew(self, state: State, now_us: int) -> None:
        self._state = state
        self._until.clear()
        for ticket in state.coordination.tickets():
            said = state.coordination.said(ticket)
            self._until[ticket] = now_us + lease_over_us(said.ttl_ms * MS_US) if said is not None else now_us
        self._due = [(until_us, ticket) for ticket, until_us in self._until.items()]
        heapify(self._due)
