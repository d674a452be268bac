"""The slot's side of its two channels to the node agent."""

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from kos_ray.model.errors import KosError
from kos_ray.model.failpoints import reach
from kos_ray.worker.packets import (
    ANSWER,
    BEAT,
    CALL,
    COMMAND,
    ENDED,
    HEAD,
    HELLO,
    LANE,
    PACKET_MAX,
    PROGRESS,
    READY,
    SAVE,
    STOP,
    WELCOME,
    Welcome,
    pack,
    unpack,
    unpacker,
)
from kos_ray.worker.prepare import PYTHON
from kos_ray.worker.results import Error

#: between two looks for an answer: another thread may have taken it in
_LOOK_MS = 50


class AgentGone(KosError):
    """The node agent closed the line, or never answered on it."""


class Line:
    """Receives attempts from the queue and stop requests from the stream; sends outcomes."""

    def __init__(self, socket_path: str, slot_id: str) -> None:
        self.socket_path = socket_path
        self._stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._unpacker = unpacker()
        self._stop: tuple[int, int, int] | None = None
        self._calls = count(1)
        #: what went wrong and the value, by number of the call
        self._answers: dict[int, tuple[str, Any]] = {}
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._heard = threading.Condition()
        self.gone = False
        #: a stop that was asked for ends the job
        self.for_good = False
        #: lanes that are to be connected, and who is told when there is one, or a stop: another thread may have read it
        self.lanes: deque[str] = deque()
        #: how often an agent was asked to save its state since it last looked
        self.saves_asked = 0
        self.woken: Callable[[], object] | None = None
        try:
            self._stream.connect(socket_path)
            self._stream.sendall(pack((HELLO, slot_id, os.getpid(), PYTHON)))
            self.welcome, queue = self._welcomed()
        except BaseException:
            self._stream.close()
            raise
        self._queue = socket.socket(fileno=queue)
        # A packet is read into this buffer: a fresh 128 KiB for each would be mapped and unmapped every time.
        self._buffer = bytearray(PACKET_MAX)
        self._view = memoryview(self._buffer)
        self._queue_fd = queue
        self._poller = select.poll()
        self._poller.register(self._queue, select.POLLIN)
        self._poller.register(self._stream, select.POLLIN)
        _open_lines.append(self)

    def _welcomed(self) -> tuple[Welcome, int]:
        fds: list[int] = []
        while True:
            data, received, _, _ = socket.recv_fds(self._stream, 65536, 1)
            fds += received
            if not data:
                raise AgentGone("the node agent closed the connection; it does not expect this slot")
            self._unpacker.feed(data)
            for kind, *fields in self._unpacker:
                if kind == WELCOME and fds:
                    os.set_inheritable(fds[0], False)
                    return Welcome(*fields), fds[0]

    @property
    def fd(self) -> int:
        """Readable when `stop_grace_ms` may have something new."""
        return self._stream.fileno()

    def next_packet(self) -> tuple[int, int, tuple[Any, ...]] | None:
        """Key, number and the rest of the next attempt, waited for.

        None when the queue is closed and empty, or the agent is gone.
        """
        while not self.gone:
            try:
                size = self._queue.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if any(fd != self._queue_fd for fd, _ in self._poller.poll()):
                    self._read()
                continue
            if not size:
                return None
            key, attempt = HEAD.unpack_from(self._buffer)
            return key, attempt, unpack(self._view[HEAD.size : size])
        return None

    def ended(
        self,
        key: int,
        attempt: int,
        end: int,
        entered_us: int,
        ended_us: int,
        result: bytes,
        log: tuple[int, int],
        error: Error | None,
        exit_code: int | None,
    ) -> None:
        """Send an outcome, at once."""
        more = () if exit_code is None else (exit_code,)
        self._send((ENDED, key, attempt, end, entered_us, ended_us, result, log[0], log[1], error, *more))

    def command(self, key: int, attempt: int, group: int) -> None:
        """Tell which process group a command runs in, so that it can be ended when this process cannot."""
        self._send((COMMAND, key, attempt, group))
        reach("slot.command_told")

    def progress(self, key: int, attempt: int, share: int, text: str) -> None:
        """Tell how far an attempt is."""
        self._send((PROGRESS, key, attempt, share, text))

    def ready(self, key: int, attempt: int) -> None:
        """Tell that the agent that an attempt carries takes messages."""
        self._send((READY, key, attempt))

    def beat(self, key: int, attempt: int) -> None:
        """Tell that the agent that an attempt carries is alive."""
        self._send((BEAT, key, attempt))

    def ask(self, key: int, attempt: int, what: str, body: tuple[Any, ...]) -> Any:
        """Ask the agent for something, and wait for its answer.

        Raises:
            KosError: what went wrong.
            AgentGone: nobody will answer.

        """
        number = next(self._calls)
        reach("slot.before_call")
        self._send((CALL, key, attempt, number, what, body))
        reach("slot.after_call")
        poller = select.poll()
        poller.register(self._stream, select.POLLIN)
        while number not in self._answers:
            if self.gone:
                raise AgentGone("the node agent closed the line; what was asked may have been done or not")
            if self.woken is None:
                poller.poll(_LOOK_MS)
                self._read()
            else:  # another thread does nothing but read
                with self._heard:
                    self._heard.wait_for(lambda: self.gone or number in self._answers, _LOOK_MS / 1_000)
        wrong, value = self._answers.pop(number)
        reach("slot.call_answered")
        if wrong:
            raise KosError(wrong)
        return value

    def stop_grace_ms(self, key: int, attempt: int) -> int | None:
        """The grace of a stop request for this attempt, 0 when the agent is gone, None when nobody asks."""
        self._read()
        if self.gone:
            return 0
        stop = self._stop
        return stop[2] if stop is not None and stop[0] == key and stop[1] == attempt else None

    def close(self) -> None:
        """Close both channels; the agent sees the end of the line."""
        _open_lines.remove(self)
        self.close_sockets()

    def close_sockets(self) -> None:
        """Close this process's descriptors of both."""
        self._queue.close()
        self._stream.close()

    def _send(self, message: tuple[Any, ...]) -> None:
        """Send a message whole; threads of user code may have something to say at the same time."""
        with self._writing:
            try:
                self._stream.sendall(pack(message))
            except OSError:
                self.gone = True

    def _read(self) -> None:
        """Take in what has arrived on the stream. User threads may ask at the same time."""
        with self._reading:
            if self.gone:
                return
            try:
                data = self._stream.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.gone = True
            self._take_in(data)
        if self.woken is not None:
            with self._heard:
                self._heard.notify_all()
            self.woken()

    def _take_in(self, data: bytes) -> None:
        self._unpacker.feed(data)
        for kind, *fields in self._unpacker:
            if kind == STOP:
                self._stop = (fields[0], fields[1], fields[2])
                self.for_good = bool(fields[3:] and fields[3])
            elif kind == LANE:
                self.lanes.append(fields[0])
            elif kind == SAVE:
                self.saves_asked += 1
            elif kind == ANSWER:
                self._answers[fields[0]] = (fields[1], fields[2])


_open_lines: list[Line] = []


def _close_in_child() -> None:
    """A forked child must neither take packets nor keep the line open after its parent has died."""
    for line in _open_lines:
        line.close_sockets()
    _open_lines.clear()


os.register_at_fork(after_in_child=_close_in_child)
