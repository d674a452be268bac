"""The slots of a fake agent: starting them on the machine, feeding them, and their ends."""

from collections.abc import Callable
from heapq import heappop, heappush

from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, SlotKind
from kos_ray.model.payload import inline
from kos_ray.sim.code import Fate, Inputs, Run, UserCode
from kos_ray.sim.machine import Claim, Machine
from kos_ray.sim.setting import Setting
from kos_ray.sim.uplink import End, Uplink
from kos_ray.sim.world import MS_US, World

#: attempts that run longer are reported as entered, and what stands behind them is taken back
_LONG_US = 50 * MS_US
#: from the request to stop because of a timeout to the kill
_TIMEOUT_GRACE_US = 500 * MS_US
#: a killed process holds its room so long at most
_EXIT_US = 20 * MS_US

#: a run without an end of its own until it is asked
_NO_RUN = Run(Fate.HANG)


class Attempt:
    """One attempt at an agent."""

    __slots__ = ("asked", "entered", "entered_us", "inputs", "job", "key", "kill_us", "number", "pool", "rank", "run",
                 "slot", "timeout_us")  # fmt: skip

    def __init__(self, key: JobKey, number: int, rank: int, job: str, inputs: Inputs, timeout_us: int) -> None:
        self.key = key
        self.number = number
        self.rank = rank
        self.job = job
        self.inputs = inputs
        self.timeout_us = timeout_us
        #: what it does, known from its entry on
        self.run = _NO_RUN
        self.entered = False
        self.entered_us = 0
        #: the end that it has been asked to come to, and when it is killed
        self.asked: AttemptEnd | None = None
        self.kill_us = 0
        self.slot: Slot | None = None
        self.pool: Pool | None = None


class Slot:
    """A process with a reservation; `handed` is its queue, the first of it runs."""

    __slots__ = ("claim", "closing", "connected", "gone", "handed", "number", "pid", "pool", "target", "used")

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
        self.handed: list[Attempt] = []


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


class Fleet:
    """All slots of one agent. `ended` is told of each attempt that a slot has ended."""

    def __init__(
        self,
        world: World,
        setting: Setting,
        code: UserCode,
        machine: Machine,
        incarnation: str,
        uplink: Uplink,
        ended: Callable[[Attempt, End], None],
    ) -> None:
        self.pools: dict[SlotKind, Pool] = {}
        self._world = world
        self._setting = setting
        self._code = code
        self._machine = machine
        self._incarnation = incarnation
        self._uplink = uplink
        self._ended = ended
        #: slots that were asked for
        self.started = 0
        self._alive = True

    def die(self) -> None:
        """All processes end; their room is free a little later."""
        self._alive = False
        for pool in self.pools.values():
            for slot in list(pool.slots):
                self._drop(slot)

    def pool(self, kind: SlotKind) -> Pool:
        """The pool of a kind, made when it is new."""
        pool = self.pools.get(kind)
        if pool is None:
            pool = self.pools[kind] = Pool(kind)
        return pool

    def resize(self, kind: SlotKind, slots: int) -> None:
        """Hold so many slots of a kind."""
        pool = self.pool(kind)
        pool.wanted = slots
        self.pump(pool)

    def remove(self, attempts: list[Attempt]) -> None:
        """Take attempts that have not been entered out of their queues."""
        pools: dict[SlotKind, Pool] = {}
        for attempt in attempts:
            assert attempt.pool is not None
            pools[attempt.pool.kind] = attempt.pool
            if attempt.slot is not None:
                attempt.slot.handed.remove(attempt)
        gone = set(attempts)
        for pool in pools.values():
            pool.waiting = sorted(entry for entry in pool.waiting if entry[3] not in gone)
            self.pump(pool)

    def pump(self, pool: Pool) -> None:
        """Close what is not wanted, feed what is there, start what is due."""
        self._close_surplus(pool)
        for at_most in (1, self._setting.handed_max):
            for slot in list(pool.slots):
                self._fill(slot, at_most)
        starting = len(pool.slots) - pool.connected
        for _ in range(max(0, min(pool.wanted - len(pool.slots), len(pool.waiting) - starting))):
            self._start(pool)
        if not pool.waiting or pool.connected:
            pool.starving = 0
        elif not pool.starving:
            pool.starving = self._world.now_us
            self._world.after(self._setting.admission_us, self._not_admitted, pool, pool.starving)
        if not (pool.wanted or pool.slots or pool.waiting):
            self.pools.pop(pool.kind, None)

    def ask(self, attempt: Attempt, end: AttemptEnd, grace_us: int) -> None:
        """Ask an entered attempt to end: code that looks does, what still runs after its grace is killed."""
        kill_us = self._world.now_us + grace_us
        looks_us = attempt.run.looks_us
        if attempt.asked is None:
            attempt.asked = end
            if looks_us:
                self._world.after(self._world.between(0, looks_us), self._run_ends, attempt.slot, attempt, end)
        elif kill_us >= attempt.kill_us:
            return
        attempt.kill_us = kill_us
        self._world.after(grace_us, self._process_ends, attempt.slot, attempt)

    def connected_slots(self) -> list[Slot]:
        """All slots that are there."""
        return [slot for pool in self.pools.values() for slot in pool.slots if slot.connected]

    def kill(self, slot: Slot) -> None:
        """A slot's process dies: what it had entered ends, what stands behind that is run by another."""
        self._take_back_behind(slot)
        self._drop(slot)
        if slot.handed:
            attempt = slot.handed.pop()
            self._tell(slot, attempt, attempt.asked or AttemptEnd.CRASHED)
        self.pump(slot.pool)

    # --- slots

    def _close_surplus(self, pool: Pool) -> None:
        staying = [slot for slot in pool.slots if not slot.closing]
        surplus = len(staying) - pool.wanted
        if surplus <= 0:
            return
        staying.sort(key=lambda slot: (slot.connected, bool(slot.handed), -slot.number))
        for slot in staying[:surplus]:
            self._take_back_behind(slot)
            if slot.handed:
                slot.closing = True
            else:
                self._drop(slot)

    def _start(self, pool: Pool) -> None:
        self.started += 1
        slot = Slot(pool, self.started)
        pool.slots.append(slot)
        slot.claim = Claim(pool.kind.resources, lambda: self._admitted(slot))
        self._machine.ask(slot.claim)
        self._world.after(self._setting.admission_us, self._withdraw, slot)

    def _withdraw(self, slot: Slot) -> None:
        """Ask anew for a slot that is not admitted; meanwhile others of its pool do its work."""
        if slot.gone or slot.connected:
            return
        if slot.pool.connected:
            self._drop(slot)
            self.pump(slot.pool)
        else:
            self._world.after(self._setting.admission_us, self._withdraw, slot)

    def _admitted(self, slot: Slot) -> None:
        self._machine.processes += 1
        slot.pid = self._machine.processes
        self._world.after(self._world.between(*self._setting.start_us), self._connect, slot)

    def _connect(self, slot: Slot) -> None:
        if not slot.gone:
            slot.connected = True
            self.pump(slot.pool)

    def _drop(self, slot: Slot) -> None:
        slot.gone = True
        slot.pool.slots.remove(slot)
        assert slot.claim is not None
        self._world.after(self._world.between(0, _EXIT_US), self._machine.give_back, slot.claim)

    def _fill(self, slot: Slot, at_most: int) -> None:
        waiting = slot.pool.waiting
        at_most = min(at_most, slot.target)
        while waiting and slot.connected and not slot.closing and not slot.used and len(slot.handed) < at_most:
            if slot.handed and self._world.now_us - slot.handed[0].entered_us >= _LONG_US:
                return
            attempt = heappop(waiting)[3]
            attempt.slot = slot
            slot.handed.append(attempt)
            slot.used = slot.pool.kind.single_use
            if len(slot.handed) == 1:
                self._enter(slot, attempt)

    def _take_back_behind(self, slot: Slot) -> None:
        """Put what a slot has not entered back into the queue."""
        while slot.handed and not slot.handed[-1].entered:
            slot.pool.push(slot.handed.pop())

    # --- attempts

    def _enter(self, slot: Slot, attempt: Attempt) -> None:
        attempt.entered = True
        attempt.entered_us = self._world.now_us
        run = attempt.run = self._code.entered(
            attempt.job, attempt.number, attempt.inputs, self._machine.name, slot.pid
        )
        after = self._world.after
        if run.fate is Fate.SUCCEED or run.fate is Fate.FAIL:
            end = AttemptEnd.SUCCEEDED if run.fate is Fate.SUCCEED else AttemptEnd.FAILED
            after(run.run_us, self._run_ends, slot, attempt, end)
        elif run.fate is Fate.CRASH:
            after(run.run_us, self._process_ends, slot, attempt)
        hangs = run.fate is Fate.HANG
        if hangs or run.run_us > _LONG_US:
            after(_LONG_US, self._is_long, slot, attempt)
        if attempt.timeout_us and (hangs or run.run_us > attempt.timeout_us):
            after(attempt.timeout_us, self._times_out, slot, attempt)

    def _runs(self, slot: Slot, attempt: Attempt) -> bool:
        return not slot.gone and bool(slot.handed) and slot.handed[0] is attempt

    def _is_long(self, slot: Slot, attempt: Attempt) -> None:
        if self._runs(slot, attempt):
            self._take_back_behind(slot)
            self._uplink.add_entered(attempt.key, attempt.number, self._wall(attempt.entered_us))
            self.pump(slot.pool)

    def _times_out(self, slot: Slot, attempt: Attempt) -> None:
        if self._runs(slot, attempt) and attempt.asked is None:
            self.ask(attempt, AttemptEnd.TIMED_OUT, _TIMEOUT_GRACE_US)

    def _process_ends(self, slot: Slot, attempt: Attempt) -> None:
        """User code has killed its own process, or would not end when it was asked to."""
        if self._runs(slot, attempt):
            self.kill(slot)

    def _run_ends(self, slot: Slot, attempt: Attempt, end: AttemptEnd) -> None:
        """User code has returned or raised: by itself, or because it saw that it was asked to."""
        if not self._runs(slot, attempt):
            return
        slot.handed.pop(0)
        slot.target = self._setting.handed_max
        self._tell(slot, attempt, end)
        if slot.used or (slot.closing and not slot.handed):
            self._drop(slot)
        elif slot.handed:
            self._enter(slot, slot.handed[0])
        self.pump(slot.pool)

    def _tell(self, slot: Slot, attempt: Attempt, end: AttemptEnd) -> None:
        """Report the end of an attempt that was entered."""
        result, error = b"", None
        if end is AttemptEnd.SUCCEEDED:
            result = inline(f"{attempt.job} by attempt {attempt.number} of {self._incarnation}".encode())
        elif end is AttemptEnd.FAILED or end is AttemptEnd.CRASHED:
            error = attempt.run.error or ("Error", f"{attempt.job} {end.name.lower()} in attempt {attempt.number}")
        told = End(
            attempt.key,
            attempt.number,
            end,
            self._world.wall_us,
            entered_us=self._wall(attempt.entered_us),
            pid=slot.pid,
            result=result,
            error=error,
        )
        self._ended(attempt, told)

    def _wall(self, now_us: int) -> int:
        return now_us + self._world.wall_shift_us

    def _not_admitted(self, pool: Pool, since: int) -> None:
        """Nothing of a kind was admitted in time: withdraw its slots, send its attempts back."""
        if not self._alive or pool.starving != since or since == 0:
            return
        for slot in list(pool.slots):
            self._drop(slot)
        waiting, pool.waiting = sorted(pool.waiting), []
        pool.starving = 0
        for _, _, _, attempt in waiting:
            self._ended(attempt, End(attempt.key, attempt.number, AttemptEnd.NOT_ADMITTED, self._world.wall_us))
        self.pump(pool)
