"""Named locks: who has one, who waits for it in which order, and who would wait for ever.

Fences are one rising number for all names: however often a name is forgotten, its next fence is higher than its last.
Whoever comes is put behind those of its own band and of higher ones; one that others have passed `PASSED_MAX` times is
passed by nobody any more. Shared asks that stand together are granted together, and never pass an exclusive one of
their own band. A deadlock is a cycle of parties, each of which waits for the next (Coffman and others, "System
deadlocks", 1971); since waits only begin with an ask, looking at each ask finds all.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from kos_ray.model.locks import ENDED_MAX, GrantLocks, LockAsked, LockDecision, LockMode, RefuseLock
from kos_ray.model.reasons import Reason
from kos_ray.model.wire import from_plain, to_plain

#: so often an ask is passed by later ones of higher bands
PASSED_MAX = 16


class Ask:
    """One ask as it stands; `fence` is 0 while it waits."""

    __slots__ = ("fence", "passed", "said")

    def __init__(self, said: LockAsked) -> None:
        self.said = said
        self.fence = 0
        self.passed = 0

    @property
    def shared(self) -> bool:
        """Whether others may have the lock at the same time."""
        return self.said.mode == LockMode.SHARED

    def stands_against(self, other: "Ask") -> bool:
        """Whether the two cannot have the lock at once."""
        return self.said.party.id != other.said.party.id and not (self.shared and other.shared)


@dataclass(slots=True)
class Lock:
    """One name: who has it, and who waits, the next one first."""

    holders: dict[str, Ask] = field(default_factory=dict)
    queue: list[Ask] = field(default_factory=list)


@dataclass(slots=True)
class Locks:
    """All of them. Changed by what happened (`asked`, `left`) and by decisions (`granted`, `refused`) alone."""

    fence: int = 0
    by_name: dict[str, Lock] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    #: asks that were refused, or whose lock was taken away: the reason, and words
    ended: OrderedDict[str, tuple[int, str]] = field(default_factory=OrderedDict)
    #: what each party has or waits for; derived
    of_party: dict[str, dict[str, Ask]] = field(default_factory=dict)
    #: a heap of `(until_us, ticket)`, with stale entries; derived
    due: list[tuple[int, str]] = field(default_factory=list)
    #: names of which something has changed, and new asks; empty between steps
    touched: dict[str, None] = field(default_factory=dict)
    fresh: dict[str, None] = field(default_factory=dict)

    # --- what happened

    def asked(self, event: LockAsked) -> None:
        """Somebody wants a lock: it is put where it stands in the line."""
        if event.ticket in self.asks or event.ticket in self.ended:
            return
        ask = Ask(event)
        queue = self.by_name.setdefault(event.lock, Lock()).queue
        at = len(queue)
        while at and queue[at - 1].said.band > event.band and queue[at - 1].passed < PASSED_MAX:
            at -= 1
            queue[at].passed += 1
        queue.insert(at, ask)
        self.note(ask)
        self.touched[event.lock] = self.fresh[event.ticket] = None

    def left(self, tickets: Iterable[str], reason: Reason = Reason.NONE, told: str = "") -> list[str]:
        """These asks are over, whether they had their locks or not; those that were there."""
        found = [ticket for ticket in tickets if ticket in self.asks]
        for ticket in found:
            ask = self.asks[ticket]
            self._forget(ask)
            if reason is not Reason.NONE:
                self._note_ended(ticket, reason, told)
        return found

    # --- what was decided

    def granted(self, decision: GrantLocks) -> None:
        """Asks have their locks."""
        for ticket, fence in zip(decision.tickets, decision.fences, strict=True):
            ask = self.asks[ticket]
            lock = self.by_name[ask.said.lock]
            ask.fence = fence
            self.fence = max(self.fence, fence)
            lock.queue.remove(ask)
            lock.holders[ticket] = ask

    def refused(self, decision: RefuseLock) -> None:
        """An ask is over without its lock."""
        self._forget(self.asks[decision.ticket])
        self._note_ended(decision.ticket, Reason(decision.reason), decision.told)

    # --- what is to be decided

    def decide(self, now_us: int) -> Iterator[LockDecision]:
        """Decisions one after another; each is to be folded before the next one is asked for."""
        while self.touched or self.fresh:
            if self.touched:
                yield from self._grants()
            elif (refusal := self._unmeetable()) is not None:
                yield refusal
        while self.due and self.due[0][0] <= now_us:
            _, ticket = heappop(self.due)
            ask = self.asks.get(ticket)
            if ask is not None and not ask.fence:
                told = f"{shown(ask.said.lock)} was held by {self.held_by(ask.said.lock)}"
                yield RefuseLock(ticket=ticket, reason=Reason.LOCK_TIMEOUT, told=told)
                yield from self._grants()

    def is_due(self, now_us: int) -> bool:
        """Whether something is to be decided."""
        return bool(self.touched or self.fresh or (self.due and self.due[0][0] <= now_us))

    def settled(self) -> None:
        """A frame was folded: what it left to be decided was decided in it."""
        self.touched.clear()
        self.fresh.clear()

    def next_due_us(self) -> int | None:
        """When a wait is over, None: never."""
        while self.due and (self.due[0][1] not in self.asks or self.asks[self.due[0][1]].fence):
            heappop(self.due)
        return self.due[0][0] if self.due else None

    def _grants(self) -> Iterator[GrantLocks]:
        """What the touched names allow, in the order of their lines. All who have a lock together have one fence."""
        given: dict[str, int] = {}
        last = self.fence
        for name in self.touched:
            lock = self.by_name.get(name)
            if lock is None:
                continue
            holders, blocked = list(lock.holders.values()), False
            fence = holders[0].fence if holders else 0
            for ask in lock.queue:
                own = any(one.said.party.id == ask.said.party.id for one in holders)
                # whoever has it already does not stand in line: those before it wait for it
                if (blocked and not own) or any(one.stands_against(ask) for one in holders):
                    blocked = True
                elif not _wants_more(ask, holders):
                    fence = fence or last + 1
                    last = max(last, fence)
                    given[ask.said.ticket] = fence
                    holders.append(ask)
        self.touched.clear()
        if given:
            yield GrantLocks(tickets=tuple(given), fences=tuple(given.values()))

    def _unmeetable(self) -> RefuseLock | None:
        """Of the new asks, the first that would wait for ever."""
        while self.fresh:
            ticket = next(iter(self.fresh))
            del self.fresh[ticket]
            ask = self.asks.get(ticket)
            if ask is None or ask.fence:
                continue
            name = shown(ask.said.lock)
            if _wants_more(ask, self.by_name[ask.said.lock].holders.values()):
                told = f"{name} is held shared by who asks: release it, then ask for it alone"
                return RefuseLock(ticket=ticket, reason=Reason.LOCK_DEADLOCK, told=told)
            cycle = self._cycle(ask)
            if cycle:
                return RefuseLock(ticket=ticket, reason=Reason.LOCK_DEADLOCK, told=_told(cycle))
        return None

    # --- who waits for whom

    def _cycle(self, ask: Ask) -> list[tuple[str, str]]:
        """The way from a party that asks back to itself, as `(party, the lock it waits for)`; nothing: there is none.

        Depth first; each party is looked at once.
        """
        start = ask.said.party.id
        if len(self.of_party[start]) == 1:
            return []  # nobody waits for it, but behind it on its own way
        seen = {start}
        way: list[tuple[str, str]] = []
        paths = [self._blockers(start)]
        while paths:
            step = next(paths[-1], None)
            if step is None:
                paths.pop()
                if way:
                    way.pop()
                continue
            by, lock, told = step
            if by == start:
                return [*way, (told, lock)]
            if by not in seen:
                seen.add(by)
                way.append((told, lock))
                paths.append(self._blockers(by))
        return []

    def _blockers(self, party: str) -> Iterator[tuple[str, str, str]]:
        """`(who, which lock, this party in words)` of all that a party waits for: who has it, and who is before it."""
        for ask in self.of_party.get(party, {}).values():
            if ask.fence:
                continue
            lock = self.by_name[ask.said.lock]
            for other in (*lock.holders.values(), *lock.queue[: lock.queue.index(ask)]):
                if other.stands_against(ask):
                    yield other.said.party.id, ask.said.lock, ask.said.party.told or party

    def held_by(self, name: str) -> str:
        """Who has a lock, in words."""
        lock = self.by_name.get(name)
        found = [] if lock is None else [one.said.party.told or one.said.party.id for one in lock.holders.values()]
        return ", ".join(dict.fromkeys(found)) or "nobody"

    # --- books

    def note(self, ask: Ask) -> None:
        """Write an ask into the books that are derived from all of them."""
        self.asks[ask.said.ticket] = ask
        self.of_party.setdefault(ask.said.party.id, {})[ask.said.ticket] = ask
        if ask.said.until_us and not ask.fence:
            heappush(self.due, (ask.said.until_us, ask.said.ticket))

    def _note_ended(self, ticket: str, reason: Reason, told: str) -> None:
        self.ended[ticket] = int(reason), told
        while len(self.ended) > ENDED_MAX:
            self.ended.popitem(last=False)

    def _forget(self, ask: Ask) -> None:
        ticket, name = ask.said.ticket, ask.said.lock
        del self.asks[ticket]
        lock = self.by_name[name]
        if ask.fence:
            del lock.holders[ticket]
        else:
            lock.queue.remove(ask)
        own = self.of_party[ask.said.party.id]
        del own[ticket]
        if not own:
            del self.of_party[ask.said.party.id]
        self.touched[name] = None
        if not lock.holders and not lock.queue:
            del self.by_name[name]


def _wants_more(ask: Ask, holders: Iterable[Ask]) -> bool:
    """Whether its party has the lock shared, and wants it for itself alone."""
    own = [one for one in holders if one.said.party.id == ask.said.party.id]
    return not ask.shared and bool(own) and all(one.shared for one in own)


def shown(key: str) -> str:
    """A name as people write it."""
    return key.partition("\0")[2]


def _told(cycle: list[tuple[str, str]]) -> str:
    return " → ".join([f"{party} waits for {shown(lock)}" for party, lock in cycle]) + f", which {cycle[0][0]} holds"


def to_snapshot(locks: Locks) -> Any:
    """Plain data; what is derived is left out."""
    lines = [
        (name, [ask.said.ticket for ask in lock.queue], list(lock.holders)) for name, lock in locks.by_name.items()
    ]
    asks = [(to_plain(ask.said), ask.fence, ask.passed) for ask in locks.asks.values()]
    return locks.fence, asks, lines, [(ticket, *found) for ticket, found in locks.ended.items()]


def from_snapshot(plain: Any) -> Locks:
    """The inverse."""
    fence, asks, lines, ended = plain
    found = Locks(fence=fence)
    for said, granted, passed in asks:
        ask = Ask(from_plain(LockAsked, said))
        ask.fence, ask.passed = granted, passed
        found.note(ask)
    for name, waiting, holding in lines:
        lock = found.by_name[name] = Lock()
        lock.queue = [found.asks[ticket] for ticket in waiting]
        lock.holders = {ticket: found.asks[ticket] for ticket in holding}
    found.ended = OrderedDict((ticket, (reason, told)) for ticket, reason, told in ended)
    return found
