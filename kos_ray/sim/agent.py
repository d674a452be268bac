"""A fake node agent: the seven rules of `model.protocol` in virtual time, on a machine that plays Ray."""

from kos_ray.model import decisions as d
from kos_ray.model.agent_snapshots import SaveAgents
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, Guarantee, SlotKind, Spec
from kos_ray.model.protocol import (
    PROTOCOL,
    PROTOCOL_NEWEST,
    PROTOCOL_OLDEST,
    Hello,
    Holding,
    LaunchOrder,
    Orders,
    too_far,
)
from kos_ray.model.reasons import FOR_GOOD
from kos_ray.model.resources import total
from kos_ray.model.sample import Sample
from kos_ray.sim.code import UserCode
from kos_ray.sim.fleet import Fleet
from kos_ray.sim.leases import NodeLease
from kos_ray.sim.machine import Machine
from kos_ray.sim.network import Network
from kos_ray.sim.setting import Setting
from kos_ray.sim.slots import Attempt
from kos_ray.sim.uplink import End, Uplink
from kos_ray.sim.world import MS_US, Violation, World


class Agent:
    """One life of a machine's agent."""

    def __init__(
        self,
        world: World,
        setting: Setting,
        network: Network,
        code: UserCode,
        machine: Machine,
        cluster_id: str,
    ) -> None:
        machine.births += 1
        machine.agent = self
        self.machine = machine
        self.incarnation = f"{machine.name}-{machine.births}"
        self.alive = True
        #: attempts that it has and that have not ended
        self.held: dict[tuple[JobKey, int], Attempt] = {}
        self._world = world
        self._code = code
        self._cluster_id = cluster_id
        self._highest = (0, 0)
        self._seen: dict[JobKey, int] = {}
        self._specs: dict[SpecKey, Spec] = {}
        self._uplink = Uplink(world, network, machine.id, self.incarnation)
        self._leases = setting.leases
        lease = NodeLease(world, network, machine, self.incarnation, lambda: self._uplink.epoch)
        self.fleet = Fleet(world, setting, code, machine, self.incarnation, self._uplink, lease, self._ended)

    def die(self) -> None:
        """The agent's process is gone, and with it all slots and all that was not acknowledged."""
        self.alive = False
        self._uplink.closed = True
        self.fleet.die()
        self.held.clear()

    # --- what the scheduler says

    def hello(self, hello: Hello) -> Holding:
        """See `runtime.node_agent`."""
        node, incarnation = self.machine.id, self.incarnation
        refused = self._refusal(hello)
        if refused:
            return Holding(
                node=node,
                incarnation=incarnation,
                protocol=PROTOCOL,
                refused=refused,
                cluster_id=self._cluster_id,
                epoch=self._highest[0],
            )
        self._highest = (hello.epoch, hello.session)
        self._uplink.epoch = hello.epoch
        queued = [attempt for attempt in self.held.values() if not attempt.entered]
        entered = [attempt for attempt in self.held.values() if attempt.entered]
        return Holding(
            node=node,
            incarnation=incarnation,
            protocol=PROTOCOL,
            queued=tuple(attempt.key for attempt in queued),
            queued_attempts=tuple(attempt.number for attempt in queued),
            entered=tuple(attempt.key for attempt in entered),
            entered_attempts=tuple(attempt.number for attempt in entered),
            reports=self._uplink.unacknowledged(),
        )

    def receive(self, orders: Orders) -> None:
        """Carry out orders, or nothing of them when their sender has been replaced."""
        sender = (orders.epoch, orders.session)
        if orders.cluster_id != self._cluster_id or sender < self._highest:
            return
        self._highest = sender
        self._uplink.epoch = orders.epoch
        self._uplink.acked(orders.acked)
        self._specs.update(orders.new_specs)
        self._resize(orders)
        for recall in orders.recalls:
            self._take_back(self._named(recall))
        for stop in orders.stops:
            attempts = self._named(stop)
            for attempt in attempts:
                if attempt.entered:
                    attempt.for_good = attempt.for_good or stop.reason in FOR_GOOD
                    self.fleet.ask(attempt, AttemptEnd.STOPPED, stop.grace_ms * MS_US)
            self._take_back(attempts)
        for save in orders.saves:
            self.fleet.homes.save([attempt for attempt in self._named(save) if attempt.entered])
        for launch in orders.launches:
            self._launch(launch)
        self._check_room()

    def measured(self) -> Sample:
        """What its node uses now, and its attempts, by its own clock."""
        return self.machine.measured(self.fleet.entered(), self._world.wall_us)

    def _refusal(self, hello: Hello) -> str:
        if hello.cluster_id != self._cluster_id:
            return f"this agent belongs to cluster {self._cluster_id}, the greeting came from {hello.cluster_id}"
        if (hello.epoch, hello.session) < self._highest:
            return f"a scheduler of epoch {self._highest[0]} has greeted, the greeting came from epoch {hello.epoch}"
        if not PROTOCOL_OLDEST <= hello.protocol <= PROTOCOL_NEWEST:
            return too_far(hello, "simulated")
        return ""

    def _named(self, order: d.Recall | d.Stop | SaveAgents) -> list[Attempt]:
        found = [self.held.get(named) for named in zip(order.keys, order.attempts, strict=True)]
        return [attempt for attempt in found if attempt is not None]

    def _take_back(self, attempts: list[Attempt]) -> None:
        """End those as recalled that no slot has entered."""
        found = [attempt for attempt in attempts if not attempt.entered]
        for attempt in found:
            self._end(attempt, AttemptEnd.RECALLED)
        self.fleet.remove(found)

    def _resize(self, orders: Orders) -> None:
        wanted: dict[SlotKind, int] = {}
        if orders.complete:
            wanted = dict.fromkeys(self.fleet.pools, 0)
        wanted.update((resize.kind, resize.slots) for resize in orders.resizes)
        for kind, slots in wanted.items():
            self.fleet.resize(kind, slots)

    def _launch(self, order: LaunchOrder) -> None:
        pool = self.fleet.pool(order.kind)
        pool.wanted = order.slots
        inputs, restored = dict(order.inputs), dict(order.restored)
        columns = zip(order.keys, order.attempts, order.ranks, order.specs, order.ids, order.args, strict=True)
        for i, (key, number, rank, spec_key, public_id, args) in enumerate(columns):
            if self._seen.get(key, 0) >= number:
                continue
            self._seen[key] = number
            spec = self._specs.get(spec_key)
            timeout_us = spec.timeout_ms * MS_US if spec else 0
            attempt = Attempt(key, number, rank, public_id, inputs.get(i, ()), timeout_us)
            attempt.exclusive = self._leases and spec is not None and spec.guarantee is Guarantee.EXACTLY_ONCE
            attempt.carries = spec.carries if spec is not None else None
            attempt.restored = restored.get(i, b"")
            self.held[key, number] = attempt
            if self._code.launched(public_id, number, spec, args, order.kind):
                pool.push(attempt)
            else:
                message = f"{public_id} unprepared in attempt {number}"
                self._end(attempt, AttemptEnd.UNPREPARED, error=("Unprepared", message))
        self.fleet.pump(pool)

    def _check_room(self) -> None:
        """G5, as the agent sees it: what it was told to hold never exceeds its node."""
        wanted = total(pool.kind.resources for pool in self.fleet.pools.values() for _ in range(pool.wanted))
        capacity = dict(self.machine.resources.amounts)
        fits = all(capacity.get(name, 0) >= amount for name, amount in wanted.items())
        if not fits:
            raise Violation(f"the orders of one agent exceed its node: {(self.incarnation, wanted)}")

    # --- what happened

    def _end(self, attempt: Attempt, end: AttemptEnd, *, error: tuple[str, str] | None = None) -> None:
        """End an attempt that was never entered."""
        self._ended(attempt, End(attempt.key, attempt.number, end, self._world.wall_us, error=error))

    def _ended(self, attempt: Attempt, end: End) -> None:
        del self.held[attempt.key, attempt.number]
        self._code.ended(attempt.job, attempt.number, self.machine.name, end.end, end.result)
        self._uplink.add_end(end)
