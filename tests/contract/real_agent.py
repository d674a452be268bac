"""The real node agent, with slots as child processes of the test."""

import asyncio
import dataclasses
import os
import pickle
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import cloudpickle

from kos_ray.model.protocol import Acked, Hello, Holding, Orders, Report
from kos_ray.runtime.node_agent import AgentLimits, NodeAgent
from kos_ray.worker import context
from tests.contract.harness import (
    ADMISSION_MS,
    CLUSTER,
    ENTERED_AFTER_MS,
    FINISH_MS,
    INCARNATION,
    NODE,
    RESEND_MS,
    AgentUnderTest,
    Does,
)
from tests.contract.processes import FolderBlobs, ProcessStarter

DEADLINE_S = 30.0


class RealAgent(AgentUnderTest):
    """`NodeAgent` over `ProcessStarter`, a folder of blobs, and this object as the scheduler."""

    def __init__(self, folder: Path, limits: AgentLimits) -> None:
        super().__init__()
        self.folder = folder
        self.traces = folder / "traces"
        self.traces.mkdir()
        self.starter = ProcessStarter()
        self.blobs = FolderBlobs(folder / "store")
        self.agent = NodeAgent(
            node=NODE,
            cluster_id=CLUSTER,
            incarnation=INCARNATION,
            directory=folder / "node",
            starter=self.starter,
            blobs=self.blobs,
            uplink=self,
            limits=limits,
        )

    @classmethod
    def run(cls, story: Callable[["RealAgent"], Awaitable[None]], folder: Path, **changed: int) -> None:
        """Run a test's story with a fresh agent that has been greeted; `changed` are fields of its limits."""
        default = AgentLimits(
            admission_ms=ADMISSION_MS,
            resend_ms=RESEND_MS,
            report_entered_after_ms=ENTERED_AFTER_MS,
            command_margin_ms=5_000,
        )
        limits = dataclasses.replace(default, **changed)

        async def tell() -> None:
            under_test = cls(folder, limits)
            await under_test.agent.start()
            try:
                under_test.greet()
                await story(under_test)
            finally:
                await under_test.agent.close()
                under_test.starter.end_all()

        asyncio.run(tell())

    async def send(self, report: Report) -> Acked:
        """The uplink: this object is the scheduler."""
        if not self.reachable:
            raise ConnectionError("the scheduler is away")
        self.delivered.append(report)
        return Acked(
            incarnation=report.incarnation, number=report.number if self.acknowledging else 0, epoch=self.epoch
        )

    def hello(self, hello: Hello) -> Holding:
        return self.agent.hello(hello)

    def receive(self, orders: Orders) -> None:
        self.agent.receive(orders)

    async def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for {what}; ends so far: {self.ends()}"
            await asyncio.sleep(0.005)

    async def settle(self) -> None:
        await asyncio.sleep(0.3)

    async def breathe(self) -> None:
        await asyncio.sleep(0.02)

    def agent_class(self) -> bytes:
        jobs = {does.name.lower(): pickle.loads(self.function(does)) for does in Does}
        return bytes(cloudpickle.dumps(type("Keeper", (), {name: staticmethod(job) for name, job in jobs.items()})))

    def function(self, does: Does) -> bytes:
        traces = str(self.traces)

        def job() -> str:
            with (Path(traces) / str(context().key)).open("a") as trace:
                trace.write(f"{os.getpid()}\n")
            if does is Does.RAISE:
                raise ValueError("no")
            if does is Does.DIE:
                os.kill(os.getpid(), signal.SIGKILL)
            while does is Does.BLOCK or (does is Does.OBEY and not context().should_stop()):
                time.sleep(1_000 if does is Does.BLOCK else 0.01)
            if does is Does.FINISH:
                time.sleep(FINISH_MS / 1000)
            return "done"

        return bytes(cloudpickle.dumps(job))

    def pids(self, key: int) -> list[int]:
        """The processes in which a job was entered."""
        trace = self.traces / str(key)
        return [int(line) for line in trace.read_text().split()] if trace.exists() else []

    def entries(self, key: int) -> int:
        return len(self.pids(key))

    def kill_slot_of(self, key: int) -> None:
        for slot in self.starter.slots:
            if slot.process is not None and slot.process.pid == self.pids(key)[-1]:
                slot.kill()

    def hold_back_slots(self, held_back: bool) -> None:
        self.starter.held_back = held_back

    def starts_asked(self) -> int:
        return len(self.starter.slots)
