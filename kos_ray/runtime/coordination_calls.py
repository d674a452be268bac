"""What the scheduler actor answers about what parties do together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack

from kos_ray.engine.coordination import looked_at, status
from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.engine.ports import Frame
from kos_ray.model.coordination import COORDINATION_DECISIONS, COORDINATION_EVENTS
from kos_ray.model.errors import Refused


class CoordinationCalls:
    """A part of the actor; see `runtime/scheduler.py`."""

    _engine: Engine
    _ask: Callable[[Callable[[Callable[[object], None]], None]], Any]
    _loop: asyncio.AbstractEventLoop

    def _hear_of_coordination(self) -> None:
        """Wake those that wait when something has changed."""
        self._waking: set[asyncio.Future[None]] = set()
        self._engine.listeners.append(self._something_changed)

    def coordinating(self) -> tuple[Callable[..., Awaitable[Any]], ...]:
        """What is called often."""
        return self.coordinate, self.renew_leases

    async def coordinate(self, data: bytes) -> bytes:
        """A wish (`verb`, `fields`, `by`) to what came of it, packed; after `poll_ms` in any case, as it stands then.

        Whoever waits asks again, with the same ticket: it is the same ask, and its lease begins anew each time.
        """
        plain = msgpack.unpackb(data, use_list=False)
        wish = CoordinationWish(verb=plain["verb"], fields=plain["fields"], by=plain["by"])
        answer = await self._ask(lambda reply: self._engine.wish(wish, reply))
        if isinstance(answer, Refused):
            raise answer
        ends = self._loop.time() + plain.get("poll_ms", 0) / 1_000
        while (found := self._status(wish)) is not None and found["state"] == "waiting":
            left_s = ends - self._loop.time()
            if left_s <= 0:
                break
            await self._change(left_s)
        if "ticket" in plain["fields"]:
            self._engine.renewed((plain["fields"]["ticket"],))
        return bytes(msgpack.packb(answer if found is None else found))

    async def renew_leases(self, tickets: list[str]) -> list[str]:
        """Whoever has these tickets is heard; those that are not his any more."""
        return self._engine.renewed(tickets)

    async def look(self, data: bytes) -> bytes:
        """See `looked_at`, packed both ways."""
        plain = msgpack.unpackb(data, use_list=False)
        return bytes(msgpack.packb(looked_at(plain["what"], plain["fields"], self._engine.state)))

    def _status(self, wish: CoordinationWish) -> dict[str, Any] | None:
        if self._engine.stalled:
            raise self._engine.trouble.refusal()
        return status(wish, self._engine.state)

    def _something_changed(self, frame: Frame) -> None:
        kinds = (*COORDINATION_EVENTS, *COORDINATION_DECISIONS)
        if self._waking and any(isinstance(record, kinds) for record in (*frame.events, *frame.decisions)):
            for future in self._waking:
                if not future.done():
                    future.set_result(None)
            self._waking.clear()

    async def _change(self, seconds: float) -> None:
        """Return when something has changed, or when the time is over."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waking.add(future)
        timer = self._loop.call_later(seconds, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()
            self._waking.discard(future)
