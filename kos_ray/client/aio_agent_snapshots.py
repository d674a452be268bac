"""Snapshots of agents, for programs that live in an event loop; see `client/agent_snapshots.py`."""

from typing import TYPE_CHECKING, Any

from kos_ray.client.agent_snapshots import Remembering
from kos_ray.client.aio_agents import AsyncTending


class AsyncRemembering(AsyncTending):
    """The part of an asyncio client that is about what agents have saved."""

    if TYPE_CHECKING:

        @property
        def _sync(self) -> Remembering: ...

    async def snapshot_agent(self, name: str, timeout: float = 60.0) -> dict[str, Any]:  # noqa: ASYNC109 - of the call
        """See `Client.snapshot_agent`."""
        return await self._run(self._sync.snapshot_agent, name, timeout)

    async def agent_snapshots(self, name: str) -> list[dict[str, Any]]:
        """See `Client.agent_snapshots`."""
        return await self._run(self._sync.agent_snapshots, name)

    async def rollback_agent(self, name: str, snapshot: str, note: str = "") -> dict[str, Any]:
        """See `Client.rollback_agent`."""
        return await self._run(self._sync.rollback_agent, name, snapshot, note)
