"""One life of the scheduler: drives the production engine as `runtime.scheduler` and `runtime.nodes` do."""

from collections.abc import Callable
from typing import Any

from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import Touched
from kos_ray.engine.pressure import Pressures
from kos_ray.engine.reconcile import renewed
from kos_ray.journal.snapshots import MemorySnapshots
from kos_ray.journal.store import Journal
from kos_ray.model.events import (
    CancelRequested,
    HoldRequested,
    NodeCondition,
    NodeLost,
    PriorityChanged,
    ReleaseRequested,
)
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.protocol import PROTOCOL, Acked, Hello, Holding, Outcomes, Renew, Renewed, Report, Submit
from kos_ray.model.sample import Sample
from kos_ray.scheduler import invariants
from kos_ray.sim.agent import Agent
from kos_ray.sim.auditor import Auditor
from kos_ray.sim.machine import Machine
from kos_ray.sim.network import Link, Links, Network
from kos_ray.sim.plugins import Plugins
from kos_ray.sim.setting import Setting
from kos_ray.sim.world import MS_US, SECOND_US, World

#: between attempts to write again after the disk refused
_STALLED_US = 500 * MS_US
#: how long a greeting or a long poll may take
_GREETING_US = 5 * SECOND_US
_POLL_US = 30 * SECOND_US

#: heartbeats without an answer after which a node gets nothing new
_SILENT_AFTER = 2

PYTHON = "3.11"

Wish = CancelRequested | HoldRequested | ReleaseRequested | PriorityChanged


class Crash(BaseException):
    """A scheduler process dies here: no handler of ordinary errors sees it."""


class Clock:
    """The wall clock when it was made, plus the monotonic clock since."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shift_us = world.wall_shift_us

    def now_us(self) -> int:
        """See `engine.ports.Clock`."""
        return self._world.now_us + self._shift_us


class Snapshots:
    """The newest snapshot that fits one journal."""

    def __init__(self, kept: MemorySnapshots, journal: Journal) -> None:
        self._kept = kept
        self._journal = journal

    def load_newest(self) -> tuple[int, Any] | None:
        """See `engine.ports.Snapshots`."""
        return self._kept.load_newest(self._journal)


class Process:
    """A scheduler process. `stepped` is called after each tick, `died` when one crashed."""

    def __init__(
        self,
        world: World,
        setting: Setting,
        network: Network,
        auditor: Auditor,
        journal: Journal,
        snapshots: MemorySnapshots,
        born: Callable[[Machine], Agent],
        stepped: Callable[["Process"], None],
        died: Callable[[], None],
    ) -> None:
        self.alive = True
        self.journal = journal
        self.links = Links(auditor)
        self._world = world
        self._setting = setting
        self._network = network
        self._auditor = auditor
        self._born = born
        self._stepped = stepped
        self._died = died
        self._scheduled = False
        #: which timer counts
        self._timer = 0
        self._session = 0
        self._greeting: dict[NodeId, int] = {}
        self._looking = 0
        self._unanswered: dict[NodeId, int] = {}
        self._pressures = Pressures()
        self.engine = Engine(
            journal=journal,
            snapshots=Snapshots(snapshots, journal),
            clock=Clock(world),
            links=self.links,
            python=PYTHON,
            version="simulated",
            policy=setting.policy,
            plugins=Plugins(world, self.kick),
        )

    def boot(self) -> None:
        """Fold the journal and take over.

        Raises:
            JournalUnwritable: the disk refuses.

        """
        self.engine.boot()
        self._set_timer()
        self._look(0)

    def die(self) -> None:
        """It is gone; what it has sent is on its way all the same."""
        self.alive = False

    # --- driving the engine

    def kick(self) -> None:
        """Have a tick run soon: what arrived together goes into one frame."""
        if self.alive and not self._scheduled:
            self._scheduled = True
            self._world.after(self._world.between(*self._setting.tick_us), self._tick)

    def _tick(self) -> None:
        if not self.alive:
            return
        self._scheduled = False
        engine = self.engine
        try:
            engine.tick()
        except Crash:
            self._died()
            return
        if not engine.stalled:
            found = invariants.check(engine.state)
            self._auditor.expect(not found, "an invariant does not hold", found)
        self._set_timer()
        self._stepped(self)

    def _set_timer(self) -> None:
        self._timer += 1
        if self.engine.stalled:
            self._world.after(_STALLED_US, self._timed, self._timer)
            return
        due_us = self.engine.next_due_us()
        if due_us is not None:
            self._world.after(max(0, due_us - self.engine.now_us()), self._timed, self._timer)

    def _timed(self, timer: int) -> None:
        if timer == self._timer:
            self.kick()

    # --- what clients and agents call

    def submit(self, submit: Submit, reply: Callable[[object], None]) -> None:
        """`Submit` to `Accepted`, or why not."""
        self.engine.submit(submit, reply)
        self.kick()

    def report(self, report: Report, reply: Callable[[Acked], None]) -> None:
        """`Report` to `Acked`; no answer where it was refused."""
        self._auditor.carried.came(report)

        def answer(value: object) -> None:
            if isinstance(value, Acked):
                reply(value)

        self.engine.report(report, answer)
        self.kick()

    def renew(self, renew: Renew) -> Renewed:
        """`Renew` to `Renewed`."""
        return renewed(self.engine.state, renew)

    def want(self, wish: Wish, reply: Callable[[], None]) -> None:
        """Answered when what is wanted of jobs is on disk; no answer where it was refused."""

        def answer(value: object) -> None:
            if isinstance(value, Touched):
                self._auditor.granted(wish)
                reply()

        self.engine.post(wish, answer)
        self.kick()

    def watch(self, name: str, keys: list[JobKey]) -> None:
        """Send the outcomes of these jobs to an outbox."""
        self.engine.watch(name, keys)

    def poll(self, name: str, epoch: int, acked: int, reply: Callable[[Outcomes, int], None]) -> None:
        """The next outcomes of an outbox, with the epoch; number 0 when there are none within the time."""
        now = self.engine.state.epoch
        if epoch != now:
            reply(Outcomes(number=0), now)
            return
        outbox = self.engine.sessions.get(name)
        found = outbox.take(acked)
        if found is not None:
            reply(found, now)
            return
        answered = False

        def woken() -> None:
            nonlocal answered
            if not answered and self.alive:
                answered = True
                reply(outbox.take(acked) or Outcomes(number=0), now)

        outbox.wake = woken
        self._world.after(_POLL_US, woken)

    # --- nodes

    def look_soon(self) -> None:
        """A link broke."""
        self._looking += 1
        self._world.after(0, self._look, self._looking)

    def _look(self, looking: int) -> None:
        """Greet agents that are not greeted, and say which nodes are gone."""
        if not self.alive or looking != self._looking:
            return
        listed = {node_id for node_id, machine in self._network.machines.items() if machine.listed}
        for node_id in [node_id for node_id in self.engine.state.nodes if node_id not in listed]:
            self.links.by_node.pop(node_id, None)
            self._pressures.gone(node_id)
            self.engine.post(NodeLost(node=node_id, cause="Ray declared it dead"))
            self.kick()
        for node_id in sorted(listed):
            link = self.links.by_node.get(node_id)
            self._count_unanswered(node_id, link)
            if node_id in self._greeting:
                continue
            if link is None or link.broken:
                self._greet(self._network.machines[node_id])
            elif not link.agent.alive or link.agent.machine.cut:
                link.break_off()
            elif self.engine.state.policy.rebalance.thresholds:
                self._world.after(self._network.aside_us(), self._measured, node_id, link.agent.measured())
        self._looking += 1
        self._world.after(self.engine.state.policy.heartbeat_us, self._look, self._looking)

    def _measured(self, node_id: NodeId, sample: Sample) -> None:
        """A heartbeat of a node is answered, with what it has measured of itself."""
        if not self.alive:
            return
        now_us = self.engine.now_us()
        self._auditor.moves.heard(self.engine.state.epoch, node_id, sample, now_us)
        found = self._pressures.heard(self.engine.state, node_id, sample, now_us)
        if found is not None:
            self.engine.post(found)
            self.kick()

    def _count_unanswered(self, node_id: NodeId, link: Link | None) -> None:
        """As the node watch does: nothing new for a node that has not answered for two heartbeats."""
        known = self.engine.state.nodes.get(node_id)
        heard = link is not None and not link.broken and link.agent.alive and not link.agent.machine.cut
        self._unanswered[node_id] = 0 if heard else self._unanswered.get(node_id, 0) + 1
        if known is not None and self._unanswered[node_id] > _SILENT_AFTER and not known.silent:
            said = NodeCondition(node=node_id, battery=known.battery, gpu_free=known.gpu_free, silent=True)
            self.engine.post(said)
            self.kick()

    def _greet(self, machine: Machine) -> None:
        self._session += 1
        self._greeting[machine.id] = self._session
        self._world.after(_GREETING_US, self._greeting_over, machine.id, self._session)
        hello = Hello(
            cluster_id=self.journal.cluster_id,
            epoch=self.engine.state.epoch,
            protocol=PROTOCOL,
            version="simulated",
            session=self._session,
        )
        self._world.after(self._network.delay_us(), self._arrived, machine, hello)

    def _arrived(self, machine: Machine, hello: Hello) -> None:
        """The greeting is at the machine; an agent is born where there is none."""
        if machine.cut or not machine.alive:
            return
        agent = machine.agent
        if agent is None or not agent.alive:
            agent = self._born(machine)
        holding = agent.hello(hello)
        self._network.answer(self._greeted, agent, holding, hello.session)

    def _greeted(self, agent: Agent, holding: Holding, session: int) -> None:
        node_id = agent.machine.id
        if not self.alive or self._greeting.get(node_id) != session:
            return
        del self._greeting[node_id]
        self._unanswered[node_id] = 0
        if holding.refused:
            return
        for report in holding.reports:
            self._auditor.carried.came(report)
        self.links.by_node[node_id] = Link(self._world, self._network, agent, self.look_soon)
        self.engine.greeted(agent.machine.node(holding.incarnation), holding, session)
        self.kick()

    def _greeting_over(self, node_id: NodeId, session: int) -> None:
        if self._greeting.get(node_id) == session:
            del self._greeting[node_id]
