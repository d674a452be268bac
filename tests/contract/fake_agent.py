"""The simulator's node agent, on one machine in virtual time, with code that does what a test's jobs do."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from kos_ray.model.job import AttemptEnd, SlotKind, Spec
from kos_ray.model.protocol import Acked, Hello, Holding, Orders, Report
from kos_ray.model.resources import Resources
from kos_ray.sim.agent import Agent
from kos_ray.sim.code import Fate, Inputs, Lives, Run
from kos_ray.sim.machine import Machine
from kos_ray.sim.network import Network
from kos_ray.sim.process import Process
from kos_ray.sim.setting import draw
from kos_ray.sim.world import MS_US, SECOND_US, World
from tests.contract.harness import ADMISSION_MS, CLUSTER, FINISH_MS, INCARNATION, NODE, AgentUnderTest, Does

#: virtual time; the condition is looked at this often
DEADLINE_US = 60 * SECOND_US
LOOK_US = 5 * MS_US

_RUNS = {
    Does.RETURN: Run(Fate.SUCCEED, run_us=30),
    Does.RAISE: Run(Fate.FAIL, run_us=30, error=("ValueError", "no")),
    Does.DIE: Run(Fate.CRASH, run_us=30),
    Does.BLOCK: Run(Fate.HANG),
    Does.OBEY: Run(Fate.HANG, looks_us=10 * MS_US),
    Does.FINISH: Run(Fate.SUCCEED, run_us=FINISH_MS * MS_US),
}


class JobCode:
    """What the jobs of tests do: a spec's function is the name of a `Does`. Keeps the pids of all entries, by job."""

    def __init__(self) -> None:
        self.pids: dict[str, list[int]] = {}
        self.lives = Lives()
        self._does: dict[str, Does] = {}

    def launched(self, job: str, number: int, spec: Spec | None, args: bytes, kind: SlotKind) -> bool:
        if spec is not None:
            self._does[job] = Does[spec.function.decode() or spec.entry.upper()]
        return spec is not None

    def entered(self, job: str, number: int, inputs: Inputs, machine: str, pid: int) -> Run:
        self.pids.setdefault(job, []).append(pid)
        return _RUNS[self._does[job]]

    def ended(self, job: str, number: int, machine: str, end: AttemptEnd, result: bytes) -> None:
        """Tests read the reports."""

    def vanished(self, job: str, number: int) -> None:
        """No test has an agent die."""


class FakeAgent(AgentUnderTest):
    """`kos_ray.sim.agent.Agent` on a machine of the simulator; this object is the scheduler behind its network."""

    #: what a `Network` wants to know of a scheduler's process
    alive = True

    def __init__(self, admission_ms: int) -> None:
        super().__init__()
        self.world = World(seed=1)
        setting = dataclasses.replace(
            draw(self.world),
            admission_us=admission_ms * MS_US,
            delay_us=(50, 3_000),
            slow_share=0.0,
            handed_max=16,
            leases=False,
        )
        self.network = Network(self.world, setting)
        self.machine = Machine(NODE, "node", Resources.of({"CPU": 8}))
        self.network.machines[NODE] = self.machine
        self.network.process = cast("Process", self)
        self.code = JobCode()
        self.agent = Agent(self.world, setting, self.network, self.code, self.machine, CLUSTER)
        assert self.agent.incarnation == INCARNATION

    @classmethod
    def run(
        cls,
        story: Callable[["FakeAgent"], Awaitable[None]],
        _folder: Path,
        *,
        admission_ms: int = ADMISSION_MS,
    ) -> None:
        """Run a test's story with a fresh agent that has been greeted."""

        async def tell() -> None:
            under_test = cls(admission_ms)
            under_test.greet()
            await story(under_test)

        asyncio.run(tell())

    def report(self, report: Report, reply: Callable[[Acked], None]) -> None:
        """A report has come over the network."""
        if self.reachable:
            self.delivered.append(report)
            number = report.number if self.acknowledging else 0
            reply(Acked(incarnation=report.incarnation, number=number, epoch=self.epoch))

    def hello(self, hello: Hello) -> Holding:
        return self.agent.hello(hello)

    def receive(self, orders: Orders) -> None:
        self.agent.receive(orders)

    async def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline_us = self.world.now_us + DEADLINE_US
        while not condition():
            late = self.world.now_us >= deadline_us
            assert not late, f"waited {DEADLINE_US // SECOND_US} virtual seconds for {what}; ends: {self.ends()}"
            self._pass(LOOK_US)

    async def settle(self) -> None:
        self._pass(300 * MS_US)

    async def breathe(self) -> None:
        self._pass(20 * MS_US)

    def _pass(self, time_us: int) -> None:
        """Let virtual time pass, and all that is due in it happen."""
        over: list[bool] = []
        self.world.after(time_us, over.append, True)
        self.world.steps = 0
        assert self.world.run(lambda: bool(over), self.world.now_us + time_us), "virtual time stands still"

    def function(self, does: Does) -> bytes:
        return does.name.encode()

    def agent_class(self) -> bytes:
        return self.function(Does.OBEY)

    def pids(self, key: int) -> list[int]:
        """The processes in which a job was entered."""
        return self.code.pids.get(f"job-{key}", [])

    def entries(self, key: int) -> int:
        return len(self.pids(key))

    def kill_slot_of(self, key: int) -> None:
        for slot in self.agent.fleet.connected_slots():
            if slot.pid == self.pids(key)[-1]:
                self.agent.fleet.kill(slot)

    def hold_back_slots(self, held_back: bool) -> None:
        if held_back:
            self.machine.others_take(1.0)
        else:
            self.machine.others_leave()

    def starts_asked(self) -> int:
        return self.agent.fleet.started
