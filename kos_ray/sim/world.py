"""Virtual time and chance: a heap of things to come, and one generator of random numbers."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

#: where every history begins, in microseconds since the Unix epoch
EPOCH_US = 1_800_000_000_000_000
#: what happened last is kept for the report of a failure
_NOTES_MAX = 60

#: more happens in no sane history: whoever makes time stand still is found out
_STEPS_MAX = 100_000

SECOND_US = 1_000_000
MS_US = 1_000


class Violation(Exception):
    """Something was observed that must never be."""


class World:
    """The one place of time and chance. Nothing in a simulation happens outside of a call from `run`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        #: for what came to the simulator later: what is drawn from it changes nothing of what else is drawn
        self.aside = Random(f"{seed} aside")
        #: monotonic time, in microseconds
        self.now_us = EPOCH_US
        #: how far the wall clock has jumped from it
        self.wall_shift_us = 0
        #: things that happened
        self.steps = 0
        self._notes: deque[tuple[int, str, tuple[Any, ...]]] = deque(maxlen=_NOTES_MAX)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    @property
    def wall_us(self) -> int:
        """What the wall clocks show."""
        return self.now_us + self.wall_shift_us

    def after(self, delay_us: int, call: Callable[..., None], *args: Any) -> None:
        """Have `call(*args)` happen; what comes at the same instant happens in the order of these calls."""
        self._count += 1
        heappush(self._heap, (self.now_us + delay_us, self._count, call, args))

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        return low + int(self.random.random() * (high - low + 1))

    def chance(self, share: float) -> bool:
        """True with that probability."""
        return self.random.random() < share

    def pick(self, items: Any) -> Any:
        """One of a sequence."""
        return items[int(self.random.random() * len(items))]

    def note(self, text: str, *args: Any) -> None:
        """Keep a line, `text % args`, for the report of a failure."""
        self._notes.append((self.now_us, text, args))

    def notes(self) -> list[str]:
        """The last lines, oldest first."""
        return [f"{(at - EPOCH_US) / SECOND_US:12.6f} s  {text % args}" for at, text, args in self._notes]

    def run(self, done: Callable[[], bool], until_us: int) -> bool:
        """Let things happen until `done()`; False when time is over, nothing is left to come, or far too much came."""
        heap = self._heap
        while not done():
            if not heap or heap[0][0] > until_us or self.steps > _STEPS_MAX:
                return False
            at_us, _, call, args = heappop(heap)
            # what was due while a slow disk held up the scheduler's process comes late
            self.now_us = max(self.now_us, at_us)
            self.steps += 1
            call(*args)
        return True
