"""Reports on their way to the scheduler: gathered while one is in flight, kept until acknowledged."""

import asyncio
from collections import deque
from collections.abc import Callable

from kos_ray.model import events
from kos_ray.model.agent_snapshots import AgentsUnsaved
from kos_ray.model.agents import AgentsSaid
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.protocol import Acked, Report
from kos_ray.runtime.agent.ports import AgentLimits, Uplink

#: type, message, traceback
Error = tuple[str, str, str]
#: key, attempt and number of checkpoints that count
Stored = tuple[tuple[JobKey, int, int], ...]
OnAcked = Callable[[Report, Stored], None]
#: log file, start byte, end byte
LogCut = tuple[str, int, int]


class _Columns:
    """The content of the next report."""

    def __init__(self) -> None:
        self.keys: list[JobKey] = []
        self.attempts: list[int] = []
        self.ends: list[int] = []
        self.entered_us: list[int] = []
        self.ended_us: list[int] = []
        self.pids: list[int] = []
        self.results: list[bytes] = []
        self.errors: list[events.AttemptError] = []
        self.cuts: list[tuple[int, str, int, int]] = []
        #: key, attempt, time and process
        self.entered: list[tuple[JobKey, int, int, int]] = []
        self.exit_codes: list[tuple[int, int]] = []
        self.logs: list[events.LogsStored] = []
        self.progress: dict[tuple[JobKey, int], tuple[int, str]] = {}
        #: key, attempt, number, payload, time
        self.checkpoints: list[tuple[JobKey, int, int, bytes, int, str]] = []
        self.unsaved: list[tuple[JobKey, int, str]] = []
        #: key, attempt, and whether the agent takes messages
        self.agents: list[tuple[JobKey, int, bool]] = []
        self.size = 0

    def __bool__(self) -> bool:
        said = self.progress or self.checkpoints or self.agents or self.unsaved
        return bool(self.keys or self.entered or self.logs or said)


class Reports:
    """All that has been said and not been acknowledged.

    `acked` is called with each report that is on disk, and with those of its checkpoints that counted.
    """

    def __init__(self, *, node: NodeId, incarnation: str, uplink: Uplink, limits: AgentLimits, acked: OnAcked) -> None:
        self._node = node
        self._incarnation = incarnation
        self._uplink = uplink
        self._limits = limits
        self._on_acked = acked
        self._next = _Columns()
        self._sealed: deque[Report] = deque()
        self._number = 0
        #: epoch of the highest scheduler seen; an older one's word about what is on disk does not count
        self.epoch = 0
        self._wake = asyncio.Event()
        self._nudge = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: asyncio.Timeout | None = None
        #: the newest word of each attempt that has not gone into a report, and when the last ones did
        self._progress: dict[tuple[JobKey, int], tuple[int, str]] = {}
        self._progress_timer: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        #: of commands whose ends are still to be reported
        self._exit_codes: dict[tuple[JobKey, int], int] = {}

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop sending; what is not acknowledged is dropped with the incarnation."""
        if self._progress_timer:
            self._progress_timer.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def add_end(
        self,
        key: JobKey,
        attempt: int,
        end: int,
        entered_us: int,
        ended_us: int,
        pid: int,
        result: bytes,
        error: Error | None,
        cut: LogCut | None,
    ) -> None:
        """Report the end of an attempt."""
        c = self._next
        if self._progress and (said := self._progress.pop((key, attempt), None)):
            c.progress[key, attempt] = said
        if error is not None:
            kind, message, traceback = error[:3]
            again_ms, lacks = error[3:] if len(error) > 4 else ((*error[3:], 0)[0], ())
            c.errors.append(
                events.AttemptError(
                    index=len(c.keys),
                    type=kind,
                    message=message,
                    traceback=traceback,
                    again_ms=again_ms,
                    lacks=tuple(lacks),
                )
            )
            c.size += len(error[1]) + len(error[2])
        if self._exit_codes and (code := self._exit_codes.pop((key, attempt), None)) is not None:
            c.exit_codes.append((len(c.keys), code))
        if cut is not None:
            c.cuts.append((len(c.keys), *cut))
        c.keys.append(key)
        c.attempts.append(attempt)
        c.ends.append(end)
        c.entered_us.append(entered_us)
        c.ended_us.append(ended_us)
        c.pids.append(pid)
        c.results.append(result)
        c.size += len(result)
        if len(c.keys) >= self._limits.report_outcomes_max or c.size >= self._limits.report_bytes_max:
            self._seal()
        self._wake.set()

    def add_exit_code(self, key: JobKey, attempt: int, code: int) -> None:
        """Note the exit code of a command, to be reported with its end."""
        self._exit_codes[key, attempt] = code

    def add_entered(self, key: JobKey, attempt: int, entered_us: int, pid: int) -> None:
        """Report that an attempt runs in a process, and is not a short one."""
        self._next.entered.append((key, attempt, entered_us, pid))
        self._wake.set()

    def add_progress(self, key: JobKey, attempt: int, share: int, text: str) -> None:
        """Report how far an attempt is: soon, with the newest words of all others, at the latest with its end."""
        self._progress[key, attempt] = (share, text)
        if self._progress_timer is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time(), self._progress_at + self._limits.progress_ms / 1000)
            self._progress_timer = loop.call_at(due, self._say_progress)

    def _say_progress(self) -> None:
        self._progress_timer = None
        self._progress_at = asyncio.get_running_loop().time()
        self._next.progress.update(self._progress)
        self._progress.clear()
        self._wake.set()

    def add_checkpoint(self, key: JobKey, attempt: int, number: int, payload: bytes, at_us: int, why: str = "") -> None:
        """Report the state that an attempt has saved; of an agent, `why`."""
        self._next.checkpoints.append((key, attempt, number, payload, at_us, why))
        self._next.size += len(payload)
        if self._next.size >= self._limits.report_bytes_max:
            self._seal()
        self._wake.set()

    def add_unsaved(self, key: JobKey, attempt: int, text: str) -> None:
        """Report why the agent which an attempt carries could not save its state when it was asked to."""
        self._next.unsaved.append((key, attempt, text))
        self._wake.set()

    def add_agent(self, key: JobKey, attempt: int, *, ready: bool) -> None:
        """Report that the agent which an attempt carries takes messages, or does no more."""
        self._next.agents.append((key, attempt, ready))
        self._wake.set()

    def add_log(self, stored: events.LogsStored) -> None:
        """Report that a log is stored as a blob."""
        self._next.logs.append(stored)
        self._wake.set()

    def unacknowledged(self) -> tuple[Report, ...]:
        """Everything that has not been acknowledged, oldest first; it is sent again at once."""
        self._seal()
        self._nudge.set()
        self._wake.set()
        if self._sending is not None:
            # What is in flight goes to a scheduler that may be gone: do not wait for its answer.
            self._sending.reschedule(asyncio.get_running_loop().time())
        return tuple(self._sealed)

    def acked(self, number: int, stored: Stored | None = None) -> None:
        """Reports up to `number` are on disk, and `stored` of their checkpoints; None: that has not been said."""
        while self._sealed and self._sealed[0].number <= number:
            if stored is None and self._sealed[0].checkpoints:
                return  # it is sent again, and answered
            self._on_acked(self._sealed.popleft(), stored or ())
            reach("agent.report_acked")
            self._nudge.set()

    async def _run(self) -> None:
        """Send the oldest report until it is acknowledged, then the next: one is in flight at most."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._next or self._sealed:
                if not self._sealed:
                    self._seal()
                report = self._sealed[0]
                self._nudge.clear()
                await self._send(report)
                if self._sealed and self._sealed[0] is report:
                    await self._pause()

    async def _send(self, report: Report) -> None:
        try:
            async with asyncio.timeout(self._limits.send_ms / 1000) as self._sending:
                reach("agent.before_report")
                answer = await self._uplink.send(report)
                reach("agent.after_report")
        except Exception:  # noqa: BLE001 - however the uplink fails, the report is sent again
            return
        finally:
            self._sending = None
        self.take(answer)

    def take(self, answer: Acked) -> None:
        """An acknowledgement, if it is about this incarnation and from no scheduler that has been replaced."""
        if answer.incarnation == self._incarnation and answer.epoch >= self.epoch:
            self.acked(answer.number, answer.stored)

    async def _pause(self) -> None:
        """Wait for the acknowledgement, a new scheduler, or the time to send again."""
        try:
            async with asyncio.timeout(self._limits.resend_ms / 1000):
                await self._nudge.wait()
        except TimeoutError:
            return

    def _seal(self) -> None:
        if not self._next:
            return
        c, self._next = self._next, _Columns()
        self._number += 1
        self._sealed.append(
            Report(
                node=self._node,
                incarnation=self._incarnation,
                number=self._number,
                entered=self._entered_event(c),
                ended=self._ended_event(c),
                logs=tuple(c.logs),
                progress=self._progress_event(c),
                checkpoints=self._checkpoints_event(c),
                agents=self._agents_event(c),
                unsaved=self._unsaved_event(c),
            )
        )

    def _progress_event(self, c: _Columns) -> tuple[events.ProgressMade, ...]:
        if not c.progress:
            return ()
        keys, attempts = zip(*c.progress, strict=True)
        shares, texts = zip(*c.progress.values(), strict=True)
        return (events.ProgressMade(node=self._node, keys=keys, attempts=attempts, shares=shares, texts=texts),)

    def _checkpoints_event(self, c: _Columns) -> tuple[events.CheckpointsStored, ...]:
        if not c.checkpoints:
            return ()
        keys, attempts, numbers, payloads, at_us, whys = zip(*c.checkpoints, strict=True)
        stored = events.CheckpointsStored(
            node=self._node,
            keys=keys,
            attempts=attempts,
            numbers=numbers,
            payloads=payloads,
            at_us=at_us,
            whys=tuple((i, why) for i, why in enumerate(whys) if why),
        )
        return (stored,)

    def _agents_event(self, c: _Columns) -> tuple[AgentsSaid, ...]:
        if not c.agents:
            return ()
        keys, attempts, ready = zip(*c.agents, strict=True)
        return (AgentsSaid(node=self._node, keys=keys, attempts=attempts, ready=ready),)

    def _unsaved_event(self, c: _Columns) -> tuple[AgentsUnsaved, ...]:
        if not c.unsaved:
            return ()
        keys, attempts, texts = zip(*c.unsaved, strict=True)
        return (AgentsUnsaved(node=self._node, keys=keys, attempts=attempts, texts=texts),)

    def _entered_event(self, c: _Columns) -> tuple[events.AttemptsEntered, ...]:
        if not c.entered:
            return ()
        keys, attempts, entered_us, pids = zip(*c.entered, strict=True)
        entered = events.AttemptsEntered(
            node=self._node, keys=keys, attempts=attempts, entered_us=entered_us, pids=pids
        )
        return (entered,)

    def _ended_event(self, c: _Columns) -> tuple[events.AttemptsEnded, ...]:
        if not c.keys:
            return ()
        return (
            events.AttemptsEnded(
                node=self._node,
                keys=tuple(c.keys),
                attempts=tuple(c.attempts),
                ends=tuple(c.ends),
                entered_us=tuple(c.entered_us),
                ended_us=tuple(c.ended_us),
                pids=tuple(c.pids),
                results=tuple(c.results),
                errors=tuple(c.errors),
                logs=tuple(c.cuts),
                exit_codes=tuple(c.exit_codes),
            ),
        )
