"""What a fake agent holds: attempts, the slots that run them, and the queue of each kind."""

from heapq import heappush
from typing import TYPE_CHECKING

from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.job import AttemptEnd, Carries, SlotKind
from kos_ray.model.protocol import told_after_us
from kos_ray.sim.code import Fate, Inputs, Run
from kos_ray.sim.machine import Claim

if TYPE_CHECKING:
    from kos_ray.sim.lives import Life

#: see `told_after_us`
_LONG_US = 50 * MS_US
#: a run without an end of its own until it is asked
NO_RUN = Run(Fate.HANG)


class Attempt:
    """One attempt at an agent."""

    __slots__ = ("asked", "carries", "entered", "entered_us", "exclusive", "for_good", "inputs", "job", "key",
                 "kill_us", "number", "pool", "rank", "restored", "result", "run", "slot", "timeout_us",
                 "wrong")  # fmt: skip

    def __init__(self, key: JobKey, number: int, rank: int, job: str, inputs: Inputs, timeout_us: int) -> None:
        self.key = key
        self.number = number
        self.rank = rank
        self.job = job
        self.inputs = inputs
        self.timeout_us = timeout_us
        #: it runs under a lease
        self.exclusive = False
        #: what it does, known from its entry on
        self.run = NO_RUN
        self.entered = False
        self.entered_us = 0
        #: the end that it has been asked to come to, and when it is killed
        self.asked: AttemptEnd | None = None
        self.kill_us = 0
        self.slot: Slot | None = None
        self.pool: Pool | None = None
        #: of an agent's life: what it has to know, what it goes on from, and whether it is to end for good
        self.carries: Carries | None = None
        self.restored = b""
        self.for_good = False
        #: of a message whose effect its agent had saved: the result that it had then
        self.result = b""
        #: why its process was ended though nobody had asked it to end: type and message
        self.wrong: tuple[str, str] | None = None


class Slot:
    """A process with a reservation; `handed` is its queue, the first of it runs."""

    __slots__ = ("claim", "closing", "connected", "gone", "handed", "life", "number", "pid", "pool", "target", "used",
                 "usual_us")  # fmt: skip

    def __init__(self, pool: "Pool", number: int) -> None:
        self.pool = pool
        self.number = number
        self.claim: Claim | None = None
        self.connected = False
        self.closing = False
        self.gone = False
        self.used = False
        self.pid = 0
        #: how many attempts it may have at a time: more than one when it has shown that they end
        self.target = 1
        #: how long what ended in it last has run
        self.usual_us = 0
        self.handed: list[Attempt] = []
        #: the agent that lives in it, or into whose process it is a lane
        self.life: Life | None = None

    @property
    def long_us(self) -> int:
        """Attempts that run longer are reported as entered, and what stands behind them is taken back."""
        return round(told_after_us(_LONG_US, self.usual_us))


class Pool:
    """Attempts of one kind by (rank, key), and the kind's slots."""

    def __init__(self, kind: SlotKind) -> None:
        self.kind = kind
        self.wanted = 0
        self.slots: list[Slot] = []
        self.waiting: list[tuple[int, JobKey, int, Attempt]] = []
        #: since when attempts wait without one connected slot, 0 when they do not
        self.starving = 0

    def push(self, attempt: Attempt) -> None:
        """Put an attempt into the queue."""
        attempt.pool, attempt.slot = self, None
        heappush(self.waiting, (attempt.rank, attempt.key, attempt.number, attempt))

    @property
    def connected(self) -> int:
        """Slots that are there."""
        return sum(slot.connected for slot in self.slots)
