"""What running attempts ask of their node agent; each is answered over its slot's line when it is done."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.model.protocol import Report, Submit
from kos_ray.model.wire import from_plain
from kos_ray.runtime.agent.attempt import Attempt
from kos_ray.runtime.agent.endings import now_us
from kos_ray.runtime.agent.files import BlobCache
from kos_ray.runtime.agent.leases import NodeLease
from kos_ray.runtime.agent.ports import Uplink
from kos_ray.runtime.agent.reports import Reports, Stored
from kos_ray.runtime.agent.slot_end import SlotEnd
from kos_ray.worker.packets import CHECKPOINT, LEASE, SUBMIT, UNSAVED

_FENCED = (
    "checkpoint: it was not stored, because attempt {attempt} of the job is over for the scheduler (its node counts as "
    "lost, or another attempt has taken its place); expected the job's current attempt: end this one"
)


class Calls:
    """Takes in calls and answers them."""

    def __init__(
        self,
        *,
        reports: Reports,
        cache: BlobCache,
        uplink: Uplink,
        lease: NodeLease,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        resend_ms: int,
    ) -> None:
        self._reports = reports
        self._cache = cache
        self._uplink = uplink
        self._lease = lease
        self._spawn = spawn
        self._resend_s = resend_ms / 1000
        #: who waits for a checkpoint to be stored, by key, attempt and number: the slot, and the number of its call
        self._saving: dict[tuple[JobKey, int, int], tuple[SlotEnd, int]] = {}

    def hear(self, slot: SlotEnd, attempt: Attempt, call: int, what: str, body: tuple[Any, ...]) -> None:
        """Take in what the attempt that a slot runs asks for."""
        if what == CHECKPOINT:
            self._spawn(self._checkpoint(slot, attempt, call, *body))
        elif what == UNSAVED:
            self._reports.add_unsaved(attempt.key, attempt.number, *body)
            slot.answer(call, "", None)
        elif what == SUBMIT:
            self._spawn(self._submit(slot, attempt, call, *body))
        elif what == LEASE:
            self._spawn(self._lease_left(slot, attempt, call))
        else:
            slot.answer(call, f"the node agent does not know how to {what}: it is of another version", None)

    async def _checkpoint(
        self, slot: SlotEnd, attempt: Attempt, call: int, number: int, payload: bytes, why: str = ""
    ) -> None:
        """Have a state stored durably, and reported; it is answered when the report is on disk."""
        ref = open_payload(payload)
        if isinstance(ref, BlobRef) and not await self._cache.keep_surely(ref.hash, self._resend_s):
            slot.answer(
                call, f"checkpoint: the state, {ref.size} bytes, vanished from the node before it was stored", ""
            )
            return
        reach("agent.checkpoint_heard")
        self._saving[attempt.key, attempt.number, number] = (slot, call)
        self._reports.add_checkpoint(attempt.key, attempt.number, number, payload, now_us(), why)

    async def _submit(self, slot: SlotEnd, attempt: Attempt, call: int, plain: Any) -> None:
        """Have a child of the attempt's job accepted, however often the scheduler has to be asked."""
        submit = replace(from_plain(Submit, plain), parent=attempt.key, parent_attempt=attempt.number)
        for payload in (args for array in submit.arrays for args in array.args):
            ref = open_payload(payload)
            if isinstance(ref, BlobRef) and not await self._cache.keep_surely(ref.hash, self._resend_s):
                slot.answer(call, f"submit: the arguments, {ref.size} bytes, vanished before they were stored", None)
                return
        reach("agent.child_heard")
        while not slot.dropped:
            try:
                accepted = await self._uplink.submit(submit)
            except Exception:  # noqa: BLE001 - however the uplink fails, the request is sent again
                await asyncio.sleep(self._resend_s)
            else:
                reach("agent.child_accepted")
                slot.answer(call, accepted.refused, None)
                return

    async def _lease_left(self, slot: SlotEnd, attempt: Attempt, call: int) -> None:
        """Answer when there is time, for as long as the slot is there: until then its attempt is not entered."""
        while not slot.dropped:
            left_ms = await self._lease.left_ms(attempt.key, attempt.number)
            if left_ms:
                slot.answer(call, "", left_ms)
                return
            await asyncio.sleep(self._resend_s)

    def acked(self, report: Report, stored: Stored) -> None:
        """A report is on disk, and those of its checkpoints that are `stored`."""
        for said in report.checkpoints:
            for saved in zip(said.keys, said.attempts, said.numbers, strict=True):
                waiting = self._saving.pop(saved, None)
                if waiting is not None:
                    slot, call = waiting
                    reach("agent.checkpoint_stored")
                    slot.answer(call, "" if saved in stored else _FENCED.format(attempt=saved[1]), None)
