"""The slots of a node: starting them, feeding them, hearing them, and dealing with their ends."""

import asyncio
import socket
from typing import Any

from kos_ray.model.failpoints import reach
from kos_ray.model.ids import NodeId
from kos_ray.model.job import AttemptEnd, SlotKind
from kos_ray.runtime.agent.attempt import Attempt, Ledger
from kos_ray.runtime.agent.calls import Calls
from kos_ray.runtime.agent.carriers import Carriers
from kos_ray.runtime.agent.door import Door
from kos_ray.runtime.agent.endings import Endings, cause_of, now_us
from kos_ray.runtime.agent.files import NodeFiles
from kos_ray.runtime.agent.left_behind import Noted
from kos_ray.runtime.agent.pool import Pool
from kos_ray.runtime.agent.ports import AgentLimits, Blobs, SlotStarter
from kos_ray.runtime.agent.reports import Error, Reports
from kos_ray.runtime.agent.samples import Running, of_slots
from kos_ray.runtime.agent.slot_end import SlotEnd
from kos_ray.worker.packets import BEAT, CALL, CODE, COMMAND, ENDED, PROGRESS, READY

_NOT_ADMITTED = AttemptEnd.NOT_ADMITTED
#: between two looks: after longer than this it was not only others who were silent
_STOOD_STILL_S = 1.0


class Fleet:
    """All pools of a node and their slots."""

    def __init__(
        self,
        *,
        node: NodeId,
        incarnation: str,
        files: NodeFiles,
        starter: SlotStarter,
        blobs: Blobs,
        ledger: Ledger,
        reports: Reports,
        endings: Endings,
        calls: Calls,
        limits: AgentLimits,
    ) -> None:
        self._node = node
        self._incarnation = incarnation
        self._files = files
        self._starter = starter
        self._blobs = blobs
        self._ledger = ledger
        self._reports = reports
        self._endings = endings
        self._calls = calls
        self._limits = limits
        self._noted = Noted(files.root)
        self.pools: dict[SlotKind, Pool] = {}
        self._carriers = Carriers(reports)
        self._slots: dict[str, tuple[Pool, SlotEnd]] = {}
        self._started = 0
        self._loop = asyncio.get_running_loop()
        self._door = Door(self._greeted)
        self._watching: asyncio.TimerHandle | None = None
        self._watched_at = self._loop.time()

    def open(self) -> None:
        """Listen for slots."""
        self._door.open(self._files.socket_path())

    def close(self) -> None:
        """Let every slot go: idle ones end now, busy ones when their attempt ends."""
        if self._watching:
            self._watching.cancel()
        for pool, slot in list(self._slots.values()):
            if not slot.connected and slot.handle is not None:
                slot.handle.cancel()
            self._drop(pool, slot)
        self._door.close()

    def pool(self, kind: SlotKind) -> Pool:
        """The pool of a kind, made when it is new."""
        pool = self.pools.get(kind)
        if pool is None:
            pool = self.pools[kind] = Pool(kind)
        return pool

    def pump(self, pool: Pool) -> None:
        """Bring work and slots of a pool together: feed those that are there, start what is due, close what is not."""
        for slot in pool.surplus():
            self._release(pool, slot)
        pool.fill_all()
        if pool.waiting and not pool.ready and not pool.fetching:
            pool.fetching = True
            self._endings.spawn(self._fetch_code(pool))
        for _ in range(pool.starts_due()):
            self._start(pool)
        if not pool.waiting or pool.connected or not pool.ready:
            pool.starving_since = None
        elif pool.starving_since is None:
            pool.starving_since = self._loop.time()
        if pool.empty:
            self.pools.pop(pool.kind, None)
        elif self._watching is None:
            self._watch_later()

    # ---- starting

    async def _fetch_code(self, pool: Pool) -> None:
        directory = self._files.root / CODE / pool.kind.code
        try:
            if not await asyncio.to_thread(directory.is_dir):
                await self._blobs.bundle(pool.kind.code, directory)
            pool.ready = True
        except Exception as error:  # noqa: BLE001 - whatever the store raises is the reason that is reported
            message = f"the code bundle {pool.kind.code} could not be brought up: {error}"
            self._end_waiting(pool, AttemptEnd.UNPREPARED, (type(error).__name__, message, ""))
        pool.fetching = False
        self.pump(pool)

    def _start(self, pool: Pool) -> None:
        self._started += 1
        name = f"{self._incarnation}-{self._started}"
        lane = self._carriers.open_lane(pool.kind, name) if pool.kind.receiver else None
        if pool.kind.receiver and lane is None:
            self._end_waiting(pool, AttemptEnd.RECALLED)
            return
        slot = SlotEnd(
            name,
            kind=pool.kind,
            files=self._files,
            limits=self._limits,
            now=self._loop.time(),
        )
        pool.slots[slot.id] = slot
        self._slots[slot.id] = (pool, slot)
        reach("agent.before_slot")
        slot.handle = lane or self._starter.start(slot.id, pool.kind, str(self._door.path))
        slot.handle.done.add_done_callback(lambda _: self._process_ended(pool, slot))

    def _process_ended(self, pool: Pool, slot: SlotEnd) -> None:
        """The starter says that a slot's process ended, or will never start."""
        if slot.dropped:
            return
        if slot.connected:
            self._gone(pool, slot)
            return
        assert slot.handle is not None
        cause = cause_of(slot.handle.done)
        self._drop(pool, slot)
        pool.failed_starts += 1
        if pool.failed_starts >= self._limits.failed_starts_max and not pool.connected:
            message = f"{pool.failed_starts} slots ended before they were ready; the last one: {cause or 'no cause'}"
            pool.failed_starts = 0
            self._end_waiting(pool, AttemptEnd.UNPREPARED, ("SlotFailed", message, ""))
        self.pump(pool)

    def _end_waiting(self, pool: Pool, end: AttemptEnd, error: Error | None = None) -> None:
        for attempt in pool.waiting_attempts():
            pool.dropped()
            self._endings.unentered(attempt, end, error)

    # ---- greeting

    def _greeted(self, boots: bool, name: str, stream: socket.socket, pid: int) -> bool:
        """A process says that it is a slot, or boots to be one: who is expected is welcome."""
        found = self._slots.get(name)
        if found is None:
            return False
        if boots:
            found[1].boots_since = self._loop.time()
            return False
        if found[1].connected:
            return False
        self._welcome(*found, stream, pid)
        return True

    def _welcome(self, pool: Pool, slot: SlotEnd, stream: socket.socket, pid: int) -> None:
        code = str(self._files.root / CODE / pool.kind.code) if pool.kind.code else ""
        try:
            slot.connect(stream, pid, self._node, code)
        except OSError:
            self._drop(pool, slot)
            self.pump(pool)
            return
        pool.failed_starts = 0
        self._noted.slot(pid)
        reach("agent.slot_connected")
        self._loop.add_reader(slot.stream_fd, self._readable, pool, slot)
        self._loop.add_reader(slot.pidfd, self._gone, pool, slot)
        self.pump(pool)

    # ---- hearing

    def _readable(self, pool: Pool, slot: SlotEnd) -> None:
        """Take in what a slot says, and give it more to do."""
        heard = slot.listen()
        if heard is None:
            if slot.finished:
                self._gone(pool, slot)
            return
        self._hear(pool, slot, heard)
        pool.fill(slot)
        if not slot.handed and len(pool.slots) > pool.wanted:
            self.pump(pool)

    def _hear(self, pool: Pool, slot: SlotEnd, heard: list[tuple[Any, ...]]) -> None:
        endings = self._endings
        handed = slot.handed
        before = len(handed)
        for message in heard:
            kind = message[0] if isinstance(message, tuple) and message else None
            mine = bool(handed) and (handed[0].key, handed[0].number)
            if kind is None or (kind == ENDED and mine != message[1:3]):
                # Only user code that writes to our descriptors can bring this about: nothing that follows counts.
                slot.finished = True
                slot.kill()
                return
            if kind == ENDED:
                reach("agent.outcome_heard")
                self._noted.forget(handed[0].group)
                endings.outcome(slot, handed.popleft(), message)
                slot.ran(message[5] - message[4])
            elif kind == COMMAND and handed:
                handed[0].group = message[3]
                self._noted.command(message[3])
            elif kind == PROGRESS and handed:
                self._reports.add_progress(handed[0].key, handed[0].number, *message[3:])
            elif kind == READY and handed:
                slot.heard_at = self._loop.time()
                self._carriers.ready(pool.kind, slot, self._entered_us(slot))
            elif kind == BEAT:
                slot.heard_at = self._loop.time()
            elif kind == CALL and handed:
                self._calls.hear(slot, handed[0], *message[3:])
        if len(handed) != before:
            slot.head_since = self._loop.time()

    def _gone(self, pool: Pool, slot: SlotEnd) -> None:
        """A slot's process has ended, or its line has."""
        if slot.dropped:
            return
        while (heard := slot.listen()) is not None:
            self._hear(pool, slot, heard)
        pool.take_back(slot)
        self._close_lanes(pool, slot)
        if slot.handed:
            slot.kill()
            self._endings.died(slot, self._entered_us(slot))
        else:
            self._endings.store_log(slot.log_file)
        self._drop(pool, slot)
        self.pump(pool)

    def _close_lanes(self, pool: Pool, slot: SlotEnd) -> None:
        """If an agent lives in a slot that is to end, it gets nothing more; what it handles now it may end."""
        for lanes in self._carriers.away(pool.kind, slot, self.pools.values()):
            for lane in list(lanes.slots.values()):
                self._release(lanes, lane)
            self._end_waiting(lanes, AttemptEnd.RECALLED)

    def _entered_us(self, slot: SlotEnd) -> int:
        """When the first of `handed` was entered: right after the one before it, or when it was handed over."""
        return now_us() - int((self._loop.time() - slot.head_since) * 1e6)

    def _drop(self, pool: Pool, slot: SlotEnd) -> None:
        """Forget a slot."""
        slot.dropped = True
        for pid in (slot.pid, *[attempt.group for attempt in slot.handed]):
            self._noted.forget(pid)
        if slot.connected:
            self._loop.remove_reader(slot.stream_fd)
            self._loop.remove_reader(slot.pidfd)
        slot.close()
        pool.slots.pop(slot.id, None)
        self._slots.pop(slot.id, None)

    def _release(self, pool: Pool, slot: SlotEnd) -> None:
        """Let a slot end that is not wanted any more; what it runs now it may finish."""
        if slot.connected:
            slot.close_queue()
            pool.take_back(slot)
        elif slot.handle is not None:
            self._drop(pool, slot)
            slot.handle.cancel()

    # ---- recall and stop

    def take_back_all(self) -> None:
        """Put everything that has not been entered back into the queues."""
        for pool, slot in self._slots.values():
            pool.take_back(slot)

    def holders(self, attempts: set[Attempt]) -> list[tuple[Pool, SlotEnd]]:
        """The slots to which any of these attempts has been handed."""
        return [held for held in self._slots.values() if not attempts.isdisjoint(held[1].handed)]

    def running(self, attempt: Attempt) -> SlotEnd | None:
        """The slot that runs an attempt, or is about to."""
        return next((slot for _, slot in self._slots.values() if slot.handed and slot.handed[0] is attempt), None)

    def ask(self, slot: SlotEnd, attempt: Attempt, end: AttemptEnd, grace_ms: int, *, for_good: bool = False) -> None:
        """Ask an entered attempt to end, and see to it that it is killed when it has not by then."""
        margin_ms = self._limits.command_margin_ms if attempt.spec.command else 0
        kill_at = self._loop.time() + (grace_ms + margin_ms) / 1000
        if attempt.asked is None:
            attempt.asked = int(end)
            attempt.kill_at = kill_at
        elif kill_at >= attempt.kill_at:
            return
        attempt.kill_at = kill_at
        slot.ask_to_stop(attempt, grace_ms, for_good=for_good)
        self._close_lanes(attempt.pool, slot)
        if grace_ms + margin_ms <= 0:
            slot.kill()

    def processes(self) -> list[Running]:
        """The processes of slots, with what they run."""
        return of_slots(slot for _, slot in self._slots.values())

    def starting(self) -> tuple[tuple[str, int, bool], ...]:
        """Slots that are not ready: their namespace, since how many seconds, and whether they have a process yet."""
        some = [(pool.kind.namespace, slot) for pool, slot in self._slots.values() if not slot.connected]
        now = self._loop.time()
        return tuple((space, int(now - slot.started_at), slot.boots_since is not None) for space, slot in some)

    # ---- what time brings

    def _watch_later(self) -> None:
        self._watching = self._loop.call_later(self._limits.report_entered_after_ms / 2000, self._watch)

    def _watch(self) -> None:
        """See to long attempts, timeouts, kills that are due, and slots that do not come."""
        self._watching = None
        now = self._loop.time()
        stood_still, self._watched_at = now - self._watched_at > _STOOD_STILL_S, now
        for pool in list(self.pools.values()):
            for slot in list(pool.slots.values()):
                if stood_still:  # whoever stood still with us shows a sign of life from now on
                    slot.heard_at = now
                if slot.handed:
                    self._watch_head(pool, slot, now)
                elif not slot.connected:
                    self._watch_start(pool, slot, now)
            starving = pool.starving_since
            late = starving is not None and now - starving > self._limits.admission_ms / 1000
            if late and not any(slot.boots(now) for slot in pool.slots.values()):
                self._not_admitted(pool)
        if self._watching is None and (self._ledger.held or any(not s.connected for _, s in self._slots.values())):
            self._watch_later()

    def _watch_head(self, pool: Pool, slot: SlotEnd, now: float) -> None:
        """What stands first in a slot for long has been entered, and nothing should wait behind it."""
        elapsed_ms = (now - slot.head_since) * 1000
        head = slot.handed[0]
        if not head.reported:
            if elapsed_ms < slot.long_after_ms():
                return
            slot.target = 1
            if len(slot.handed) > 1 and pool.take_back(slot):
                self.pump(pool)
            if not slot.handed or slot.handed[0] is not head or not slot.entered_all():
                return
            head.reported = True
            self._reports.add_entered(head.key, head.number, self._entered_us(slot), slot.pid)
        if head.asked is None and 0 < head.spec.timeout_ms <= elapsed_ms:
            # an agent whose life has a limit is over for good: its state goes with it, nobody wants it saved
            self.ask(slot, head, AttemptEnd.TIMED_OUT, self._limits.timeout_grace_ms, for_good=True)
        if head.asked is not None and now >= head.kill_at:
            slot.kill()
        elif head.wrong is None and (wrong := self._carriers.wrong(slot, elapsed_ms, now)) is not None:
            head.wrong = wrong
            slot.kill()

    def _watch_start(self, pool: Pool, slot: SlotEnd, now: float) -> None:
        """Withdraw a start that Ray does not admit, and ask anew; meanwhile others of the pool do its work."""
        if pool.connected and slot.late(now) and not slot.dropped:
            self._release(pool, slot)
            self.pump(pool)

    def _not_admitted(self, pool: Pool) -> None:
        for slot in list(pool.slots.values()):
            if not slot.connected:
                self._release(pool, slot)
        self._end_waiting(pool, AttemptEnd.RECALLED if pool.kind.receiver else _NOT_ADMITTED)
        self.pump(pool)
