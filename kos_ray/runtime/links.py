"""The way to the node agents: one message on its way to each at a time, what comes meanwhile goes with the next."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from kos_ray.model.failpoints import reach
from kos_ray.model.ids import NodeId
from kos_ray.model.protocol import Orders
from kos_ray.runtime.channel import Channel
from kos_ray.runtime.messages import pack_all

_log = logging.getLogger("kos_ray.links")


class Link:
    """Orders for one agent, in order. After a failure nothing more is sent until the agent is greeted again."""

    def __init__(self, agent: Any, on_broken: Callable[[], None], channel: Channel | None = None) -> None:
        """`channel`: the way of orders and heartbeats; by Ray where that is left out."""
        self.agent = agent
        self._orders: Callable[[bytes], Awaitable[Any]] = (
            agent.orders.remote if channel is None else partial(channel.call, "orders")
        )
        self._beats = channel
        self.broken = False
        self._queue: list[Orders] = []
        self._on_broken = on_broken
        self._task: asyncio.Task[None] | None = None

    def send(self, orders: Orders) -> None:
        """Queue orders, and send at once if nothing is on its way."""
        if self.broken:
            return
        self._queue.append(orders)
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def beat(self) -> "asyncio.Future[Any]":
        """The answer to a heartbeat; see `AgentActor.passing`.

        Raises:
            ChannelBroken: the agent is gone.

        """
        return self._beats.ask("passing") if self._beats else asyncio.ensure_future(_awaited(self.agent))

    def beats_by_ray(self, error: BaseException | None) -> bool:
        """Whether a heartbeat failed because the agent is of a version whose door knows none: Ray is asked then."""
        by_ray = self._beats is not None and isinstance(error, RuntimeError) and "KeyError" in str(error)
        if by_ray:
            self._beats = None
        return by_ray

    async def _run(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                reach("links.before_send")
                await self._orders(pack_all(batch))
                reach("links.after_send")
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the next greeting finds out what arrived
            _log.warning("orders did not arrive; what is missing is sent again after a greeting: %r", error)
            self.broken = True
            self._queue = []
            self._on_broken()
        finally:
            self._task = None


async def _awaited(agent: Any) -> Any:
    return await agent.passing.remote()


class RayLinks:
    """See `engine.ports.Links`."""

    def __init__(self) -> None:
        self.by_node: dict[NodeId, Link] = {}

    def send(self, node: NodeId, orders: Orders) -> None:
        """See the port. Orders for a node without a link are dropped: its greeting tells all anew."""
        link = self.by_node.get(node)
        if link is not None:
            link.send(orders)
