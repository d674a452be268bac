"""The agents that people keep on this node: who takes messages, and how a lane into one is asked for."""

import asyncio
from collections.abc import Iterable

from kos_ray.model.job import SlotKind
from kos_ray.runtime.agent.attempt import Attempt
from kos_ray.runtime.agent.pool import Pool
from kos_ray.runtime.agent.reports import Reports
from kos_ray.runtime.agent.slot_end import SlotEnd

#: beyond its time, an agent that is late with its start may say itself what it was about
_START_MARGIN_MS = 1_000


class LaneHandle:
    """A lane that is being opened: it has no process that could be ended without ending the agent."""

    def __init__(self) -> None:
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def cancel(self) -> None:
        """See `SlotHandle`: one that is not expected any more is turned away when it connects."""

    def kill(self) -> None:
        """See `SlotHandle`."""


class Carriers:
    """The slots of agents that take messages, by namespace and name."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._ready: dict[tuple[str, str], tuple[SlotEnd, Attempt]] = {}

    def ready(self, kind: SlotKind, slot: SlotEnd, entered_us: int) -> None:
        """The agent in a slot takes messages from now on, unless it is to go before it has come."""
        head = slot.handed[0]
        head.ready = True
        if head.asked is not None or not (kind.agent and kind.single_use):
            return
        if not head.reported:
            head.reported = True
            self._reports.add_entered(head.key, head.number, entered_us, slot.pid)
        self._ready[kind.namespace, kind.agent] = (slot, head)
        self._reports.add_agent(head.key, head.number, ready=True)

    def wrong(self, slot: SlotEnd, elapsed_ms: float, now: float) -> tuple[str, str, str] | None:
        """Why what stands first in a slot is to be ended, if it carries an agent; None where it may go on."""
        head = slot.handed[0]
        start_ms, silent_ms = head.spec.start_ms, head.spec.silent_ms
        if start_ms and not head.ready and elapsed_ms >= start_ms + _START_MARGIN_MS:
            limit = f"within {start_ms / 1_000:g} s (start_timeout)"
            told = f"expected an agent that takes messages {limit}; found one that still loads its code, or hangs"
            return ("StartTimeout", told, "")
        if silent_ms and head.ready and (now - slot.heard_at) * 1_000 > silent_ms:
            told = f"expected a sign of life of process {slot.pid} every {silent_ms / 1_000:g} s (heartbeat_timeout)"
            return ("Silent", f"{told}; found none: it was frozen, or does not let go of the interpreter", "")
        return None

    def away(self, kind: SlotKind, slot: SlotEnd, pools: Iterable[Pool]) -> list[Pool]:
        """A slot ends, or is to: if there was an agent in it that took messages until now, the pools of its lanes."""
        name = (kind.namespace, kind.agent)
        found = self._ready.get(name) if kind.single_use else None
        if found is None or found[0] is not slot:
            return []
        del self._ready[name]
        self._reports.add_agent(found[1].key, found[1].number, ready=False)
        return [pool for pool in pools if (pool.kind.namespace, pool.kind.receiver) == name]

    def open_lane(self, kind: SlotKind, slot_id: str) -> LaneHandle | None:
        """Ask an agent for one more lane; None while it takes no messages."""
        found = self._ready.get((kind.namespace, kind.receiver))
        if found is None:
            return None
        found[0].open_lane(slot_id)
        return LaneHandle()
