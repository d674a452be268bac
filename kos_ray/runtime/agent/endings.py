"""How attempts end at a node agent: what has to be brought in first, and what is reported."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from kos_ray.model.events import LogsStored
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import NodeId
from kos_ray.model.job import AttemptEnd
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.runtime.agent.attempt import Attempt, Ledger, Stage
from kos_ray.runtime.agent.files import BlobCache, NodeFiles
from kos_ray.runtime.agent.leases import NodeLease
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent.reports import Error, Reports
from kos_ray.runtime.agent.slot_end import SlotEnd
from kos_ray.worker.memory import oom_kills

#: the name of what Ray raises where its memory monitor has killed a task
_RAYS_WORD = "OutOfMemoryError"
_ENDED = Stage.ENDED
_STOPPED = int(AttemptEnd.STOPPED)
_FAILED = int(AttemptEnd.FAILED)


class Endings:
    """Ends attempts: out of the ledger, into the reports."""

    def __init__(
        self,
        *,
        node: NodeId,
        ledger: Ledger,
        reports: Reports,
        files: NodeFiles,
        cache: BlobCache,
        limits: AgentLimits,
        lease: NodeLease,
        node_alive: Callable[[], bool],
    ) -> None:
        self._node = node
        self._lease = lease
        self._node_alive = node_alive
        self._ledger = ledger
        self._reports = reports
        self._files = files
        self._cache = cache
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on in the loop until it is done, or the agent is closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what goes on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def unentered(self, attempt: Attempt, end: AttemptEnd, error: Error | None = None) -> None:
        """End an attempt that no slot has entered."""
        self._end(attempt, int(end), 0, now_us(), 0, b"", error, None)

    def outcome(self, slot: SlotEnd, attempt: Attempt, message: tuple[Any, ...]) -> None:
        """End an attempt as its slot says (see `worker.packets`)."""
        _, _, _, end, entered_us, ended_us, result, log_start, log_end, error, *more = message
        if more:
            self._reports.add_exit_code(attempt.key, attempt.number, more[0])
        if end == _STOPPED and attempt.asked is not None:
            end = attempt.asked
        cut = None
        if log_end != log_start:
            cut = (slot.log_file, log_start, log_end)
            slot.log_at = log_end
        if result[:1] == b"\x01":
            attempt.stage = Stage.ENDING
            self.spawn(self._with_blob(attempt, end, entered_us, ended_us, slot.pid, result, cut))
        else:
            self._end(attempt, end, entered_us, ended_us, slot.pid, result, error, cut)

    def died(self, slot: SlotEnd, entered_us: int) -> None:
        """End what a slot had entered when its process died, as it was asked to or as a crash; then store its log."""
        reach("agent.slot_died")
        for attempt in slot.handed:
            attempt.stage = Stage.ENDING
        self.spawn(self._died(slot, entered_us, now_us()))

    async def _died(self, slot: SlotEnd, entered_us: int, ended_us: int) -> None:
        # By construction there is one; were there more, they would have been entered and have left no outcome.
        for attempt in slot.handed:
            error: Error | None = None
            end = attempt.asked
            if end is None and attempt.wrong is not None:
                end, error = _FAILED, attempt.wrong
            elif end is None and self._lease.ended(attempt.key, attempt.number):
                end = int(AttemptEnd.LOST)
                error = ("LeaseOver", "nobody renewed the lease of its exclusive work in time: it was ended", "")
            elif end is None and slot.lane:
                end = int(AttemptEnd.LOST)
                error = ("AgentLost", f"the agent's process {slot.pid} died while it handled this", "")
            elif end is None:
                cause = await self._cause(slot)
                if not self._node_alive():
                    return  # we end as well; the scheduler learns of the node's death and knows what was here
                # Ray's memory monitor says it; the kernel only counts
                starved = _RAYS_WORD in cause or oom_kills() > slot.oom_kills
                end = int(AttemptEnd.OUT_OF_MEMORY if starved else AttemptEnd.CRASHED)
                kind = "OutOfMemory" if starved else "Crashed"
                error = (kind, f"the process {slot.pid} that ran it died: {cause}", "")
            await asyncio.to_thread(self._files.remove_scratch, attempt.name)
            size = self._files.log_size(slot.log_file)
            cut = (slot.log_file, slot.log_at, size) if size > slot.log_at else None
            self._end(attempt, end, entered_us, ended_us, slot.pid, b"", error, cut)
        self.store_log(slot.log_file)

    async def _cause(self, slot: SlotEnd) -> str:
        """What the starter knows about the end of a process, if it knows it soon."""
        if slot.handle is None:
            return "the cause is unknown"
        await asyncio.wait([slot.handle.done], timeout=self._limits.crash_cause_ms / 1000)
        return cause_of(slot.handle.done) or "the cause is unknown"

    async def _with_blob(
        self,
        attempt: Attempt,
        end: int,
        entered_us: int,
        ended_us: int,
        pid: int,
        result: bytes,
        cut: tuple[str, int, int] | None,
    ) -> None:
        """Store a large result durably, however often that takes, before the end is reported."""
        ref = open_payload(result)
        assert isinstance(ref, BlobRef)
        error: Error | None = None
        if not await self._cache.keep_surely(ref.hash, self._limits.resend_ms / 1000):
            end, result = _FAILED, b""
            error = ("ResultLost", f"its result, {ref.size} bytes, vanished from the node before it was stored", "")
        self._end(attempt, end, entered_us, ended_us, pid, result, error, cut)

    def _end(
        self,
        attempt: Attempt,
        end: int,
        entered_us: int,
        ended_us: int,
        pid: int,
        result: bytes,
        error: Error | None,
        cut: tuple[str, int, int] | None,
    ) -> None:
        attempt.stage = _ENDED
        self._ledger.let_go(attempt)
        self._lease.forget(attempt.key, attempt.number)
        if attempt.blobs:
            self._cache.unuse(attempt.blobs)
        self._reports.add_end(attempt.key, attempt.number, end, entered_us, ended_us, pid, result, error, cut)
        reach("agent.end_noted")

    def store_log(self, file: str) -> None:
        """Store the log of a slot that has ended, unless it is empty; the file goes when that is acknowledged."""
        if self._files.log_size(file):
            self.spawn(self._store_log(file))
        else:
            self._files.remove_log(file)

    async def _store_log(self, file: str) -> None:
        copy: Path = await asyncio.to_thread(self._files.copy_log, file)
        size = await asyncio.to_thread(lambda: copy.stat().st_size)
        while True:
            try:
                await self._cache.keep(copy.name)
                break
            except Exception:  # noqa: BLE001 - the store is elsewhere and may come back
                await asyncio.sleep(self._limits.resend_ms / 1000)
        reach("agent.log_stored")
        self._reports.add_log(LogsStored(node=self._node, file=file, blob=copy.name, size=size))


def cause_of(done: "asyncio.Future[str]") -> str:
    """What a slot's handle says about its end, "" while it says nothing."""
    if not done.done():
        return ""
    if done.cancelled():
        return "it was cancelled"
    error = done.exception()
    return str(error) if error is not None else done.result()


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000
