"""The slots of a fake agent: starting them on the machine, feeding them, and their ends."""

from collections.abc import Callable
from heapq import heappop

from kos_ray.model.job import AttemptEnd, SlotKind
from kos_ray.model.payload import inline
from kos_ray.sim.code import Fate, Run, UserCode
from kos_ray.sim.homes import Homes
from kos_ray.sim.leases import AGAIN_US, NodeLease
from kos_ray.sim.lives import Life
from kos_ray.sim.machine import Claim, Machine
from kos_ray.sim.setting import Setting
from kos_ray.sim.slots import NO_RUN, Attempt, Pool, Slot
from kos_ray.sim.uplink import End, Uplink
from kos_ray.sim.world import MS_US, World

#: from the request to stop because of a timeout to the kill
_TIMEOUT_GRACE_US = 500 * MS_US
#: a killed process holds its room so long at most
_EXIT_US = 20 * MS_US


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
        lease: NodeLease,
        ended: Callable[[Attempt, End], None],
    ) -> None:
        self.pools: dict[SlotKind, Pool] = {}
        self._world = world
        self._setting = setting
        self._code = code
        self._machine = machine
        self._incarnation = incarnation
        self._uplink = uplink
        self._lease = lease
        self._ended = ended
        #: slots that were asked for
        self.started = 0
        self.homes = Homes(world, uplink, self)
        self._alive = True

    def die(self) -> None:
        """All processes end; their room is free a little later."""
        self._alive = False
        for pool in self.pools.values():
            for slot in list(pool.slots):
                self.drop(slot)
                if slot.life is not None:
                    slot.life.die()
                if slot.handed and slot.handed[0].run is not NO_RUN:
                    self._code.vanished(slot.handed[0].job, slot.handed[0].number)

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
                self._world.after(self._world.between(0, looks_us), self._obeys, attempt, end, grace_us)
        elif kill_us >= attempt.kill_us:
            return
        attempt.kill_us = kill_us
        assert attempt.slot is not None
        self.homes.close_lanes(attempt.slot)
        self._world.after(grace_us, self._process_ends, attempt.slot, attempt)

    def _obeys(self, attempt: Attempt, end: AttemptEnd, grace_us: int) -> None:
        """Code has seen that it is to end; an agent lets its messages end first, and saves its state."""
        slot = attempt.slot
        assert slot is not None
        life = slot.life
        if life is None or attempt is not life.attempt or life.dead:
            self._run_ends(slot, attempt, end)
        elif not life.stands_still(self._obeys, attempt, end, grace_us):
            life.leave(grace_us, lambda: self._run_ends(slot, attempt, end))

    def entered(self) -> list[Attempt]:
        """What runs here, but for messages."""
        pools = [pool for pool in self.pools.values() if not pool.kind.receiver]
        heads = [slot.handed[0] for pool in pools for slot in pool.slots if slot.handed]
        return [attempt for attempt in heads if attempt.run is not NO_RUN]

    @property
    def exclusive(self) -> bool:
        """Whether work under a lease runs here."""
        heads = [slot.handed[0] for pool in self.pools.values() for slot in pool.slots if slot.handed]
        return any(attempt.exclusive and attempt.run is not NO_RUN for attempt in heads)

    def connected_slots(self) -> list[Slot]:
        """All slots that are there."""
        return [slot for pool in self.pools.values() for slot in pool.slots if slot.connected]

    def kill(self, slot: Slot) -> None:
        """A slot's process dies: what it had entered ends, what stands behind that is run by another."""
        if slot.pool.kind.receiver and slot.life is not None and not slot.life.dead:
            home = slot.life.attempt.slot
            assert home is not None
            self.kill(home)  # it is the same process
            return
        self.take_back_behind(slot)
        self.homes.close_lanes(slot)
        self.drop(slot)
        if slot.handed:
            attempt = slot.handed.pop()
            died = AttemptEnd.LOST if slot.pool.kind.receiver else AttemptEnd.CRASHED
            self._tell(slot, attempt, attempt.asked or (AttemptEnd.FAILED if attempt.wrong else died))
        self.homes.lanes_die(slot)
        self.pump(slot.pool)

    # --- slots

    def _close_surplus(self, pool: Pool) -> None:
        staying = [slot for slot in pool.slots if not slot.closing]
        surplus = len(staying) - pool.wanted
        if surplus <= 0:
            return
        staying.sort(key=lambda slot: (slot.connected, bool(slot.handed), -slot.number))
        for slot in staying[:surplus]:
            self.take_back_behind(slot)
            if slot.handed:
                slot.closing = True
            else:
                self.drop(slot)

    def _start(self, pool: Pool) -> None:
        home = self.homes.of(pool.kind)
        if pool.kind.receiver and home is None:
            self.end_waiting(pool, AttemptEnd.RECALLED)
            return
        self.started += 1
        slot = Slot(pool, self.started)
        slot.life = home.life if home is not None else None
        pool.slots.append(slot)
        slot.claim = Claim(pool.kind.resources, lambda: self._admitted(slot))
        self._machine.ask(slot.claim)
        self._world.after(self._setting.admission_us, self._withdraw, slot)

    def _withdraw(self, slot: Slot) -> None:
        """Ask anew for a slot that is not admitted; meanwhile others of its pool do its work."""
        if slot.gone or slot.connected:
            return
        if slot.pool.connected:
            self.drop(slot)
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

    def drop(self, slot: Slot) -> None:
        """Forget a slot; its room is free a little later."""
        slot.gone = True
        slot.pool.slots.remove(slot)
        assert slot.claim is not None
        self._world.after(self._world.between(0, _EXIT_US), self._machine.give_back, slot.claim)

    def _fill(self, slot: Slot, at_most: int) -> None:
        waiting = slot.pool.waiting
        at_most = min(at_most, slot.target)
        while waiting and slot.connected and not slot.closing and not slot.used and len(slot.handed) < at_most:
            if slot.handed and self._world.now_us - slot.handed[0].entered_us >= slot.long_us:
                return
            attempt = heappop(waiting)[3]
            attempt.slot = slot
            slot.handed.append(attempt)
            slot.used = slot.pool.kind.single_use
            if len(slot.handed) == 1:
                self._enter(slot, attempt)

    def take_back_behind(self, slot: Slot) -> None:
        """Put what a slot has not entered back into the queue."""
        while slot.handed and not slot.handed[-1].entered:
            slot.pool.push(slot.handed.pop())

    # --- attempts

    def _enter(self, slot: Slot, attempt: Attempt) -> None:
        attempt.entered = True
        attempt.entered_us = self._world.now_us
        if attempt.exclusive:
            self._enter_leased(slot, attempt)
        else:
            self._run(slot, attempt)

    def _enter_leased(self, slot: Slot, attempt: Attempt) -> None:
        """Its code is entered when there is a lease, and not before."""
        if not self.runs(slot, attempt):
            return
        if self._lease.left_us() > 0:
            self._run(slot, attempt)
            self._renew(slot, attempt)
        else:
            self._world.after(AGAIN_US, self._enter_leased, slot, attempt)

    def _renew(self, slot: Slot, attempt: Attempt) -> None:
        """When a third of what is left is over there has to be more; when all is, the kernel ends the process."""
        if not self.runs(slot, attempt):
            return
        left_us = self._lease.left_us()
        if left_us > 0:
            self._world.after(min(left_us, max(AGAIN_US // 2, left_us // 3)), self._renew, slot, attempt)
        else:
            self._world.after(self._lease.late_us(), self._dies_of, slot, attempt, AttemptEnd.LOST)

    def _dies_of(self, slot: Slot, attempt: Attempt, end: AttemptEnd) -> None:
        """The kernel kills its process: that is how it ended, unless it was asked to end before."""
        if self.runs(slot, attempt):
            attempt.asked = end if attempt.asked is None else attempt.asked
            self.kill(slot)

    def _run(self, slot: Slot, attempt: Attempt) -> None:
        """What an attempt's code does, once it is entered."""
        run = attempt.run = self._code.entered(
            attempt.job, attempt.number, attempt.inputs, self._machine.name, slot.pid
        )
        if attempt.carries is not None:
            slot.life = Life(self._world, self._uplink, self._code.lives, attempt, self._machine.name)
        if slot.life is None or slot.life.attempt is attempt:
            self._goes(slot, attempt, run)
        elif result := slot.life.known(attempt):
            attempt.result = result
            self._world.after(0, self._run_ends, slot, attempt, AttemptEnd.SUCCEEDED)
        else:
            slot.life.enter(attempt, lambda: self._goes(slot, attempt, run))

    def _goes(self, slot: Slot, attempt: Attempt, run: Run) -> None:
        after = self._world.after
        if run.fate is Fate.SUCCEED or run.fate is Fate.FAIL:
            end = AttemptEnd.SUCCEEDED if run.fate is Fate.SUCCEED else AttemptEnd.FAILED
            after(run.run_us, self._run_ends, slot, attempt, end)
        elif run.fate is Fate.DECLINE:
            after(run.run_us, self._run_ends, slot, attempt, AttemptEnd.DECLINED)
        elif run.fate is Fate.CRASH:
            after(run.run_us, self._process_ends, slot, attempt)
        elif run.fate is Fate.STARVE:
            after(run.run_us, self._dies_of, slot, attempt, AttemptEnd.OUT_OF_MEMORY)
        hangs = run.fate is Fate.HANG
        if hangs or run.run_us > slot.long_us:
            after(slot.long_us, self._is_long, slot, attempt)
        if slot.pool.kind.agent and slot.used:
            after(run.looks_us, self.homes.takes_messages, slot, attempt)
        if attempt.timeout_us and (hangs or run.run_us > attempt.timeout_us):
            after(attempt.timeout_us, self._times_out, slot, attempt)

    def runs(self, slot: Slot, attempt: Attempt) -> bool:
        """Whether an attempt is what a slot runs."""
        return not slot.gone and bool(slot.handed) and slot.handed[0] is attempt

    def _is_long(self, slot: Slot, attempt: Attempt) -> None:
        if self.runs(slot, attempt):
            self.take_back_behind(slot)
            self._uplink.add_entered(attempt.key, attempt.number, self.wall(attempt.entered_us))
            self.pump(slot.pool)

    def _times_out(self, slot: Slot, attempt: Attempt) -> None:
        if self.runs(slot, attempt) and attempt.asked is None:
            self.ask(attempt, AttemptEnd.TIMED_OUT, _TIMEOUT_GRACE_US)

    def _process_ends(self, slot: Slot, attempt: Attempt) -> None:
        """User code has killed its own process, or would not end when it was asked to."""
        if self.runs(slot, attempt):
            self.kill(slot)

    def _run_ends(self, slot: Slot, attempt: Attempt, end: AttemptEnd) -> None:
        """User code has returned or raised: by itself, or because it saw that it was asked to."""
        life = slot.life
        if not self.runs(slot, attempt) or (life and life.stands_still(self._run_ends, slot, attempt, end)):
            return
        if life is None or life.attempt is attempt or attempt.result:
            self._is_over(slot, attempt, end)
        else:
            result = self._result(attempt, end)
            life.ended(attempt, end, result, lambda: self._is_over(slot, attempt, end))

    def _is_over(self, slot: Slot, attempt: Attempt, end: AttemptEnd) -> None:
        if not self.runs(slot, attempt):
            return
        self.homes.close_lanes(slot)
        slot.handed.pop(0)
        slot.usual_us = self._world.now_us - attempt.entered_us
        slot.target = self._setting.handed_max
        self._tell(slot, attempt, end)
        self.homes.lanes_die(slot)
        if slot.used or (slot.closing and not slot.handed):
            self.drop(slot)
        elif slot.handed:
            self._enter(slot, slot.handed[0])
        self.pump(slot.pool)

    def _tell(self, slot: Slot, attempt: Attempt, end: AttemptEnd) -> None:
        """Report the end of an attempt that was entered."""
        result, error = self._result(attempt, end), None
        if end in (AttemptEnd.FAILED, AttemptEnd.CRASHED, AttemptEnd.OUT_OF_MEMORY, AttemptEnd.DECLINED):
            told = f"{attempt.job} {end.name.lower()} in attempt {attempt.number}"
            error = attempt.wrong or attempt.run.error or ("Error", told)
        ended = End(
            attempt.key,
            attempt.number,
            end,
            self._world.wall_us,
            entered_us=self.wall(attempt.entered_us),
            pid=slot.pid,
            result=result,
            error=error,
            again_ms=attempt.run.again_ms if end is AttemptEnd.DECLINED else 0,
        )
        self._ended(attempt, ended)

    def _result(self, attempt: Attempt, end: AttemptEnd) -> bytes:
        if end is not AttemptEnd.SUCCEEDED:
            return b""
        told = f"{attempt.job} by attempt {attempt.number} of {self._incarnation}"
        return attempt.result or inline(told.encode())

    def wall(self, now_us: int) -> int:
        """An instant as the wall clocks show it."""
        return now_us + self._world.wall_shift_us

    def _not_admitted(self, pool: Pool, since: int) -> None:
        """Nothing of a kind was admitted in time: withdraw its slots, send its attempts back."""
        if not self._alive or pool.starving != since or since == 0:
            return
        for slot in list(pool.slots):
            self.drop(slot)
        pool.starving = 0
        self.end_waiting(pool, AttemptEnd.RECALLED if pool.kind.receiver else AttemptEnd.NOT_ADMITTED)
        self.pump(pool)

    def end_waiting(self, pool: Pool, end: AttemptEnd) -> None:
        """End what waits for a slot of a kind."""
        waiting, pool.waiting = sorted(pool.waiting), []
        for _, _, _, attempt in waiting:
            self._ended(attempt, End(attempt.key, attempt.number, end, self._world.wall_us))
