"""One seed, one history: a cluster, clients and faults around the production engine; then the verdict."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kos_ray.journal.snapshots import MemorySnapshots
from kos_ray.journal.store import Journal
from kos_ray.model import failpoints
from kos_ray.model.errors import JournalUnwritable
from kos_ray.model.job import JobState
from kos_ray.model.resources import Resources
from kos_ray.scheduler.explain import why
from kos_ray.scheduler.snapshot import state_to_plain
from kos_ray.scheduler.state import State
from kos_ray.sim.agent import Agent
from kos_ray.sim.auditor import Auditor, Story
from kos_ray.sim.client import Client
from kos_ray.sim.crew import Crew
from kos_ray.sim.faults import Faults
from kos_ray.sim.folds import check_again, check_folds, check_journal, fold
from kos_ray.sim.machine import Machine
from kos_ray.sim.network import Network
from kos_ray.sim.phases import AgentWatch
from kos_ray.sim.post import Post
from kos_ray.sim.process import Crash, Process
from kos_ray.sim.setting import draw
from kos_ray.sim.timetable import Timetable
from kos_ray.sim.verdict import judge, tell
from kos_ray.sim.workload import Workload
from kos_ray.sim.world import MS_US, SECOND_US, Violation, World

_CLUSTER = "simulated"
#: everything must be over by so long after the last fault
_LIVENESS_US = 600 * SECOND_US
#: agents are up when they have been for so long: what is on its way by then has come
_UP_US = 5 * SECOND_US


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed. `violation` is "" when every promise was kept."""

    seed: int
    violation: str = ""
    notes: tuple[str, ...] = ()
    jobs: int = 0
    frames: int = 0
    steps: int = 0
    virtual_us: int = 0
    #: hash of the journal's last frame: two runs of one seed have the same
    hash: str = ""
    landed: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    #: of schedules
    fires: Counter[str] = field(default_factory=Counter)
    #: of agents, and of nodes that were relieved
    agents: Counter[str] = field(default_factory=Counter)


class Simulation:
    """Everything that one seed brings about."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.setting = draw(self.world)
        self.workload = Workload(self.world, self.setting)
        self.auditor = Auditor(
            self.world, self.workload, leases=self.setting.leases, rebalance=self.setting.policy.rebalance
        )
        self.network = Network(self.world, self.setting)
        self.snapshots = MemorySnapshots()
        self.journal = Journal.in_memory(_CLUSTER)
        for resources in self.setting.nodes:
            self._add(f"node{len(self.network.machines)}", resources_of=resources)
        self.faults = Faults(self)
        self.clients = [
            Client(self.world, self.network, self.auditor, f"client{number}", requests)
            for number, requests in enumerate(self.workload.requests)
        ]
        self.timetable = Timetable(self.world, self.setting, self.network, self.auditor)
        self.crew = Crew(self.world, self.setting, self.network, self.auditor)
        self._up_since_us = 0
        if self.crew.members:
            self._write()

    def _write(self) -> None:
        """Somebody sends messages to the agents."""
        post = Post(self.world, self.setting, self.crew)
        self.auditor.stories.update((id_, Story(plan)) for id_, plan in post.plans.items())
        self.crew.mail_open = post.open_in(self.auditor)
        writer = Client(self.world, self.network, self.auditor, "writer", post.requests, post.known)
        self.clients.append(writer)

    # --- machines

    def add_machine(self, lost: Machine) -> None:
        """A new machine in place of a lost one."""
        self._add(f"node{len(self.network.machines)}", resources_of=lost.resources)

    def _add(self, name: str, *, resources_of: Resources) -> None:
        machine = Machine(f"{name}-id", name, resources_of)
        self.network.machines[machine.id] = machine

    def _born(self, machine: Machine) -> Agent:
        return Agent(self.world, self.setting, self.network, self.auditor, machine, _CLUSTER)

    # --- the scheduler's lives

    def start_process(self) -> None:
        """A scheduler boots from what the last one left on disk."""
        process = Process(
            self.world,
            self.setting,
            self.network,
            self.auditor,
            self.journal,
            self.snapshots,
            self._born,
            self._stepped,
            self.kill_process,
        )
        try:
            process.boot()
        except (Crash, JournalUnwritable):
            process.die()
            self._restart_later()
            return
        self.network.process = process

    def kill_process(self) -> None:
        """The scheduler dies now, and is restarted soon."""
        process = self.network.process
        if process is None:
            return
        process.die()
        self.network.process = None
        for client in self.clients:
            client.away()
        self._restart_later()

    def _restart_later(self) -> None:
        self.journal = Journal.on(self.journal.connection)
        self.world.after(self.world.between(1, 500) * MS_US, self.start_process)

    def _stepped(self, process: Process) -> None:
        """Now and then a snapshot: of the live state, or of a fold, as the reader makes it."""
        share = self.setting.snapshot_share
        if not share or process.engine.stalled or not self.world.chance(share) or not self.journal.last_seq:
            return
        state = process.engine.state if self.world.chance(0.5) else fold(self.journal)
        self.snapshots.save(self.journal.last_seq, self.journal.last_hash, state_to_plain(state))

    # --- from the beginning to the end

    def run(self) -> None:
        """The whole history, then its verdict.

        Raises:
            Violation: a promise was broken.

        """
        self.start_process()
        end_us = self.world.now_us + self.setting.busy_us + SECOND_US
        self.world.run(lambda: False, end_us)
        if not self.world.run(self._quiet, end_us + _LIVENESS_US):
            quiet_s = (self.world.now_us - end_us) // SECOND_US
            raise Violation(f"not over after {quiet_s} quiet seconds, {self.world.steps} events: {self._open()}")
        process = self.network.process
        assert process is not None
        if self.timetable.entries or self.crew.members:
            tell(self.auditor, self.journal)
        judge(self.auditor)
        self.timetable.judge(self.journal)
        check_journal(self.journal)
        check_folds(self.journal, self.snapshots, process.engine.state)
        if self.crew.members:
            self.auditor.moves.judge(self.auditor, self.journal)
            watch = AgentWatch(self.auditor.expect)
            check_again(self.journal, watch)
            self.auditor.carried.seen.update(watch.seen)
        else:
            check_again(self.journal)
        self._check_known()

    def _quiet(self) -> bool:
        process = self.network.process
        if process is None or process.engine.stalled or any(client.open for client in self.clients):
            return False
        if self.timetable.entries and not self.timetable.quiet(process.engine.state):
            return False
        return not self.crew.members or self._crew_is_over(process.engine.state)

    def _crew_is_over(self, state: State) -> bool:
        """When everything else is over, agents are up for a while; then they end as well."""
        if not self.crew.settled(state):
            self._up_since_us = 0
        elif self.crew.closing:
            return True
        elif not self._up_since_us:
            self._up_since_us = self.world.now_us
        elif self.world.now_us >= self._up_since_us + _UP_US:
            self.auditor.carried.judge(self.crew.up(state))
            self.crew.closing = True
        return False

    def _open(self) -> str:
        left = [
            f"{story.plan.id} (key {story.key})"
            for story in self.auditor.stories.values()
            if story.sent and story.outcome is None
        ]
        state = self.network.process.engine.state if self.network.process else None
        if state is None:
            return f"{left[:10]}; there is no scheduler"
        jobs = [
            f"{job.key} {job.state.name} {why(state, job).name} attempt {job.attempt}" for job in state.jobs.values()
        ]
        return f"{left[:10]}; the scheduler has {jobs[:10]}"

    def _check_known(self) -> None:
        """The journal holds exactly the jobs that clients have asked for and were promised."""
        rows = self.journal.connection.execute("SELECT key FROM jobs ORDER BY key").fetchall()
        keys = [key for (key,) in rows]
        self.auditor.expect(keys == sorted(self.auditor.by_key), "jobs that no client knows", keys)
        found = self.journal.outcomes(keys)
        for i, key in enumerate(found.keys):
            outcome = self.auditor.by_key[key].outcome
            assert outcome is not None
            told = (int(outcome[0]), int(outcome[1]), outcome[2])
            stored = (found.states[i], found.reasons[i], found.results[i])
            self.auditor.expect(told == stored, "clients were told otherwise than the journal says", (told, stored))
        self.auditor.expect(len(found.keys) == len(keys), "jobs that are not over", keys)


def run_seed(seed: int) -> Result:
    """One history from its seed; never raises for what it finds."""
    with _hooked() as hook:
        simulation = Simulation(seed)
        hook.append(simulation.faults)
        violation = ""
        try:
            simulation.run()
        except Violation as found:
            violation = str(found)
        except Exception as error:  # noqa: BLE001 - whatever breaks under test is what the seed has found
            violation = f"{type(error).__name__}: {error}"
        return _result(simulation, violation)


@contextmanager
def _hooked() -> Iterator[list[Faults]]:
    """Have failpoints call the faults of the simulation that is put into the list."""
    hook: list[Faults] = []
    failpoints.install(lambda name: hook[0].reach(name) if hook else None)
    try:
        yield hook
    finally:
        failpoints.install(None)


def _result(simulation: Simulation, violation: str) -> Result:
    world, journal = simulation.world, simulation.journal
    outcomes = [story.outcome[0] for story in simulation.auditor.stories.values() if story.outcome]
    return Result(
        seed=world.seed,
        violation=violation,
        notes=tuple(world.notes()) if violation else (),
        jobs=len(outcomes),
        frames=simulation.faults.reached["journal.after_commit"],
        steps=world.steps,
        virtual_us=world.now_us,
        hash=journal.last_hash.hex(),
        landed=simulation.faults.landed + simulation.auditor.landed,
        reached=simulation.faults.reached,
        outcomes=Counter(JobState(state).name.lower() for state in outcomes),
        fires=simulation.timetable.fires,
        agents=simulation.auditor.carried.seen + simulation.auditor.moves.seen,
    )
