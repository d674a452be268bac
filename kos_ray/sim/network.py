"""Messages: late, lost, repeated. Between an engine and an agent they go over links that break."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from kos_ray.model.ids import NodeId
from kos_ray.model.protocol import Acked, Orders, Renew, Renewed, Report
from kos_ray.sim.auditor import Auditor
from kos_ray.sim.machine import Machine
from kos_ray.sim.setting import Setting
from kos_ray.sim.world import MS_US, SECOND_US, World

if TYPE_CHECKING:
    from kos_ray.sim.agent import Agent
    from kos_ray.sim.process import Process

#: a slow message takes up to so long; what was on its way over a broken link may arrive as late
_SLOW_US = 3 * SECOND_US


class Network:
    """Carries messages to whichever scheduler lives when they arrive, and to agents."""

    def __init__(self, world: World, setting: Setting) -> None:
        self.process: Process | None = None
        self.machines: dict[NodeId, Machine] = {}
        #: one message in so many is lost, or delivered twice, while faults go on
        self.loss_share = 0.0
        self.twice_share = 0.0
        #: of reports where agents live, how many come again, late; by chances of their own
        self.again_share = 0.0
        #: how often that happened
        self.lost = 0
        self.repeated = 0
        self._world = world
        self._setting = setting

    def delay_us(self) -> int:
        """How long the next message takes."""
        world = self._world
        if world.chance(self._setting.slow_share):
            return world.between(0, _SLOW_US)
        return world.between(*self._setting.delay_us)

    def to_scheduler(self, call: Callable[["Process"], None], *, once: bool = False) -> None:
        """Have a message arrive at the scheduler that lives then, if one does and the message is not lost.

        With `once` it arrives once at most, as a call of a Ray actor does; reports and submissions stand more.
        """
        if self._dropped():
            return
        self._world.after(self.delay_us(), self._arrive, call)
        if not once and self.twice_share and self._world.chance(self.twice_share):
            self.repeated += 1
            self._world.after(self._world.between(0, _SLOW_US), self._arrive, call)

    def answer(self, call: Callable[..., None], *args: object) -> None:
        """Have an answer of the scheduler arrive, if it is not lost."""
        if not self._dropped():
            self._world.after(self.delay_us(), call, *args)

    def report(self, node: NodeId, report: Report, take: Callable[[Acked], None]) -> None:
        """Carry a report to the scheduler, and its acknowledgement back."""
        machine = self.machines[node]

        def arrive(process: "Process") -> None:
            if not machine.cut:
                process.report(report, lambda acked: None if machine.cut else self.answer(take, acked))

        self.to_scheduler(arrive)
        if self.again_share and self._world.aside.random() < self.again_share:
            self.repeated += 1
            self._world.after(self._world.aside.randint(0, _SLOW_US), self._arrive, arrive)

    def renew(self, renew: Renew, take: Callable[[Renewed], None]) -> None:
        """Carry the wish for a lease to the scheduler, and its answer back; by chances of its own."""
        machine, aside = self.machines[renew.node], self._world.aside

        def arrive() -> None:
            if self.process is None or not self.process.alive or machine.cut or aside.random() < self.loss_share:
                return
            answer = self.process.renew(renew)
            self._world.after(self.aside_us(), lambda: None if machine.cut else take(answer))

        if not machine.cut and aside.random() >= self.loss_share:
            self._world.after(self.aside_us(), arrive)

    def aside_us(self) -> int:
        """How long a message takes that is no part of worlds of before; by chances of its own."""
        aside = self._world.aside
        if aside.random() < self._setting.slow_share:
            return aside.randint(0, _SLOW_US)
        return aside.randint(*self._setting.delay_us)

    def _dropped(self) -> bool:
        if self.loss_share and self._world.chance(self.loss_share):
            self.lost += 1
            return True
        return False

    def _arrive(self, call: Callable[["Process"], None]) -> None:
        if self.process is not None and self.process.alive:
            call(self.process)


class Link:
    """Orders for one agent, in order, one message on its way at a time; see `runtime.links`."""

    def __init__(self, world: World, network: Network, agent: "Agent", on_broken: Callable[[], None]) -> None:
        self.agent = agent
        self.broken = False
        self._world = world
        self._network = network
        self._on_broken = on_broken
        self._queue: list[Orders] = []
        self._busy = False

    def send(self, orders: Orders) -> None:
        """Queue orders, and send at once if nothing is on its way."""
        if not self.broken:
            self._queue.append(orders)
            self._next()

    def break_off(self) -> None:
        """Nothing more gets through; what is on its way arrives late."""
        if not self.broken:
            self.broken = True
            self._queue = []
            self._on_broken()

    def _next(self) -> None:
        if self._queue and not self._busy:
            self._busy = True
            batch, self._queue = self._queue, []
            self._world.after(self._network.delay_us(), self._arrive, batch, self.broken)

    def _arrive(self, batch: list[Orders], late: bool) -> None:
        if self.broken and not late:
            self._world.after(self._world.between(0, _SLOW_US), self._arrive, batch, True)
            return
        if not self.agent.alive or self.agent.machine.cut:
            self._world.after(self._world.between(1, 200) * MS_US, self.break_off)
            return
        for orders in batch:
            self.agent.receive(orders)
        self._world.after(self._network.delay_us(), self._answered)

    def _answered(self) -> None:
        self._busy = False
        if not self.broken:
            self._next()


class Links:
    """See `engine.ports.Links`: the links of one life of the scheduler."""

    def __init__(self, auditor: Auditor) -> None:
        self.by_node: dict[NodeId, Link] = {}
        self._auditor = auditor

    def send(self, node: NodeId, orders: Orders) -> None:
        """See the port. Orders for a node without a link are dropped: its greeting tells all anew."""
        self._auditor.ordered(orders)
        link = self.by_node.get(node)
        if link is not None:
            link.send(orders)
