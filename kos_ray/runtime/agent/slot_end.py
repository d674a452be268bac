"""The agent's end of one slot: its queue, its line and what is known of its process."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import struct
from collections import deque
from typing import Any

import msgpack

from kos_ray.model.failpoints import reach
from kos_ray.model.job import SlotKind
from kos_ray.model.protocol import told_after_us
from kos_ray.runtime.agent.attempt import Attempt, Stage
from kos_ray.runtime.agent.files import NodeFiles
from kos_ray.runtime.agent.ports import AgentLimits, SlotHandle
from kos_ray.runtime.agent.processes import kill_tree
from kos_ray.worker.memory import oom_kills
from kos_ray.worker.packets import ANSWER, HEAD, LANE, PACKET_MAX, SAVE, STOP, WELCOME, Welcome, pack, unpacker

_WAITING = Stage.WAITING
_HANDED = Stage.HANDED

#: asked of the kernel for the queue; without privileges it grants less, and the rest waits in the agent
_QUEUE_BYTES = 4 * 1024 * 1024
#: Linux's SO_SNDBUFFORCE, which the socket module does not name
_SO_SNDBUFFORCE = 32
#: a new run time counts for this share of a slot's mean
_MEAN_SHARE = 0.125


class SlotEnd:
    """One slot, from the request to start it to the end of its process."""

    def __init__(self, slot_id: str, *, kind: SlotKind, files: NodeFiles, limits: AgentLimits, now: float) -> None:
        self.id = slot_id
        #: it is no process of its own, but a lane into an agent's
        self.lane = bool(kind.receiver)
        self.handle: SlotHandle | None = None
        self.started_at = now
        self.connected = False
        #: loop time since when its process is there, None where it is not yet
        self.boots_since: float | None = None
        #: takes no more attempts: its queue is closed, and it ends when that is empty
        self.closing = False
        #: a single-use slot has its attempt
        self.used = False
        #: its line is at its end: it will say no more
        self.finished = False
        #: its end has been dealt with
        self.dropped = False
        self.pid = 0
        self.pidfd = -1
        #: what is in its queue or entered, in order; outcomes arrive in the same order
        self.handed: deque[Attempt] = deque()
        #: loop time since when the first of `handed` is the first
        self.head_since = now
        #: loop time of the last sign of life of an agent in it
        self.heard_at = now
        #: how many attempts it may have at a time
        self.target = 1
        #: how many processes the kernel had killed for want of memory when it was started
        self.oom_kills = oom_kills()
        self.log_file = f"{slot_id}.log"
        #: where the log of the next attempt begins
        self.log_at = 0
        self._single_use = kind.single_use
        self._files = files
        self._limits = limits
        self._mean_us = 0.0
        self._loop = asyncio.get_running_loop()
        self._stream: socket.socket | None = None
        self._queue_in: socket.socket | None = None
        self._queue_out: socket.socket | None = None
        self._unpacker = unpacker()

    def late(self, now: float) -> bool:
        """Whether Ray should have given it a process by now, or its process should be ready."""
        since = self.boots_since
        limit_ms = self._limits.admission_ms if since is None else self._limits.boot_ms
        return not self.connected and now - (self.started_at if since is None else since) > limit_ms / 1000

    def boots(self, now: float) -> bool:
        """Whether its process is there, and not ready yet, and that not for too long."""
        return self.boots_since is not None and not self.connected and not self.late(now)

    def connect(self, stream: socket.socket, pid: int, node: str, code: str) -> None:
        """Take over its line and send it its queue.

        Raises:
            OSError: it has died since.

        """
        self._stream = stream
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self._queue_in, self._queue_out = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._queue_in.setblocking(False)
        self._queue_out.setblocking(False)
        try:
            self._queue_in.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _QUEUE_BYTES)
        except PermissionError:
            self._queue_in.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE_BYTES)
        welcome = Welcome(node, str(self._files.root), str(self._files.log_path(self.log_file)), code)
        socket.send_fds(stream, [pack((WELCOME, *welcome))], [self._queue_out.fileno()])
        self.connected = True

    @property
    def open(self) -> bool:
        """Whether it takes attempts."""
        return self.connected and not self.closing and not self.used

    @property
    def stream_fd(self) -> int:
        """Readable when it says something, or is gone."""
        return self._stream.fileno() if self._stream else -1

    def hand(self, attempt: Attempt) -> bool:
        """Put an attempt into its queue; False when that is full."""
        if self._queue_in is None:
            return False
        packet = attempt.packet()
        if HEAD.size + len(packet) > PACKET_MAX:
            self._files.spill(attempt.name, packet)
            packet = pack((attempt.name,))
        reach("agent.before_hand")
        try:
            self._queue_in.send(HEAD.pack(attempt.key, attempt.number) + packet)
        except BlockingIOError:
            return False
        if not self.handed:
            self.head_since = self._loop.time()
        self.handed.append(attempt)
        attempt.stage = _HANDED
        reach("agent.after_hand")
        self.used = self._single_use
        return True

    def take_back(self) -> list[Attempt]:
        """Receive everything that it has not entered; what stays in `handed` is entered, or over."""
        if self._queue_out is None:
            return []
        heads: set[tuple[int, int]] = set()
        with contextlib.suppress(BlockingIOError):
            while head := self._queue_out.recv(HEAD.size):
                heads.add(HEAD.unpack(head))
        if not heads:
            return []
        taken = [attempt for attempt in self.handed if (attempt.key, attempt.number) in heads]
        for attempt in taken:
            attempt.stage = _WAITING
            self.used = False
        first = self.handed[0]
        self.handed = deque(attempt for attempt in self.handed if attempt.stage is _HANDED)
        if self.handed and self.handed[0] is not first:
            self.head_since = self._loop.time()
        return taken

    def long_after_ms(self) -> float:
        """After how long what it runs is long."""
        head = self.handed[0]
        least_ms = self._limits.report_entered_after_ms
        if head.asked is not None:
            return least_ms
        usual_ms = told_after_us(least_ms * 1_000, self._mean_us) / 1_000
        return min(usual_ms, max(least_ms, head.spec.timeout_ms)) if head.spec.timeout_ms > 0 else usual_ms

    def entered_all(self) -> bool:
        """Whether its queue is empty: everything in `handed` is entered, or over."""
        if self._queue_out is None:
            return True
        try:
            return not self._queue_out.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True

    def ran(self, run_us: int) -> None:
        """Take the run time of an attempt into account."""
        # A slot needs some 20 µs around every attempt, however short it is.
        run_us = max(run_us, 20)
        mean = self._mean_us
        self._mean_us = mean = mean + (run_us - mean) * _MEAN_SHARE if mean else float(run_us)
        if self._single_use:
            self.close_queue()
        else:
            self.target = max(1, min(self._limits.handed_max, int(self._limits.handed_ahead_us / mean)))

    def listen(self) -> list[tuple[Any, ...]] | None:
        """What it has said; None when it says nothing now, or (`finished`) nothing any more."""
        if self._stream is None or self.finished:
            return None
        try:
            data = self._stream.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if data:
            try:
                self._unpacker.feed(data)
                return list(self._unpacker)
            except (ValueError, msgpack.BufferFull):
                # User code has written to the slot's descriptors: nothing that follows can be understood.
                pass
        self.finished = True
        return None

    def ask_to_stop(self, attempt: Attempt, grace_ms: int, *, for_good: bool = False) -> None:
        """Send a stop request. One that finds the line full is not needed: the kill comes after its grace."""
        if self._stream is None:
            return
        with contextlib.suppress(OSError):
            self._stream.send(pack((STOP, attempt.key, attempt.number, grace_ms, for_good)))

    def open_lane(self, slot_id: str) -> None:
        """Ask the agent in it for one more lane; one that finds the line full does not come, and is asked for again."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.send(pack((LANE, slot_id)))

    def ask_to_save(self, attempt: Attempt) -> None:
        """Ask the agent in it to save its state; one that finds the line full is asked again by whoever wants it."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.send(pack((SAVE, attempt.key, attempt.number)))

    def answer(self, number: int, wrong: str, value: Any) -> None:
        """Answer a call; the slot waits for it, so that the line has room. One that has died needs none."""
        if self._stream is None:
            return
        with contextlib.suppress(OSError):
            self._stream.send(pack((ANSWER, number, wrong, value)))

    def close_queue(self) -> None:
        """Let it end when its queue is empty."""
        self.closing = True
        if self._queue_in is not None:
            self._queue_in.close()
            self._queue_in = None

    @property
    def alive(self) -> bool:
        """Whether its process still is there."""
        return self.pidfd >= 0 and not select.select([self.pidfd], [], [], 0)[0]

    def kill(self) -> None:
        """End its process by force, with everything below it."""
        if self.alive:
            reach("agent.before_kill")
            kill_tree(self.pidfd, self.pid)
        group = self.handed[0].group if self.handed else 0
        if group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        # A task whose process has been seen ends with it; cancelled, it would not tell what the process died of.
        if self.handle is not None and self.pidfd < 0:
            self.handle.kill()

    def close(self) -> None:
        """Close every file descriptor."""
        for held in (self._stream, self._queue_in, self._queue_out):
            if held is not None:
                held.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self._stream = self._queue_in = self._queue_out = None
        self.pidfd = -1


def peer(stream: socket.socket) -> tuple[int, int]:
    """Process id and user id of whoever connected, as the kernel knows them."""
    pid, uid, _ = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
