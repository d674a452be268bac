"""The one process that starts the others of a miniature Ray, in one thread, so that it can fork at any time."""

import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from tests.crash import miniature

#: seconds from the death of a detached actor to its next life
_RESTART_S = 0.05
_HEAD = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1


@dataclass
class Process:
    """One child: an actor's life, a task, or something of the test's."""

    pid: int
    name: str
    node: str
    pidfd: int
    owner: int = 0
    actor: "Actor | None" = None
    ended: Callable[[int], None] = lambda status: None


@dataclass
class Actor:
    name: str
    packed: bytes
    restarts: int
    node: str
    path: Path
    lives: int = 0


@dataclass
class Peer:
    """A process that asks for something."""

    stream: socket.socket
    pid: int
    data: bytearray = field(default_factory=bytearray)


class Raylet:
    """All nodes of the cluster; `step` until there is nothing to wait for any more, then `close`."""

    def __init__(self, folder: Path, nodes: dict[str, int]) -> None:
        self.folder = folder
        #: how processes ended, in their order: name, pid and status
        self.ends: list[tuple[str, int, int]] = []
        self._nodes = dict.fromkeys(nodes, True)
        self._cpus = nodes
        self._processes: dict[int, Process] = {}
        self._tasks: dict[int, int] = {}
        self._actors: dict[str, Actor] = {}
        self._due: list[tuple[float, Actor]] = []
        self._born = 0
        self._selector = selectors.DefaultSelector()
        tempfile.tempdir = str(folder)
        miniature.install(folder)
        (folder / "logs").mkdir()
        self._write_nodes()
        self._server = _listen(folder / "raylet.sock")
        self._selector.register(self._server, selectors.EVENT_READ, self._accept)

    # ---- processes

    def fork(self, name: str, work: Callable[[], None], *, node: str = "") -> Process:
        """Start a process that does this and ends."""
        pid = os.fork()
        if not pid:
            self._child(name, work)
        process = Process(pid, name, node, os.pidfd_open(pid))
        self._processes[pid] = process
        self._selector.register(process.pidfd, selectors.EVENT_READ, lambda: self._ended(process))
        return process

    def _child(self, name: str, work: Callable[[], None]) -> None:
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
                elif isinstance(key.fileobj, int):
                    os.close(key.fileobj)
            self._selector.close()
            log = os.open(self.folder / "logs" / f"{name}-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a child must not run on as the parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _ended(self, process: Process) -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        self._selector.unregister(process.pidfd)
        os.close(process.pidfd)
        del self._processes[process.pid]
        self.ends.append((process.name, process.pid, status))
        # what an actor has started ends with it
        for other in [p for p in self._processes.values() if p.owner == process.pid]:
            os.kill(other.pid, signal.SIGKILL)
        actor = process.actor
        if actor is not None:
            if actor.lives <= actor.restarts or actor.restarts < 0:
                self._due.append((time.monotonic() + _RESTART_S, actor))
            elif self._actors.get(actor.name) is actor:
                del self._actors[actor.name]
                (self.folder / f"{actor.name}.actor").unlink()
                actor.path.unlink()
        process.ended(status)

    def lose_node(self, node: str) -> None:
        """A machine dies, with everything on it."""
        self._nodes[node] = False
        self._write_nodes()
        for process in list(self._processes.values()):
            if process.node == node:
                os.kill(process.pid, signal.SIGKILL)

    def kill_actor(self, name: str) -> None:
        """End an actor's process, if it has one."""
        for process in list(self._processes.values()):
            if process.name == name:
                os.kill(process.pid, signal.SIGKILL)

    def alive(self, name: str) -> bool:
        """Whether an actor has a process."""
        return any(process.name == name for process in self._processes.values())

    def free_name(self, name: str) -> None:
        """An actor loses its name to whoever comes next, and goes on: as if it were cut off on another machine."""
        self._actors.pop(name).restarts = 0
        (self.folder / f"{name}.actor").unlink()

    def step(self, timeout_s: float) -> None:
        """Wait for something to happen, and deal with it."""
        now = time.monotonic()
        for due in [due for due in self._due if due[0] <= now]:
            self._due.remove(due)
            self._live(due[1])
        if self._due:
            timeout_s = min(timeout_s, max(0.0, min(self._due, key=lambda due: due[0])[0] - now))
        for key, _ in self._selector.select(timeout_s):
            key.data()

    def close(self) -> None:
        """End everything."""
        for process in list(self._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            os.close(process.pidfd)
        self._server.close()
        self._selector.close()

    def _write_nodes(self) -> None:
        rows = [
            {
                "NodeID": node,
                "Alive": alive,
                "Resources": {"CPU": self._cpus[node], **({"node:__internal_head__": 1.0} if not i else {})},
                "Labels": {},
                "NodeManagerHostname": "here",
                "DeathReasonMessage": "" if alive else "it was killed",
            }
            for i, (node, alive) in enumerate(self._nodes.items())
        ]
        partial = self.folder / "nodes.partial"
        partial.write_text(json.dumps(rows))
        partial.replace(self.folder / "nodes.json")

    # ---- requests

    def _accept(self) -> None:
        stream, _ = self._server.accept()
        pid = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        peer = Peer(stream, pid)
        self._selector.register(stream, selectors.EVENT_READ, lambda: self._hear(peer))

    def _hear(self, peer: Peer) -> None:
        try:
            data = peer.stream.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(peer.stream)
            peer.stream.close()
            return
        peer.data += data
        while len(peer.data) >= _HEAD.size:
            size = _HEAD.unpack_from(peer.data)[0] + _HEAD.size
            if len(peer.data) < size:
                return
            number, request = cloudpickle.loads(peer.data[_HEAD.size : size])
            del peer.data[:size]
            getattr(self, f"_do_{request[0]}")(peer, number, *request[1:])

    def _answer(self, peer: Peer, number: int, good: bool, value: Any) -> None:
        try:
            peer.stream.sendall(miniature.framed((number, good, value)))
        except OSError:
            return  # it has died

    def _do_actor(self, peer: Peer, number: int, name: str, packed: bytes, restarts: int, node: str) -> None:
        actor = self._actors.get(name)
        if actor is None:
            if not self._nodes[node]:
                self._answer(peer, number, False, miniature.RayActorError("its node is dead"))
                return
            self._born += 1
            path = self.folder / f"{self._born}.sock"
            actor = self._actors[name] = Actor(name, packed, restarts, node, path)
            self._live(actor)
            (self.folder / f"{name}.actor").write_text(str(path))
        self._answer(peer, number, True, str(actor.path))

    def _live(self, actor: Actor) -> None:
        actor.path.unlink(missing_ok=True)
        listening = _listen(actor.path)
        process = self.fork(actor.name, lambda: miniature.be_actor(actor.packed, listening), node=actor.node)
        listening.close()
        process.actor = actor
        actor.lives += 1

    def _do_task(self, peer: Peer, number: int, task: int, packed: bytes, node: str) -> None:
        def work() -> None:
            function, args = cloudpickle.loads(packed)
            function(*args)

        process = self.fork("slot", work, node=node)
        process.owner = peer.pid
        self._tasks[task] = process.pid

        def ended(status: int) -> None:
            del self._tasks[task]
            error = miniature.WorkerCrashedError(f"the worker died: {status}")
            self._answer(peer, number, not status, None if not status else error)

        process.ended = ended

    def _do_cancel(self, peer: Peer, number: int, task: int) -> None:
        if task in self._tasks:
            os.kill(self._tasks[task], signal.SIGKILL)
        self._answer(peer, number, True, None)


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(100)
    return listening
