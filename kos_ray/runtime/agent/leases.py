"""The node's lease: until when exclusive work may go on here, as the scheduler last said."""

import asyncio
import time

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.protocol import Renew
from kos_ray.runtime.agent.ports import Uplink
from kos_ray.runtime.agent.reports import Reports

#: what a kernel's timer and a message on this machine are late by, with room to spare
_LATE_S = 0.25


class NodeLease:
    """Asks the scheduler for time when a third of what it has is over; only while somebody asks here.

    All instants are seconds of CLOCK_BOOTTIME, which goes on while the machine sleeps. Time counts from before it was
    asked for: however late the answer comes, it is over here before the scheduler takes it as over.
    """

    def __init__(self, *, node: NodeId, incarnation: str, uplink: Uplink, reports: Reports, send_ms: int) -> None:
        self._renew = Renew(node=node, incarnation=incarnation)
        self._uplink = uplink
        self._reports = reports
        self._send_s = send_ms / 1_000
        self._until = 0.0
        self._length = 0.0
        self._asking = asyncio.Lock()
        #: until when each attempt was told that it may go on
        self._told: dict[tuple[JobKey, int], float] = {}

    async def left_ms(self, key: JobKey, attempt: int) -> int:
        """How long an attempt may go on from now, 0 where the scheduler has not said that it may."""
        async with self._asking:
            if self._until - _now() <= self._length * 2 / 3:
                await self._ask()
        left_ms = max(0, int((self._until - _now()) * 1_000))
        if left_ms:
            self._told[key, attempt] = self._until
        return left_ms

    async def _ask(self) -> None:
        asked = _now()
        try:
            async with asyncio.timeout(self._send_s):
                answer = await self._uplink.renew(self._renew)
        except Exception:  # noqa: BLE001 - however the uplink fails, what was granted before still holds
            return
        if answer.epoch >= self._reports.epoch and answer.lease_ms:
            self._length = answer.lease_ms / 1_000
            self._until = max(self._until, asked + self._length)

    def ended(self, key: JobKey, attempt: int) -> bool:
        """Whether an attempt whose process has just died had come to the end of its time; it is forgotten here."""
        return _now() >= self._told.pop((key, attempt), float("inf")) - _LATE_S

    def forget(self, key: JobKey, attempt: int) -> None:
        """The attempt is over."""
        if self._told:
            self._told.pop((key, attempt), None)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
