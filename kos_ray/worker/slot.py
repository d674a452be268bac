"""The slot: one process that runs attempts one after another until its queue is closed."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from kos_ray.model.errors import Decline
from kos_ray.model.failpoints import reach
from kos_ray.model.job import AttemptEnd, Carries, Guarantee
from kos_ray.model.payload import inline
from kos_ray.worker import failpoint
from kos_ray.worker.children import Connect, Family
from kos_ray.worker.command import run_command
from kos_ray.worker.context import Context, provide
from kos_ray.worker.gang import read_gang
from kos_ray.worker.lease import Lease
from kos_ray.worker.line import Line
from kos_ray.worker.memory import oom_kills
from kos_ray.worker.output import Output
from kos_ray.worker.packets import GANGS, INBOX, LEASE, SCRATCH, unpack
from kos_ray.worker.prepare import Inputs, Preparer, Ready
from kos_ray.worker.results import (
    Error,
    Unpicklable,
    describe,
    describe_exit,
    judged,
    not_started,
    pack_exception,
    pack_result,
)
from kos_ray.worker.voice import Progress, Voice

_SUCCEEDED = int(AttemptEnd.SUCCEEDED)
_FAILED = int(AttemptEnd.FAILED)
_STOPPED = int(AttemptEnd.STOPPED)
_UNPREPARED = int(AttemptEnd.UNPREPARED)
_DECLINED = int(AttemptEnd.DECLINED)
_OUT_OF_MEMORY = int(AttemptEnd.OUT_OF_MEMORY)

#: what a command, or the shell around it, ends with when the kernel kills it
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)

#: bytes of an event that a command gets in a variable
_EVENT_MAX = 100_000

#: The pickle of 0: what a command that exited with 0 returns.
_ZERO = inline(b"\x80\x05K\x00.")


def run_slot(socket_path: str, slot_id: str, connect: Connect | None = None) -> None:
    """Be the slot `slot_id` of the node agent at `socket_path`; returns when the agent has no more work for it.

    Call it in the main thread of a process that does nothing else: it takes over standard output and error, and user
    code runs in the calling thread. Both are given back at the end, as is `sys.path`. `connect` makes a client for jobs
    that ask about their children.

    Raises:
        OSError: nobody listens at the socket.
        AgentGone: the agent does not expect this slot.

    """
    failpoint.arm()
    line = Line(socket_path, slot_id)
    reach("slot.connected")
    output = Output(Path(line.welcome.log))
    path_before = list(sys.path)
    if line.welcome.code:
        sys.path.insert(0, line.welcome.code)
    slot = Slot(line, output, Family(connect))
    provide(slot.context)
    try:
        while (packet := line.next_packet()) is not None:
            slot.run(*packet)
    finally:
        provide(None)
        slot.progress.close()
        slot.family.close()
        sys.path[:] = path_before
        output.close()
        line.close()


class Positioned(Protocol):
    """What an attempt's output is cut from."""

    def position(self) -> int:
        """Bytes written so far."""
        ...


class Slot:
    """What one slot keeps from attempt to attempt, and the attempt that it runs now."""

    def __init__(self, line: Line, output: Positioned, family: Family) -> None:
        self._line = line
        self._output = output
        self.directory = Path(line.welcome.directory)
        self._preparer = Preparer(self.directory)
        self._log_end = output.position()
        self._key = 0
        self._attempt = 0
        self._public_id = ""
        self._restored = b""
        self._scheduled_us = 0
        self._latest, self._told = b"", ""
        self._entered_us = 0
        self._ready: Ready | None = None
        self._context: Context | None = None
        self._voice: Voice | None = None
        self._stop_seen = False
        self._exit_code: int | None = None
        self.progress = Progress(line.progress)
        self.family = family

    def run(self, key: int, attempt: int, rest: tuple[Any, ...]) -> None:
        """Run one attempt to its end and send the outcome."""
        if len(rest) == 1:
            rest = self._spilled(rest[0])
        self._key, self._attempt = key, attempt
        reach("slot.taken")
        self._public_id, spec_name, args, inputs, *more = rest
        self._restored = more[0] if more else b""
        self._scheduled_us = more[1] if len(more) > 1 else 0
        self._latest, self._told = more[2:] if len(more) > 2 else (b"", "")
        self._entered_us = time.time_ns() // 1000
        self._stop_seen = False
        self._exit_code = None
        end, result, error = self._prepared(spec_name, args, inputs)
        ended_us = time.time_ns() // 1000
        if self._context is not None or (self._ready is not None and self._ready.call is None):
            self._clean()
        log_start, self._log_end = self._log_end, self._output.position()
        cut = (log_start, self._log_end)
        reach("slot.before_outcome")
        self._line.ended(self._key, self._attempt, end, self._entered_us, ended_us, result, cut, error, self._exit_code)
        reach("slot.after_outcome")

    def _prepared(self, spec_name: str, args: bytes, inputs: Inputs) -> tuple[int, bytes, Error | None]:
        """Load what the attempt needs, and run it."""
        self._ready = None
        try:
            ready = self._preparer.spec(spec_name)
            positional, named = self._preparer.arguments(args, inputs)
            lease = self._lease() if ready.spec.guarantee is Guarantee.EXACTLY_ONCE else None
        except BaseException as error:  # noqa: BLE001 - modules run user code when they are imported
            return _UNPREPARED, b"", describe(error)
        self._ready = ready
        try:
            return self._in_environment(ready, positional, named)
        finally:
            if lease is not None:
                lease.close()

    def _lease(self) -> Lease:
        """From here on this process is ended when nobody renews the lease: waits until there is one."""
        return Lease(lambda: int(self._line.ask(self._key, self._attempt, LEASE, ())))

    def _in_environment(
        self, ready: Ready, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[int, bytes, Error | None]:
        """Run it with the environment variables of its spec."""
        if not ready.env:
            return self._entered(ready, positional, named)
        before = {name: os.environ.get(name) for name, _ in ready.env}
        os.environ.update(ready.env)
        try:
            return self._entered(ready, positional, named)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _entered(
        self, ready: Ready, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[int, bytes, Error | None]:
        reach("slot.before_entry")
        if ready.call is None:
            return self._command(ready)
        try:
            call = ready.call if ready.spec.carries is None else self._living(ready, ready.spec.carries)
            value = call(*positional, **named)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises ends the attempt, not the slot
            end = _STOPPED if self._stop_seen else _FAILED
            if isinstance(error, MemoryError) and ready.spec.on_oom is not None:
                end = _OUT_OF_MEMORY
            elif isinstance(error, Decline) and ready.spec.message:
                end = _DECLINED
            return end, pack_exception(error), judged(error, ready.spec.not_on)
        if self._stop_seen:
            return _STOPPED, b"", None
        reach("slot.code_returned")
        try:
            return _SUCCEEDED, pack_result(value, self.directory), None
        except (Unpicklable, OSError) as error:
            return _FAILED, b"", (type(error).__name__, str(error), "")

    def _living(self, ready: Ready, carries: Carries) -> Callable[..., Any]:
        """What runs for as long as an agent lives here."""
        from kos_ray.worker.agent_host import Life  # noqa: PLC0415 - only agents pay for it

        context = self.context()
        assert context is not None
        return Life(ready.call, carries, ready.spec.grace_ms, self._line, context, self.family)

    def _started(self, ready: Ready, group: int) -> None:
        self._line.command(self._key, self._attempt, group)
        if ready.spec.carries is not None:
            self._line.ready(self._key, self._attempt)

    def _command(self, ready: Ready) -> tuple[int, bytes, Error | None]:
        code_directory = self._line.welcome.code
        directory = Path(code_directory) if code_directory else self._scratch
        names = {"KOS_JOB_ID": self._public_id, "KOS_ATTEMPT": str(self._attempt), "KOS_NODE": self._line.welcome.node}
        names |= {"KOS_TOKEN": self._public_id, "KOS_FENCE": str(self._attempt)}
        if self._scheduled_us:
            at = datetime.fromtimestamp(self._scheduled_us // 1_000_000, UTC)
            names["KOS_SCHEDULED_AT"] = at.isoformat().replace("+00:00", "Z")
        gang = read_gang(self._gang_file)
        if gang is not None:
            names |= {"RANK": str(gang.rank), "WORLD_SIZE": str(gang.size), "KOS_GANG_FILE": str(self._gang_file)}
        kills = oom_kills()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            names |= self._event_names()
            code = run_command(
                ready.spec.command,
                env={**os.environ, **names},
                directory=directory,
                wake_fd=self._line.fd,
                stop_grace_ms=self._stop_grace_ms,
                started=partial(self._started, ready),
                dies_with_us=ready.spec.guarantee is Guarantee.EXACTLY_ONCE,
            )
        except OSError as error:
            self._exit_code, told = not_started(error, ready.spec.command[0])
            return _UNPREPARED, b"", told
        self._exit_code = code if code >= 0 else 128 - code
        if self._stop_seen:
            return _STOPPED, b"", None
        if code == 0:
            return _SUCCEEDED, _ZERO, None
        if code in _KILLED and oom_kills() > kills:
            return _OUT_OF_MEMORY, b"", ("OutOfMemory", f"{ready.spec.command[0]} was killed: no memory was left", "")
        return _FAILED, b"", ("CommandFailed", f"{ready.spec.command[0]} {describe_exit(code)}", "")

    def _event_names(self) -> dict[str, str]:
        """What a command is told of the event that it was made for; the kernel takes no variable of 128 KiB."""
        if len(self._told.encode()) <= _EVENT_MAX:
            return {"KOS_EVENT": self._told} if self._told else {}
        self._scratch.mkdir(parents=True, exist_ok=True)
        file = self._scratch / "event.json"
        file.write_text(self._told, encoding="utf-8")
        return {"KOS_EVENT_FILE": str(file)}

    def _stop_grace_ms(self) -> int | None:
        grace_ms = self._line.stop_grace_ms(self._key, self._attempt)
        if grace_ms is not None:
            self._stop_seen = True
            reach("slot.stop_seen")
        return grace_ms

    def _stop_asked(self) -> bool:
        return self._stop_seen or self._stop_grace_ms() is not None

    @property
    def _scratch(self) -> Path:
        return self.directory / SCRATCH / f"{self._key}-{self._attempt}"

    @property
    def _gang_file(self) -> Path:
        return self.directory / GANGS / f"{self._key}-{self._attempt}.json"

    def context(self) -> Context | None:
        """The context of the attempt that runs now, made when it is first asked for."""
        if self._context is None and self._ready is not None:
            timeout_us = self._ready.timeout_us
            self._voice = Voice(
                self.progress,
                self._line.ask,
                self.family,
                self.directory,
                self._ready.spec,
                job_id=self._public_id,
                key=self._key,
                attempt=self._attempt,
            )
            restored, latest = self._restored, self._latest
            self._context = Context(
                job_id=self._public_id,
                key=self._key,
                attempt=self._attempt,
                node=self._line.welcome.node,
                deadline=(self._entered_us + timeout_us) / 1e6 if timeout_us else None,
                scratch=self._scratch,
                stop_asked=self._stop_asked,
                voice=self._voice,
                restored=lambda: self._preparer.value(restored),
                gang=partial(read_gang, self._gang_file),
                scheduled_us=self._scheduled_us,
                latest=lambda: self._preparer.value(latest),
                told=self._told,
            )
        return self._context

    def _clean(self) -> None:
        self._context = None
        if self._voice is not None:
            self._voice.over = True
            self._voice = None
            self.progress.flush()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _spilled(self, name: str) -> tuple[Any, ...]:
        """The rest of a packet that was too large for the queue."""
        path = self.directory / INBOX / name
        rest = unpack(path.read_bytes())
        path.unlink()
        return rest
