"""What parties do together, for programs that live in an event loop; see `client/coordinating.py`."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kos_ray.client.aio_agent_snapshots import AsyncRemembering
from kos_ray.client.aio_queues import AsyncQueueing
from kos_ray.client.aio_scheduling import R
from kos_ray.client.barriers import Barrier
from kos_ray.client.coordinating import Coordinating
from kos_ray.client.leases import here
from kos_ray.client.locking import Held, LockHandle
from kos_ray.client.mailboxes import Mailbox, Message, Peeked
from kos_ray.client.negotiating import Award


def apart(function: Callable[[], R]) -> "asyncio.Future[R]":
    """A call that may wait for long, in a thread of its own: what it waits for may need one of the client's few."""
    found: Future[R] = Future()
    found.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            found.set_exception(error)

    threading.Thread(target=run, name="kos-waiting", daemon=True).start()
    return asyncio.wrap_future(found)


class AsyncCoordinating(AsyncQueueing, AsyncRemembering):
    """The part of an asyncio client that is about it."""

    if TYPE_CHECKING:

        @property
        def _sync(self) -> Coordinating: ...

        _threads: ThreadPoolExecutor  # of calls that are answered at once

    def lock(self, name: str, **said: Any) -> "AsyncLock":
        """See `Client.lock`: `async with client.lock("db/migration") as held`. Each task stands for itself."""
        return AsyncLock(self, self._sync.lock(name, **said))

    async def locks(self) -> list[dict[str, Any]]:
        """See `Client.locks`."""
        return await self._run(self._sync.locks)

    async def break_lock(self, name: str, note: str = "") -> list[str]:
        """See `Client.break_lock`."""
        return await self._run(self._sync.break_lock, name, note)

    async def release_lock(self, ticket: str) -> bool:
        """See `Client.release_lock`."""
        return await self._run(self._sync.release_lock, ticket)

    def barrier(self, name: str, **said: Any) -> "AsyncBarrier":
        """See `Client.barrier`: `async with client.barrier("epoch", parties=4) as barrier: await barrier.wait()`."""
        return AsyncBarrier(self, self._sync.barrier(name, **said))

    async def barriers(self) -> list[dict[str, Any]]:
        """See `Client.barriers`."""
        return await self._run(self._sync.barriers)

    async def negotiate(self, task: Any, **said: Any) -> Award:
        """See `Client.negotiate`."""
        return await apart(lambda: self._sync.negotiate(task, **said))

    async def approvals(self) -> list[dict[str, Any]]:
        """See `Client.approvals`."""
        return await self._run(self._sync.approvals)

    async def approve(self, *refs: str, note: str = "") -> int:
        """See `Client.approve`."""
        return await self._run(lambda: self._sync.approve(*refs, note=note))

    async def reject(self, *refs: str, note: str = "") -> int:
        """See `Client.reject`."""
        return await self._run(lambda: self._sync.reject(*refs, note=note))

    def mailbox(self, name: str) -> "AsyncMailbox":
        """See `Client.mailbox`: `message = await client.mailbox("orders").take()`."""
        return AsyncMailbox(self, self._sync.mailbox(name))

    async def mailboxes(self) -> list[dict[str, Any]]:
        """See `Client.mailboxes`."""
        return await self._run(self._sync.mailboxes)

    async def signal(self, name: str, value: Any = None, **to: Any) -> bool:
        """See `Client.signal`."""
        return await self._run(lambda: self._sync.signal(name, value, **to))

    async def wait_signal(self, name: str, wait: str | float | None = None) -> Any:
        """See `Client.wait_signal`."""
        place = here()
        return await apart(lambda: self._sync.wait_signal(name, wait, place=place))


class AsyncBarrier:
    """See `Barrier`."""

    def __init__(self, client: AsyncCoordinating, barrier: Barrier) -> None:
        self._client = client
        self._barrier = barrier

    async def wait(self) -> int:
        """See `Barrier.wait`."""
        return await apart(self._barrier.wait)

    async def __aenter__(self) -> "AsyncBarrier":
        place = here()
        await self._client._run(lambda: self._barrier.join(place=place))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client._run(self._barrier.__exit__, kind, error, trace)


class AsyncMailbox:
    """See `Mailbox`. A message that is taken is a `Message`: `await client.mailbox(name).ack(message)`."""

    def __init__(self, client: AsyncCoordinating, mailbox: Mailbox) -> None:
        self._client = client
        self._mailbox = mailbox

    async def put(self, value: Any, *, dedup: str = "") -> bool:
        """See `Mailbox.put`."""
        return await self._client._run(lambda: self._mailbox.put(value, dedup=dedup))

    async def take(self, **said: Any) -> Message | None:
        """See `Mailbox.take`."""
        place = here()
        taking = apart(lambda: self._mailbox.take(place=place, **said))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_back)
            raise

    def _give_back(self, done: "asyncio.Future[Message | None]") -> None:
        """Nobody waits for it any more."""
        message = None if done.cancelled() or done.exception() is not None else done.result()
        if message is not None:
            self._client._threads.submit(message.back)

    async def ack(self, message: Message) -> None:
        """See `Message.ack`."""
        await self._client._run(message.ack)

    async def back(self, message: Message) -> None:
        """See `Message.back`."""
        await self._client._run(message.back)

    async def peek(self, **said: Any) -> list[Peeked]:
        """See `Mailbox.peek`."""
        return await self._client._run(lambda: self._mailbox.peek(**said))

    async def revive(self) -> int:
        """See `Mailbox.revive`."""
        return await self._client._run(self._mailbox.revive)


class AsyncLock:
    """See `LockHandle`."""

    def __init__(self, client: AsyncCoordinating, handle: LockHandle) -> None:
        self._client = client
        self._handle = handle

    async def acquire(self) -> Held:
        """See `LockHandle.acquire`."""
        place = here()
        asking = apart(lambda: self._handle.acquire(place=place))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self._let_go(done, place))
            raise

    async def release(self) -> None:
        """See `LockHandle.release`."""
        place = here()
        await self._client._run(lambda: self._handle.release(place=place))

    async def __aenter__(self) -> Held:
        return await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client._run(self._handle.leave, kind, here())

    def _let_go(self, done: "asyncio.Future[Held]", place: str) -> None:
        """Nobody waits for it any more: what was granted is released."""
        if not done.cancelled() and done.exception() is None:
            self._client._threads.submit(self._handle.release, place=place)
