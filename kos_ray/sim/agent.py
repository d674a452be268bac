"""A fake node agent: the seven rules of `model.protocol` in virtual time, on a machine that plays Ray."""

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, SpecKey
from kos_ray.model.job import AttemptEnd, SlotKind, Spec
from kos_ray.model.protocol import PROTOCOL, Hello, Holding, LaunchOrder, Orders
from kos_ray.model.resources import total
from kos_ray.sim.auditor import Auditor
from kos_ray.sim.fleet import Attempt, Fleet
from kos_ray.sim.machine import Machine
from kos_ray.sim.network import Network
from kos_ray.sim.setting import Setting
from kos_ray.sim.uplink import End, Uplink
from kos_ray.sim.workload import Fate, Workload
from kos_ray.sim.world import MS_US, World


class Agent:
    """One life of a machine's agent."""

    def __init__(
        self,
        world: World,
        setting: Setting,
        network: Network,
        auditor: Auditor,
        workload: Workload,
        machine: Machine,
        cluster_id: str,
    ) -> None:
        machine.births += 1
        machine.agent = self
        self.machine = machine
        self.incarnation = f"{machine.name}/{machine.births}"
        self.alive = True
        #: attempts that it has and that have not ended
        self.held: dict[tuple[JobKey, int], Attempt] = {}
        self._world = world
        self._auditor = auditor
        self._plans = workload.plans
        self._cluster_id = cluster_id
        self._highest = (0, 0)
        self._seen: dict[JobKey, int] = {}
        self._specs: dict[SpecKey, Spec] = {}
        self._uplink = Uplink(world, network, machine.id, self.incarnation)
        self._fleet = Fleet(world, setting, auditor, machine, self.incarnation, self._uplink, self._ended)

    def die(self) -> None:
        """The agent's process is gone, and with it all slots and all that was not acknowledged."""
        self.alive = False
        self._uplink.closed = True
        self._fleet.die()
        self._auditor.taint(self.machine.name)
        self.held.clear()

    # --- what the scheduler says

    def hello(self, hello: Hello) -> Holding:
        """See `runtime.node_agent`."""
        node, incarnation = self.machine.id, self.incarnation
        if hello.cluster_id != self._cluster_id or (hello.epoch, hello.session) < self._highest:
            return Holding(node=node, incarnation=incarnation, protocol=PROTOCOL, refused="another has greeted")
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
        self._specs.update(orders.new_specs)
        self._resize(orders)
        for recall in orders.recalls:
            for attempt in self._named(recall):
                self._take_back(attempt)
        for stop in orders.stops:
            for attempt in self._named(stop):
                if attempt.entered:
                    grace_us = stop.grace_ms * MS_US
                    self._fleet.ask(attempt, AttemptEnd.STOPPED, self._world.between(0, grace_us))
                else:
                    self._take_back(attempt)
        for launch in orders.launches:
            self._launch(launch)
        self._check_room()

    def _named(self, order: d.Recall | d.Stop) -> list[Attempt]:
        found = [self.held.get(named) for named in zip(order.keys, order.attempts, strict=True)]
        return [attempt for attempt in found if attempt is not None]

    def _take_back(self, attempt: Attempt) -> None:
        if not attempt.entered:
            self._fleet.remove(attempt)
            self._end(attempt, AttemptEnd.RECALLED)

    def _resize(self, orders: Orders) -> None:
        wanted: dict[SlotKind, int] = {}
        if orders.complete:
            wanted = dict.fromkeys(self._fleet.pools, 0)
        wanted.update((resize.kind, resize.slots) for resize in orders.resizes)
        for kind, slots in wanted.items():
            self._fleet.resize(kind, slots)

    def _launch(self, order: LaunchOrder) -> None:
        pool = self._fleet.pool(order.kind)
        pool.wanted = order.slots
        inputs = dict(order.inputs)
        columns = zip(order.keys, order.attempts, order.ranks, order.specs, order.ids, order.args, strict=True)
        for i, (key, number, rank, spec_key, public_id, args) in enumerate(columns):
            if self._seen.get(key, 0) >= number:
                continue
            self._seen[key] = number
            plan = self._plans[public_id]
            attempt = Attempt(key, number, rank, plan, inputs.get(i, ()))
            self.held[key, number] = attempt
            self._auditor.launched(plan, number, self._specs.get(spec_key), args, order.kind)
            run = self._auditor.next_run(plan)
            if run.fate is Fate.UNPREPARED:
                self._end(attempt, AttemptEnd.UNPREPARED, error=f"{plan.id} unprepared in attempt {number}")
            else:
                pool.push(attempt)
        self._fleet.pump(pool)

    def _check_room(self) -> None:
        """G5, as the agent sees it: what it was told to hold never exceeds its node."""
        wanted = total(pool.kind.resources for pool in self._fleet.pools.values() for _ in range(pool.wanted))
        capacity = dict(self.machine.resources.amounts)
        fits = all(capacity.get(name, 0) >= amount for name, amount in wanted.items())
        self._auditor.expect(fits, "the orders of one agent exceed its node", (self.incarnation, wanted))

    # --- what happened

    def _end(self, attempt: Attempt, end: AttemptEnd, *, error: str = "") -> None:
        """End an attempt that was never entered."""
        self._ended(attempt, End(attempt.key, attempt.number, end, 0, self._world.wall_us, b"", error))

    def _ended(self, attempt: Attempt, end: End) -> None:
        del self.held[attempt.key, attempt.number]
        self._auditor.ended(attempt.plan, attempt.number, self.machine.name, end.end, end.result)
        self._uplink.add_end(end)
