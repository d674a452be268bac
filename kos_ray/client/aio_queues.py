"""What agents have to do and what comes of jobs, for programs in an event loop; see `client/agent_queue.py`."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kos_ray.client.agent_queue import Queueing
from kos_ray.client.aio_agents import AsyncTending
from kos_ray.client.results import Result
from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView, StoryLine


class AsyncQueueing(AsyncTending):
    """The part of an asyncio client that is about it."""

    if TYPE_CHECKING:

        @property
        def _sync(self) -> Queueing: ...

    async def agent_queue(self, name: str, *, most: int = 100) -> dict[str, Any]:
        """See `Client.agent_queue`."""
        return await self._run(lambda: self._sync.agent_queue(name, most=most))

    async def views_of(self, keys: list[JobKey]) -> list[JobView]:
        """See `Client.views_of`."""
        return await self._run(self._sync.views_of, keys)

    async def stories(self, keys: Sequence[JobKey]) -> list[list[StoryLine]]:
        """See `Client.stories`."""
        return await self._run(self._sync.stories, keys)

    async def agent_timers(self, name: str) -> list[dict[str, Any]]:
        """See `Client.agent_timers`."""
        return await self._run(self._sync.agent_timers, name)

    async def agent_uses(self) -> dict[int, dict[str, int]]:
        """See `Client.agent_uses`."""
        return await self._run(self._sync.agent_uses)

    def results(self, **said: Any) -> AsyncIterator[Result]:
        """See `Client.results`: `async for found in client.results(type="scan")`.

        Without `since` it asks for the place, and waits for the answer, so that whatever is submitted after it is seen.
        """
        return self._each(self._sync.results(**said))

    async def _each(self, found: Iterator[Result]) -> AsyncIterator[Result]:
        while (one := await self._run(next, found, None)) is not None:
            yield one
