"""Agents, for programs that live in an event loop; see `client/agents.py`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kos_ray.client.agents import AgentHandle, RoleHandle, Tending
from kos_ray.client.aio_scheduling import AsyncScheduling
from kos_ray.client.job import Job
from kos_ray.spec.agents import AgentForm

Called = AgentHandle | RoleHandle


class AsyncTending(AsyncScheduling):
    """The part of an asyncio client that is about agents."""

    if TYPE_CHECKING:

        @property
        def _sync(self) -> Tending: ...

        def _handle(self, handle: Any) -> Any: ...

    async def register_agent(self, make: type | str, **said: Any) -> dict[str, Any]:
        """See `Client.register_agent`."""
        return await self._run(self._sync.register_agent, make, **said)

    async def register_form(self, form: AgentForm, **said: Any) -> dict[str, Any]:
        """See `Client.register_form`."""
        return await self._run(self._sync.register_form, form, **said)

    async def agents(self) -> list[dict[str, Any]]:
        """See `Client.agents`."""
        return await self._run(self._sync.agents)

    async def get_agent(self, name: str) -> dict[str, Any]:
        """See `Client.get_agent`."""
        return await self._run(self._sync.get_agent, name)

    async def agent(self, name: str) -> "AsyncAgentHandle":
        """See `Client.agent`: `await (await client.agent("counter")).add(1)`."""
        return AsyncAgentHandle(self, await self._run(self._sync.agent, name))

    def role(self, role: str = "", **said: Any) -> "AsyncAgentHandle":
        """See `Client.role`: `await client.role("summariser").tighten(text)`."""
        return AsyncAgentHandle(self, self._sync.role(role, **said))

    async def verify(self, ref: str, *, good: bool) -> dict[str, Any]:
        """See `Client.verify`."""
        return await self._run(lambda: self._sync.verify(ref, good=good))

    async def start_agent(self, name: str) -> dict[str, Any]:
        """See `Client.start_agent`."""
        return await self._run(self._sync.start_agent, name)

    async def stop_agent(self, name: str, note: str = "") -> dict[str, Any]:
        """See `Client.stop_agent`."""
        return await self._run(self._sync.stop_agent, name, note)

    async def suspend_agent(self, name: str, note: str = "") -> dict[str, Any]:
        """See `Client.suspend_agent`."""
        return await self._run(self._sync.suspend_agent, name, note)

    async def resume_agent(self, name: str) -> dict[str, Any]:
        """See `Client.resume_agent`."""
        return await self._run(self._sync.resume_agent, name)

    async def restart_agent(self, name: str) -> dict[str, Any]:
        """See `Client.restart_agent`."""
        return await self._run(self._sync.restart_agent, name)

    async def remove_agent(self, name: str, *, force: bool = False) -> dict[str, Any]:
        """See `Client.remove_agent`."""
        return await self._run(self._sync.remove_agent, name, force=force)

    async def agent_logs(self, name: str) -> str:
        """See `Client.agent_logs`."""
        return await self._run(self._sync.agent_logs, name)

    async def _send_message(
        self, handle: Called, method: str, options: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Any:
        """The handle of a message's job. A method that is not known is asked for, so even its name takes a thread."""

        def submit() -> Job:
            return getattr(handle, method).options(**options).submit(*args, **kwargs)  # type: ignore[no-any-return]

        return self._handle(await self._run(submit))


class AsyncAgentHandle:
    """See `AgentHandle`: `await handle.add(1)`, `job = await handle.add.submit(1)`."""

    def __init__(self, client: AsyncTending, handle: Called) -> None:
        self._client = client
        self._handle = handle

    def __repr__(self) -> str:
        return f"<Async{repr(self._handle)[1:]}"

    def __getattr__(self, method: str) -> "AsyncAgentMethod":
        if method.startswith("_"):
            raise AttributeError(method)
        return AsyncAgentMethod(self._client, self._handle, method, {})


class AsyncAgentMethod:
    """See `AgentMethod`."""

    def __init__(self, client: AsyncTending, handle: Called, method: str, options: Mapping[str, Any]) -> None:
        self._client = client
        self._handle = handle
        self._method = method
        self._options = options

    def options(self, **options: Any) -> "AsyncAgentMethod":
        """See `AgentMethod.options`."""
        return AsyncAgentMethod(self._client, self._handle, self._method, {**self._options, **options})

    async def submit(self, *args: Any, **kwargs: Any) -> Any:
        """See `AgentMethod.submit`: an `AsyncJob`."""
        return await self._client._send_message(self._handle, self._method, self._options, args, kwargs)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `AgentMethod`."""
        return await (await self.submit(*args, **kwargs))
