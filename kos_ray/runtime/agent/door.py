"""Where the processes of slots come in: a socket on which each says which slot it is, and nobody else is let in."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kos_ray.runtime.agent.slot_end import peer
from kos_ray.worker.packets import BOOTS, HELLO, unpacker

_BACKLOG = 128
#: a process has come: whether it boots only, as which slot, its end and its process; True: the end is somebody's now
Greeted = Callable[[bool, str, socket.socket, int], bool]


class Door:
    """Listens while it is open, and asks `greeted` about each hello."""

    def __init__(self, greeted: Greeted) -> None:
        self._greeted = greeted
        self._loop = asyncio.get_running_loop()
        self._server: socket.socket | None = None
        self.path = Path()
        self._strangers: set[socket.socket] = set()

    def open(self, path: Path) -> None:
        """Listen."""
        self.path = path
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.setblocking(False)
        self._server.bind(str(path))
        path.chmod(0o600)
        self._server.listen(_BACKLOG)
        self._loop.add_reader(self._server.fileno(), self._accept)

    def close(self) -> None:
        """Listen no more; who has said nothing yet is sent away."""
        for stranger in list(self._strangers):
            self._dismiss(stranger)
        if self._server is not None:
            self._loop.remove_reader(self._server.fileno())
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._server is not None
        try:
            stream, _ = self._server.accept()
        except OSError:
            return
        pid, uid = peer(stream)
        if uid != os.getuid():
            stream.close()
            return
        stream.setblocking(False)
        self._strangers.add(stream)
        self._loop.add_reader(stream.fileno(), self._hear, stream, pid, unpacker())

    def _hear(self, stream: socket.socket, pid: int, reader: Any) -> None:
        try:
            data = stream.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        reader.feed(data)
        try:
            message = next(iter(reader), None)
        except ValueError:
            message = ()
        if message is None and data:
            return
        self._strangers.discard(stream)
        self._loop.remove_reader(stream.fileno())
        kind = message[0] if isinstance(message, tuple) and len(message) == 4 else None
        if message is None or kind not in (HELLO, BOOTS) or not self._greeted(kind == BOOTS, message[1], stream, pid):
            stream.close()

    def _dismiss(self, stream: socket.socket) -> None:
        self._strangers.discard(stream)
        self._loop.remove_reader(stream.fileno())
        stream.close()
