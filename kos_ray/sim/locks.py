"""Locks in a virtual world, by seed: parties that pause past their leases and write all the same, at a sink that looks.

Each holder reads a counter, pauses now and then, and writes what it has read plus one. While every write that the sink
takes is that of the last holder, the counter is the number of writes that were taken; a stale one that is taken loses
an update, and the two differ. The scheduler's part is the production module; leases are counted as the engine counts
them.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

from kos_ray.model.locks import GrantLocks, LockAsked, LockMode, Party
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.locks import Ask, Locks

_NAMES = 6
_PARTIES = 16
#: locks that one party holds at a time
_HELD_MAX = 3
_TTL_MS = 10_000
#: what the engine grants, with the tenth more for clocks that drift
_LEASE_US = 11_000_000
_STEP_US = 400_000


@dataclass(slots=True)
class Sink:
    """What is guarded: a counter for each lock, which takes nobody with a lower fence than it has seen."""

    guarded: bool = True
    seen: Counter[str] = field(default_factory=Counter)
    value: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def read(self, lock: str, fence: int) -> int | None:
        """The counter, None for a stale fence."""
        return self.value[lock] if self._takes(lock, fence) else None

    def write(self, lock: str, fence: int, value: int) -> None:
        """Set the counter."""
        if self._takes(lock, fence):
            self.value[lock] = value
            self.taken[lock] += 1

    def _takes(self, lock: str, fence: int) -> bool:
        if self.guarded and fence < self.seen[lock]:
            self.refused += 1
            return False
        self.seen[lock] = max(self.seen[lock], fence)
        return True


@dataclass(slots=True)
class _Held:
    ask: LockAsked
    fence: int
    #: the counter as it was read, None: not yet
    read: int | None = None


class World:
    """Parties, their locks, and the sink. `stale_writes` is how many taken writes have lost another's."""

    def __init__(self, seed: int, *, guarded: bool = True) -> None:
        self._chance = random.Random(seed)
        self.locks = Locks()
        self.sink = Sink(guarded=guarded)
        self.counts: Counter[str] = Counter()
        self.now_us = 0
        self._tickets = 0
        self._deadlines: dict[str, int] = {}
        self._waiting: dict[int, LockAsked] = {}
        self._holding: dict[int, list[_Held]] = {number: [] for number in range(_PARTIES)}
        #: until when a party stands still
        self._paused: dict[int, int] = {}
        self._fences: Counter[str] = Counter()

    @property
    def stale_writes(self) -> int:
        """Writes that were taken though a later holder had written: each has lost one."""
        return sum(abs(self.sink.taken[lock] - self.sink.value[lock]) for lock in self.sink.taken)

    def run(self, operations: int) -> "World":
        """Let so many things happen."""
        for _ in range(operations):
            self.now_us += self._chance.randrange(_STEP_US)
            self._leases()
            number = self._chance.randrange(_PARTIES)
            if self._paused.get(number, 0) <= self.now_us:
                self._act(number)
            else:
                self.counts["paused"] += 1
            self._decide()
        return self

    def _act(self, number: int) -> None:
        """One party does the next thing that it would do."""
        holding = self._holding[number]
        # what the heartbeat of a process does for all that it has
        for held in holding:
            if held.ask.ticket in self.locks.asks:
                self._deadlines[held.ask.ticket] = self.now_us + _LEASE_US
        if number in self._waiting:
            self._deadlines[self._waiting[number].ticket] = self.now_us + _LEASE_US
            self._look(number)
        elif len(holding) == _HELD_MAX or (holding and self._chance.random() < 0.85):
            self._use(number, holding[-1])
        else:
            self._ask(number)

    def _use(self, number: int, held: _Held) -> None:
        lock, chance = held.ask.lock, self._chance.random()
        if chance < 0.1:
            self._paused[number] = self.now_us + self._chance.randrange(4 * _LEASE_US)
        elif held.read is None:
            held.read = self.sink.read(lock, held.fence)
            if held.read is None:
                self._let_go(number, held)
        elif held.ask.mode == LockMode.EXCLUSIVE:
            self.sink.write(lock, held.fence, held.read + 1)
            self._let_go(number, held)
        else:
            self._let_go(number, held)

    def _let_go(self, number: int, held: _Held) -> None:
        self._holding[number].remove(held)
        self.counts["released" if self.locks.left([held.ask.ticket]) else "released late"] += 1

    def _ask(self, number: int) -> None:
        self._tickets += 1
        mine = {held.ask.lock for held in self._holding[number]}
        lock = self._chance.choice([name for name in map(_name, range(_NAMES)) if name not in mine])
        wait_us = self._chance.choice((0, 5_000_000, 60_000_000))
        ask = LockAsked(
            ticket=str(self._tickets),
            lock=lock,
            party=Party(id=f"party {number}"),
            mode=self._chance.choice((LockMode.EXCLUSIVE, LockMode.EXCLUSIVE, LockMode.SHARED)),
            ttl_ms=_TTL_MS,
            until_us=self.now_us + wait_us if wait_us else 0,
            band=self._chance.choice((1, 3, 3, 5)),
        )
        self.counts["asked"] += 1
        self.locks.asked(ask)
        self._deadlines[ask.ticket] = self.now_us + _LEASE_US
        self._waiting[number] = ask

    def _look(self, number: int) -> None:
        """See what became of what it waits for."""
        ask = self._waiting[number]
        found = self.locks.asks.get(ask.ticket)
        if found is None:
            del self._waiting[number]
            self.counts[Reason(self.locks.ended[ask.ticket][0]).name.lower()] += 1
        elif found.fence:
            del self._waiting[number]
            self._holding[number].append(_Held(ask, found.fence))

    def _leases(self) -> None:
        """What was not heard of is over, as the engine finds it."""
        over = [ticket for ticket, at_us in self._deadlines.items() if at_us <= self.now_us]
        for ticket in over:
            del self._deadlines[ticket]
        if gone := self.locks.left(over, Reason.LEASE_OVER):
            self.counts["lease over"] += len(gone)

    def _decide(self) -> None:
        for decision in self.locks.decide(self.now_us):
            if isinstance(decision, GrantLocks):
                self.locks.granted(decision)
                for ticket in decision.tickets:
                    self._check(self.locks.asks[ticket])
            else:
                self.locks.refused(decision)

    def _check(self, ask: Ask) -> None:
        """A grant is compatible with those beside it, and its fence is no lower than any before it."""
        self.counts["granted"] += 1
        holders = [one for one in self.locks.by_name[ask.said.lock].holders.values() if one is not ask]
        assert not any(one.stands_against(ask) for one in holders), f"two have {ask.said.lock}"
        highest = self._fences[ask.said.lock]
        together = bool(holders) and all(one.fence == ask.fence for one in holders)
        assert ask.fence > highest or (together and ask.fence == highest), f"fence {ask.fence} after {highest}"
        self._fences[ask.said.lock] = ask.fence


def _name(number: int) -> str:
    return f"default\0lock-{number}"
