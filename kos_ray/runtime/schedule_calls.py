"""What the scheduler actor answers about schedules."""

from collections.abc import Callable
from typing import Any

import msgpack

from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import OccasionsWish
from kos_ray.engine.schedule_plain import plain_of, wish_of
from kos_ray.model.errors import Refused
from kos_ray.model.occasion import Occasion
from kos_ray.model.wire import from_plain


class ScheduleCalls:
    """A part of the actor; see `runtime/scheduler.py`."""

    _engine: Engine
    _ask: Callable[[Callable[[Callable[[object], None]], None]], Any]

    async def schedule(self, data: bytes) -> bytes:
        """A wish about a schedule (the fields of `ScheduleWish`) to what came of it, both packed."""
        wish = wish_of(msgpack.unpackb(data, use_list=False))
        answer = await self._ask(lambda reply: self._engine.wish(wish, reply))
        if isinstance(answer, Refused):
            raise answer
        return bytes(msgpack.packb(answer))

    async def emit(self, data: bytes) -> bytes:
        """What happened (`occasions`, `by`) to what came of it, both packed."""
        plain = msgpack.unpackb(data, use_list=False)
        occasions = tuple(from_plain(Occasion, one) for one in plain["occasions"])
        wish = OccasionsWish(occasions=occasions, by=plain["by"])
        answer = await self._ask(lambda reply: self._engine.wish(wish, reply))
        if isinstance(answer, Refused):
            raise answer
        return bytes(msgpack.packb(answer))

    async def schedules(self) -> bytes:
        """All schedules as they stand, packed mappings."""
        return bytes(msgpack.packb([plain_of(one) for one in self._engine.state.schedules.by_key.values()]))
