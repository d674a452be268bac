"""What the scheduler actor answers about agents."""

import msgpack

from kos_ray.engine.agent_queue import plain_queue
from kos_ray.engine.agents import agent_wish_of, plain_agents
from kos_ray.model.errors import Refused
from kos_ray.runtime.schedule_calls import ScheduleCalls


class AgentCalls(ScheduleCalls):
    """A part of the actor; see `runtime/scheduler.py`."""

    async def agent(self, data: bytes) -> bytes:
        """A wish about an agent (the fields of `AgentWish`) to what came of it, both packed."""
        wish = agent_wish_of(msgpack.unpackb(data, use_list=False))
        answer = await self._ask(lambda reply: self._engine.wish(wish, reply))
        if isinstance(answer, Refused):
            raise answer
        return bytes(msgpack.packb(answer))

    async def agents(self) -> bytes:
        """All agents as they stand, packed mappings."""
        return bytes(msgpack.packb(plain_agents(self._engine.state)))

    async def agent_queue(self, data: bytes) -> bytes:
        """What one agent (`key`) has to do, `most` of what waits; both packed."""
        plain = msgpack.unpackb(data)
        return bytes(msgpack.packb(plain_queue(self._engine.state, plain["key"], plain["most"])))
