"""The node agent: owns what runs on one node, as a kubelet does. Everything happens in one event loop.

It keeps the seven rules of `model.protocol`. The scheduler's orders come in by `receive`, which never blocks; what
is to be said goes out through the uplink. Slots are processes that somebody else starts (`SlotStarter`).
"""

from pathlib import Path

from kos_ray.model import decisions
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd, Spec
from kos_ray.model.protocol import (
    PROTOCOL,
    PROTOCOL_NEWEST,
    PROTOCOL_OLDEST,
    Hello,
    Holding,
    LaunchOrder,
    Orders,
    Report,
    too_far,
)
from kos_ray.model.reasons import FOR_GOOD
from kos_ray.runtime.agent.attempt import Attempt, Ledger, Stage, blob_hashes
from kos_ray.runtime.agent.calls import Calls
from kos_ray.runtime.agent.endings import Endings
from kos_ray.runtime.agent.files import BlobCache, NodeFiles, SpecEntry
from kos_ray.runtime.agent.fleet import Fleet
from kos_ray.runtime.agent.leases import NodeLease
from kos_ray.runtime.agent.pool import Pool
from kos_ray.runtime.agent.ports import AgentLimits, Blobs, SlotHandle, SlotStarter, Uplink
from kos_ray.runtime.agent.reports import Reports, Stored
from kos_ray.runtime.agent.samples import Running

_BEFORE_ENTRY = (Stage.PREPARING, Stage.WAITING)
_NO_SPEC = SpecEntry("", b"", Spec())


class NodeAgent:
    """One node's agent, in one life (`incarnation`). Make it inside a running event loop."""

    def __init__(
        self,
        *,
        node: NodeId,
        cluster_id: str,
        incarnation: str,
        directory: Path,
        starter: SlotStarter,
        blobs: Blobs,
        uplink: Uplink,
        limits: AgentLimits | None = None,
        versions: tuple[tuple[str, str], ...] = (),
        left_behind: tuple[str, ...] = (),
    ) -> None:
        limits = limits or AgentLimits()
        self._node = node
        self._cluster_id = cluster_id
        self._incarnation = incarnation
        self._versions = versions
        self._left_behind = left_behind
        #: (epoch, session) of the highest greeting or order so far
        self._highest = (0, 0)
        self._files = NodeFiles(directory)
        self._cache = BlobCache(directory, blobs, limits.blob_cache_bytes)
        self._ledger = Ledger(limits.remembered_max)
        self._reports = Reports(
            node=node, incarnation=incarnation, uplink=uplink, limits=limits, acked=self._report_acked
        )
        lease = NodeLease(
            node=node, incarnation=incarnation, uplink=uplink, reports=self._reports, send_ms=limits.send_ms
        )
        self._endings = Endings(
            node=node,
            ledger=self._ledger,
            reports=self._reports,
            files=self._files,
            cache=self._cache,
            limits=limits,
            lease=lease,
            node_alive=starter.node_alive,
        )
        self._calls = Calls(
            reports=self._reports,
            cache=self._cache,
            uplink=uplink,
            lease=lease,
            spawn=self._endings.spawn,
            resend_ms=limits.resend_ms,
        )
        self._fleet = self._new_fleet(starter, blobs, limits)

    def _new_fleet(self, starter: SlotStarter, blobs: Blobs, limits: AgentLimits) -> Fleet:
        return Fleet(
            node=self._node,
            incarnation=self._incarnation,
            files=self._files,
            starter=starter,
            blobs=blobs,
            ledger=self._ledger,
            reports=self._reports,
            endings=self._endings,
            calls=self._calls,
            limits=limits,
        )

    async def start(self) -> None:
        """Open the node directory, listen for slots, begin to report."""
        self._files.open()
        self._cache.open()
        self._fleet.open()
        self._reports.start()
        reach("agent.opened")
        for file in self._files.logs():
            self._endings.store_log(file)

    async def close(self) -> None:
        """Let go of everything; slots end with what they run now, whose outcomes are lost."""
        self._fleet.close()
        await self._endings.close()
        await self._reports.close()

    def hello(self, hello: Hello) -> Holding:
        """Answer a scheduler's greeting with everything that it has not acknowledged."""
        refused = self._refusal(hello)
        if refused:
            return Holding(
                node=self._node,
                incarnation=self._incarnation,
                protocol=PROTOCOL,
                refused=refused,
                cluster_id=self._cluster_id,
                epoch=self._highest[0],
            )
        self._highest = (hello.epoch, hello.session)
        self._reports.epoch = hello.epoch
        # Only a drained queue tells for certain what has not been entered.
        self._fleet.take_back_all()
        held = self._ledger.held.values()
        queued = [a for a in held if a.stage in _BEFORE_ENTRY]
        entered = [a for a in held if a.stage not in _BEFORE_ENTRY]
        for pool in list(self._fleet.pools.values()):
            self._fleet.pump(pool)
        reach("agent.greeted")
        return Holding(
            node=self._node,
            incarnation=self._incarnation,
            protocol=PROTOCOL,
            queued=tuple(a.key for a in queued),
            queued_attempts=tuple(a.number for a in queued),
            entered=tuple(a.key for a in entered),
            entered_attempts=tuple(a.number for a in entered),
            reports=self._reports.unacknowledged(),
            versions=self._versions,
            left_behind=self._left_behind,
        )

    def receive(self, orders: Orders) -> None:
        """Carry out orders, or nothing of them when they come from a scheduler or session that has been replaced."""
        sender = (orders.epoch, orders.session)
        if orders.cluster_id != self._cluster_id or sender < self._highest:
            return
        self._highest = sender
        self._reports.epoch = orders.epoch
        reach("agent.orders_heard")
        self._reports.acked(orders.acked)
        for key, spec in orders.new_specs:
            self._files.write_spec(key, spec)
        self._resize(orders.resizes, complete=orders.complete)
        for recall in orders.recalls:
            self._recall(recall)
        for save in orders.saves:
            attempts = self._held(save.keys, save.attempts)
            for _, slot in self._fleet.holders(attempts):
                slot.ask_to_save(slot.handed[0])
        for stop in orders.stops:
            self._stop(stop)
        for member, number, membership in orders.gangs:
            if (member, number) in self._ledger.held:
                self._files.write_gang(f"{member}-{number}", membership)
        for launch in orders.launches:
            self._launch(launch)
        reach("agent.orders_done")

    def starting(self) -> tuple[tuple[str, int, bool], ...]:
        """See `Fleet.starting`."""
        return self._fleet.starting()

    def processes(self) -> list[Running]:
        """See `Fleet.processes`."""
        return self._fleet.processes()

    def read_log(self, file: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a slot's log that is still on the node.

        Raises:
            NotFound: it is not.

        """
        return self._files.read_log(file, start, end)

    def tail(self, key: JobKey, number: int, start: int, size: int) -> bytes | None:
        """At most `size` bytes of what an attempt has printed so far, from byte `start` on; None when it has ended."""
        attempt = self._ledger.held.get((key, number))
        if attempt is None:
            return None
        slot = self._fleet.running(attempt)
        if slot is None or not self._files.log_size(slot.log_file):
            return b""
        begin = slot.log_at + start
        return self._files.read_log(slot.log_file, begin, begin + size)

    def _refusal(self, hello: Hello) -> str:
        if hello.cluster_id != self._cluster_id:
            return f"this agent belongs to cluster {self._cluster_id}, the greeting came from {hello.cluster_id}"
        if (hello.epoch, hello.session) < self._highest:
            return f"a scheduler of epoch {self._highest[0]} has greeted, the greeting came from epoch {hello.epoch}"
        if not PROTOCOL_OLDEST <= hello.protocol <= PROTOCOL_NEWEST:
            return too_far(hello, dict(self._versions).get("kos_ray", "unknown"))
        return ""

    def _report_acked(self, report: Report, stored: Stored) -> None:
        self._calls.acked(report, stored)
        for ended in report.ended:
            self._ledger.acked(ended.keys, ended.attempts)
            if self._files.has_gangs:
                for key, number in zip(ended.keys, ended.attempts, strict=True):
                    self._files.remove_gang(f"{key}-{number}")
        for log in report.logs:
            self._files.remove_log(log.file)

    def _resize(self, resizes: tuple[decisions.ResizeSlots, ...], *, complete: bool) -> None:
        wanted = {resize.kind: resize.slots for resize in resizes}
        if complete:
            wanted = dict.fromkeys(self._fleet.pools, 0) | wanted
        for kind, slots in wanted.items():
            pool = self._fleet.pool(kind)
            pool.wanted = slots
            self._fleet.pump(pool)

    # ---- recall and stop

    def _recall(self, recall: decisions.Recall) -> None:
        reach("agent.before_recall")
        self._take_back(self._held(recall.keys, recall.attempts))
        reach("agent.after_recall")

    def _stop(self, stop: decisions.Stop) -> None:
        reach("agent.before_stop")
        attempts = self._held(stop.keys, stop.attempts)
        self._take_back(attempts)
        for _, slot in self._fleet.holders(attempts):
            # What stands behind the first, and has not been taken back, does not exist: a slot enters one at a time.
            for_good = stop.reason in FOR_GOOD
            self._fleet.ask(slot, slot.handed[0], AttemptEnd.STOPPED, stop.grace_ms, for_good=for_good)
        reach("agent.after_stop")

    def _held(self, keys: tuple[JobKey, ...], numbers: tuple[int, ...]) -> set[Attempt]:
        held = self._ledger.held
        found = [held.get(named) for named in zip(keys, numbers, strict=True)]
        return {attempt for attempt in found if attempt is not None}

    def _take_back(self, attempts: set[Attempt]) -> None:
        """End those as recalled that no slot has entered."""
        pools = {attempt.pool for attempt in attempts}
        for pool, slot in self._fleet.holders(attempts):
            pool.take_back(slot)
        for attempt in sorted(attempts, key=lambda a: a.key):
            if attempt.stage is Stage.WAITING:
                attempt.pool.dropped()
            if attempt.stage in _BEFORE_ENTRY:
                self._endings.unentered(attempt, AttemptEnd.RECALLED)
        for pool in pools:
            self._fleet.pump(pool)

    # ---- launch

    def _launch(self, order: LaunchOrder) -> None:
        pool = self._fleet.pool(order.kind)
        pool.wanted = order.slots
        inputs, restored, gangs = dict(order.inputs), dict(order.restored), dict(order.gangs)
        scheduled, latest, told = dict(order.scheduled), dict(order.latest), dict(order.told)
        columns = zip(order.keys, order.attempts, order.ranks, order.specs, order.ids, order.args, strict=True)
        specs = self._files.specs
        for i, (key, number, rank, spec_key, public_id, args) in enumerate(columns):
            if not self._ledger.is_new(key, number):
                continue
            spec = specs.get(spec_key)
            given, saved = inputs.get(i, ()), restored.get(i, b"")
            attempt = Attempt(key, number, rank, public_id, spec or _NO_SPEC, args, given, pool, saved)
            if i in scheduled:
                attempt.scheduled_us, attempt.latest, attempt.told = scheduled[i], latest.get(i, b""), told.get(i, "")
            self._ledger.take_in(attempt)
            reach("agent.attempt_taken_in")
            if i in gangs:
                self._files.write_gang(attempt.name, gangs[i])
            if spec is None:
                message = f"the node agent was never told the spec {spec_key}"
                self._endings.unentered(attempt, AttemptEnd.UNPREPARED, ("UnknownSpec", message, ""))
            elif (given or saved or attempt.latest or args[:1] == b"\x01") and (
                hashes := blob_hashes(args, (*given, saved, attempt.latest))
            ):
                attempt.blobs = hashes
                self._cache.use(hashes)
                attempt.stage = Stage.PREPARING
                pool.preparing += 1
                self._endings.spawn(self._prepare(pool, attempt))
            else:
                pool.push(attempt)
        self._fleet.pump(pool)

    async def _prepare(self, pool: Pool, attempt: Attempt) -> None:
        """Bring the blobs of an attempt to the node, then let it wait for its turn."""
        error = None
        try:
            reach("agent.before_fetch")
            await self._cache.bring(attempt.blobs)
            reach("agent.after_fetch")
        except Exception as failure:  # noqa: BLE001 - whatever the store raises is the reason that is reported
            error = (type(failure).__name__, f"what it needs could not be brought to the node: {failure}", "")
        pool.preparing -= 1
        if attempt.stage is Stage.PREPARING:
            if error is None:
                attempt.stage = Stage.WAITING
                pool.push(attempt)
            else:
                self._endings.unentered(attempt, AttemptEnd.UNPREPARED, error)
        self._fleet.pump(pool)


__all__ = ["AgentLimits", "Blobs", "NodeAgent", "SlotHandle", "SlotStarter", "Uplink"]
