"""Direct channels for the calls that each job's way consists of: a TCP connection instead of a Ray call.

A Ray call costs its two processes a quarter of a millisecond each, a message of this about a tenth. Ray tells where the
door is, and the secret that opens it; both sides prove by HMAC that they know it, so it never travels here. What fails
on a channel may or may not have been carried out, as with a Ray call whose actor dies; nothing is tried again here.

Frames are a length (4 bytes, big-endian) and msgpack: `(number, method, args)` there, `(number, kind, value)` back.
"""

import asyncio
import hmac
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple, cast

import msgpack

from kos_ray.model.errors import KosError, Refused

#: kinds of answers
_DONE, _REFUSED, _FAILED = 0, 1, 2
_LENGTH = 4
#: no message of ours is larger: what is large goes as blobs
_FRAME_BYTES_MAX = 1 << 30
_NONCE_BYTES = 32
#: seconds to open a channel, and for whoever knocks to prove who it is
OPEN_S = 2.0
#: a peer that acknowledges nothing for half a minute counts as gone
_WATCHED = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
_Method = Callable[..., Awaitable[Any]]


class ChannelBroken(KosError):
    """The other side is gone, or was never there: a call that was on its way may or may not have been carried out."""


class DoorAt(NamedTuple):
    """Where a door is, and what opens it."""

    host: str
    port: int
    secret: bytes


class Door:
    """Lets others call some methods of this process by channels, in the loop that runs it."""

    def __init__(self, host: str, methods: Iterable[_Method]) -> None:
        """Listens from now on; calls are answered once `run` has its turn."""
        self._methods = {method.__name__: method for method in methods}
        self._socket = socket.create_server((host, 0), backlog=1_024)
        self._socket.setblocking(False)
        self.at = DoorAt(host, int(self._socket.getsockname()[1]), secrets.token_bytes(32))
        self._guests: set[_Guest] = set()
        #: tasks that answer; the loop alone would let them be collected
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer whoever calls, until this is cancelled."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Guest(self), sock=self._socket)
        try:
            await server.serve_forever()
        finally:
            server.close()
            for guest in list(self._guests):
                guest.close()

    def came(self, guest: "_Guest") -> None:
        """Somebody knocks."""
        self._guests.add(guest)

    def left(self, guest: "_Guest") -> None:
        """And is gone."""
        self._guests.discard(guest)

    def heard(self, guest: "_Guest", frame: bytes) -> None:
        """A call."""
        task = asyncio.ensure_future(self._answer(guest, *msgpack.unpackb(frame, use_list=False)))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, guest: "_Guest", number: int, method: str, args: tuple[Any, ...]) -> None:
        answer: tuple[int, int, Any]
        try:
            answer = (number, _DONE, await self._methods[method](*args))
        except Refused as error:
            answer = (number, _REFUSED, str(error))
        except Exception as error:  # noqa: BLE001 - it is the caller's to know
            answer = (number, _FAILED, repr(error))
        guest.send(msgpack.packb(answer))


class _Wire(asyncio.Protocol):
    """Frames on one connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by descent
        self._transport = cast("asyncio.Transport", transport)
        _prepare(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= _LENGTH:
            size = int.from_bytes(self._rest[:_LENGTH])
            if size > _FRAME_BYTES_MAX:
                self.close()
                return
            if len(self._rest) < _LENGTH + size:
                return
            frame = bytes(self._rest[_LENGTH : _LENGTH + size])
            del self._rest[: _LENGTH + size]
            self.frame(frame)

    def frame(self, frame: bytes) -> None:
        """A whole one has come."""
        raise NotImplementedError

    def send(self, frame: bytes) -> None:
        """Send one; nothing happens where nobody is there any more."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_framed(frame))

    def close(self) -> None:
        """Whoever is there is told that this is the end."""
        if self._transport is not None:
            self._transport.close()


class _Guest(_Wire):
    """Somebody at our door."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._known = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._door.came(self)
        self._patience = asyncio.get_running_loop().call_later(OPEN_S, self.close)
        self.send(self._nonce)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._door.left(self)

    def frame(self, frame: bytes) -> None:
        if self._known:
            self._door.heard(self, frame)
            return
        theirs, proof = frame[:_NONCE_BYTES], frame[_NONCE_BYTES:]
        if not hmac.compare_digest(proof, _proof(self._door.at.secret, b"guest", self._nonce, theirs)):
            self.close()
            return
        self._known = True
        if self._patience is not None:
            self._patience.cancel()
        self.send(_proof(self._door.at.secret, b"door", self._nonce, theirs))


class Channel(_Wire):
    """Calls from a loop: many at once on one connection."""

    def __init__(self, at: DoorAt) -> None:
        super().__init__()
        self._at = at
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._theirs = b""
        self._numbers = 0
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.broken = False

    @classmethod
    async def open(cls, at: DoorAt) -> "Channel":
        """A channel to a door.

        Raises:
            ChannelBroken: nobody opens, or it is not who it should be.

        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(OPEN_S):
                _, channel = await loop.create_connection(lambda: cls(at), at.host, at.port)
                await channel._opened  # noqa: SLF001 - its own
        except (OSError, TimeoutError) as error:
            raise ChannelBroken(f"no channel to {at.host}:{at.port}: {error}") from None
        return channel

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method, and wait for its answer.

        Raises:
            ChannelBroken: the other side is gone.
            Refused: it does not take the call.

        """
        return await self.ask(method, *args)

    def ask(self, method: str, *args: Any) -> "asyncio.Future[Any]":
        """The same for who does not wait: the answer when it comes.

        Raises:
            ChannelBroken: the other side is gone already.

        """
        if self.broken:
            raise ChannelBroken("the channel is closed")
        self._numbers += 1
        answer = self._calls[self._numbers] = asyncio.get_running_loop().create_future()
        self.send(msgpack.packb((self._numbers, method, args)))
        return answer

    def frame(self, frame: bytes) -> None:
        """See `_Wire`: the two of greeting, then answers."""
        if self._opened.done():
            number, kind, value = msgpack.unpackb(frame, use_list=False)
            call = self._calls.pop(number, None)
            if call is None or call.done():
                return
            try:
                call.set_result(_answer(kind, value))
            except (Refused, ChannelBroken, RuntimeError) as error:
                call.set_exception(error)
        elif not self._theirs:
            self._theirs = frame
            self.send(self._nonce + _proof(self._at.secret, b"guest", frame, self._nonce))
        elif hmac.compare_digest(frame, _proof(self._at.secret, b"door", self._theirs, self._nonce)):
            self._opened.set_result(None)
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.broken = True
        error = ChannelBroken(f"the other side is gone: {exc or 'it closed the channel'}")
        calls, self._calls = self._calls, {}
        for waiting in (self._opened, *calls.values()):
            if not waiting.done():
                waiting.set_exception(error)
        with suppress(BaseException):
            self._opened.exception()  # nobody may be waiting for it any more


class Channels:
    """Calls from threads: each has a connection to itself while it waits, so no thread ever waits for another."""

    def __init__(self, at: DoorAt) -> None:
        self.at = at
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        self._numbers = 0

    def call(self, method: str, *args: Any) -> Any:
        """Call a method, and wait for its answer.

        Raises:
            ChannelBroken: the other side is gone.
            Refused: it does not take the call.

        """
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self.connect()
        try:
            connection.sendall(_framed(msgpack.packb((0, method, args))))
            answer = _read(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise ChannelBroken(f"the other side is gone: {error}") from None
            raise
        with self._lock:
            self._idle.append(connection)
        _, kind, value = msgpack.unpackb(answer, use_list=False)
        return _answer(kind, value)

    def connect(self) -> socket.socket:
        """A connection, opened.

        Raises:
            ChannelBroken: nobody opens, or it is not who it should be.

        """
        try:
            connection = socket.create_connection((self.at.host, self.at.port), timeout=OPEN_S)
        except OSError as error:
            raise ChannelBroken(f"no channel to {self.at.host}:{self.at.port}: {error}") from None
        try:
            _prepare(connection)
            theirs, mine = _read(connection), secrets.token_bytes(_NONCE_BYTES)
            connection.sendall(_framed(mine + _proof(self.at.secret, b"guest", theirs, mine)))
            if not hmac.compare_digest(_read(connection), _proof(self.at.secret, b"door", theirs, mine)):
                raise OSError("it does not know the secret")  # noqa: TRY301 - as whatever else goes wrong here
        except OSError as error:
            connection.close()
            raise ChannelBroken(f"no channel to {self.at.host}:{self.at.port}: {error}") from None
        connection.settimeout(None)
        return connection

    def offer(self, connection: socket.socket) -> None:
        """Keep a connection for the next call."""
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _answer(kind: int, value: Any) -> Any:
    if kind == _DONE:
        return value
    if kind == _REFUSED:
        raise Refused(value)
    raise RuntimeError(f"the call failed on the other side: {value}")


def _proof(secret: bytes, side: bytes, doors: bytes, guests: bytes) -> bytes:
    return hmac.new(secret, side + doors + guests, sha256).digest()


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(_LENGTH) + payload


def _read(connection: socket.socket) -> bytes:
    return _exactly(connection, int.from_bytes(_exactly(connection, _LENGTH)))


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = connection.recv(min(size - len(found), 1 << 20))
        if not part:
            raise OSError("it closed the channel")
        found += part
    return bytes(found)


def _prepare(connection: socket.socket) -> None:
    """Small frames go at once, and a peer whose machine is gone is noticed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _WATCHED.items():
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
