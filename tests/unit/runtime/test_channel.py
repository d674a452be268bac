"""Channels: calls and answers, who may come in, and what happens when a side goes away."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from kos_ray.model.errors import Refused
from kos_ray.runtime import channel
from kos_ray.runtime.channel import Channel, ChannelBroken, Channels, Door, DoorAt

HERE = "127.0.0.1"


class House:
    """What stands behind a door."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)
        self.heard: list[Any] = []

    async def echo(self, *words: Any) -> Any:
        self.heard.append(words)
        return list(words)

    async def wait(self) -> str:
        self.waiting.release()
        await self.released.wait()
        return "released"

    async def refuse(self) -> None:
        raise Refused("not now")

    async def fail(self) -> None:
        raise ValueError("broken")

    async def secret(self) -> str:
        return "nobody's business"


@asynccontextmanager
async def door(house: House) -> AsyncIterator[Door]:
    found = Door(HERE, (house.echo, house.wait, house.refuse, house.fail))
    running = asyncio.ensure_future(found.run())
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def played(play: Callable[[House, Door], Awaitable[None]]) -> None:
    async def run() -> None:
        house = House()
        async with asyncio.timeout(30), door(house) as found:
            await play(house, found)

    asyncio.run(run())


def test_calls_and_answers() -> None:
    async def play(_: House, found: Door) -> None:
        channel = await Channel.open(found.at)
        big = b"x" * 3_000_000
        assert await channel.call("echo", 1, "two", b"three", [4.5]) == (1, "two", b"three", (4.5,))
        assert await channel.call("echo", big) == (big,)
        many = await asyncio.gather(*(channel.call("echo", number) for number in range(500)))
        assert many == [(number,) for number in range(500)]

    played(play)


class _Foreign:
    """A transport that is none of asyncio's by descent, as those of uvloop are."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def test_another_event_loop_s_transports_do(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = channel._Wire.connection_made
    monkeypatch.setattr(channel._Wire, "connection_made", lambda self, by: prepared(self, cast("Any", _Foreign(by))))

    async def play(_: House, found: Door) -> None:
        ours = await Channel.open(found.at)
        assert await ours.call("echo", 1) == (1,)
        assert await asyncio.to_thread(Channels(found.at).call, "echo", 2) == (2,)
        ours.close()

    played(play)


def test_one_that_waits_holds_nobody_up() -> None:
    async def play(house: House, found: Door) -> None:
        channel = await Channel.open(found.at)
        waiting = asyncio.ensure_future(channel.call("wait"))
        assert await channel.call("echo", 1) == (1,)
        assert not waiting.done()
        house.released.set()
        assert await waiting == "released"

    played(play)


def test_what_is_refused_and_what_fails() -> None:
    async def play(_: House, found: Door) -> None:
        channel = await Channel.open(found.at)
        with pytest.raises(Refused, match="not now"):
            await channel.call("refuse")
        with pytest.raises(RuntimeError, match=r"ValueError.*broken"):
            await channel.call("fail")
        # only what is offered can be called
        with pytest.raises(RuntimeError, match="KeyError"):
            await channel.call("secret")
        assert await channel.call("echo") == ()

    played(play)


def test_nobody_comes_in_without_the_secret() -> None:
    async def play(house: House, found: Door) -> None:
        wrong = DoorAt(found.at.host, found.at.port, b"guessed" * 5)
        with pytest.raises(ChannelBroken):
            await Channel.open(wrong)
        with pytest.raises(ChannelBroken):
            await asyncio.to_thread(Channels(wrong).connect)
        # and nothing that is said before is heard
        reader, writer = await asyncio.open_connection(found.at.host, found.at.port)
        await reader.readexactly(4 + 32)
        writer.write((3).to_bytes(4) + b"\x93\x00\xa4")
        assert await reader.read() == b""
        writer.close()
        assert house.heard == []

    played(play)


def test_an_impostor_is_told_nothing() -> None:
    """A door that does not know the secret gets no call."""
    heard: list[bytes] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((32).to_bytes(4) + b"n" * 32)
        heard.append(await reader.readexactly(4 + 64))
        writer.write((32).to_bytes(4) + b"p" * 32)
        heard.append(await reader.read())
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(pretend, HERE, 0)
        at = DoorAt(HERE, server.sockets[0].getsockname()[1], b"secret")
        with pytest.raises(ChannelBroken):
            await Channel.open(at)
        with pytest.raises(ChannelBroken):
            await asyncio.to_thread(Channels(at).connect)
        server.close()

    asyncio.run(run())
    assert len(heard) == 4
    assert heard[1] == heard[3] == b""


def test_the_other_side_goes_away() -> None:
    async def run() -> None:
        house = House()
        async with door(house) as found:
            channel = await Channel.open(found.at)
            waiting = asyncio.ensure_future(channel.call("wait"))
            channels = Channels(found.at)
            in_thread = asyncio.ensure_future(asyncio.to_thread(channels.call, "wait"))
            await house.waiting.acquire()
            await house.waiting.acquire()
        with pytest.raises(ChannelBroken):
            await waiting
        with pytest.raises(ChannelBroken):
            await in_thread
        assert channel.broken
        with pytest.raises(ChannelBroken):
            await channel.call("echo")
        with pytest.raises(ChannelBroken):
            await asyncio.to_thread(channels.call, "echo")

    asyncio.run(run())


def test_nobody_there() -> None:
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]

    async def run() -> None:
        with pytest.raises(ChannelBroken, match=f"{HERE}:{port}"):
            await Channel.open(DoorAt(HERE, port, b""))

    asyncio.run(run())
    with pytest.raises(ChannelBroken, match=f"{HERE}:{port}"):
        Channels(DoorAt(HERE, port, b"")).call("echo")


def test_threads_do_not_wait_for_each_other() -> None:
    async def play(house: House, found: Door) -> None:
        channels = Channels(found.at)
        waiting = asyncio.ensure_future(asyncio.to_thread(channels.call, "wait"))
        await house.waiting.acquire()
        answers = await asyncio.gather(*(asyncio.to_thread(channels.call, "echo", number) for number in range(50)))
        assert answers == [(number,) for number in range(50)]
        house.released.set()
        assert await waiting == "released"
        # and a connection is used again: as many as ever waited at once, and no more
        before = len(found._guests)
        for number in range(50):
            assert await asyncio.to_thread(channels.call, "echo", number) == (number,)
        assert len(found._guests) == before
        channels.close()

    played(play)


def test_a_frame_beyond_all_bounds_ends_the_channel() -> None:
    async def play(_: House, found: Door) -> None:
        reader, writer = await asyncio.open_connection(found.at.host, found.at.port)
        await reader.readexactly(4 + 32)
        writer.write((1 << 31).to_bytes(4))
        assert await reader.read() == b""
        writer.close()

    played(play)
