"""A scheduler's engine, a node agent and agents' processes, all real, without Ray: for what becomes of agents."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle

from kos_ray.engine.engine import Engine
from kos_ray.engine.inbox import AgentWish
from kos_ray.journal.store import Journal
from kos_ray.model.agents import Agent, Phase
from kos_ray.model.errors import Refused
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Backoff, Carries, Demands, Eviction, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline, open_payload
from kos_ray.model.protocol import PROTOCOL, Acked, Array, Hello, Orders, Report, Submit
from kos_ray.model.resources import Resources
from kos_ray.runtime.node_agent import AgentLimits, NodeAgent
from kos_ray.scheduler.agents import Standing, phase
from kos_ray.scheduler.invariants import check
from tests.contract.frail import Frail
from tests.contract.processes import FolderBlobs, ProcessSlot

_WAIT_S = 30.0
#: starts slots by fork: a start takes milliseconds
_ZYGOTE = """
import os, signal, sys
from kos_ray.worker.slot import run_slot
from kos_ray.worker import agent_host
import tests.contract.frail
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        run_slot(*line.split())
        os._exit(0)
    print(pid, flush=True)
"""
NODE = Node(NodeId("n"), "n", Resources.of({"CPU": 2}), incarnation="first")


@cache
def zygote() -> "subprocess.Popen[str]":
    """The process that slots are forks of, one for all tests: it ends when its input does."""
    return subprocess.Popen([sys.executable, "-c", _ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class ForkStarter:
    """Starts slots as forks of one process that has loaded everything."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def start(self, slot_id: str, kind: SlotKind, socket_path: str) -> ProcessSlot:
        parent = zygote()
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(f"{socket_path} {slot_id}\n")
        parent.stdin.flush()
        pid = int(parent.stdout.readline())
        slot, loop = ProcessSlot(None), asyncio.get_running_loop()
        fd = os.pidfd_open(pid)
        self._pids.append(pid)

        def ended() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            if not slot.done.done():
                slot.done.set_result("it has ended")

        loop.add_reader(fd, ended)
        return slot

    def node_alive(self) -> bool:
        return True

    def end_all(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Home:
    """One agent, `Frail` unless said otherwise, and what people want of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan_file = folder / "plan.json"
        self.plan("", "", 0)
        self.journal = Journal.in_memory("home")
        self.engine = Engine(journal=self.journal, snapshots=self, clock=self, links=self, python="3.11", version="0")
        self.starter = ForkStarter()
        self.agent = NodeAgent(
            node=NODE.id,
            cluster_id="home",
            incarnation=NODE.incarnation,
            directory=folder / "node",
            starter=self.starter,
            blobs=FolderBlobs(folder / "store"),
            uplink=self,
            limits=AgentLimits(report_entered_after_ms=40, resend_ms=200, crash_cause_ms=50, timeout_grace_ms=100),
        )
        self._number = 0
        self.phases: list[Phase] = []

    @classmethod
    def run(cls, story: Callable[["Home"], Awaitable[None]], folder: Path) -> None:
        async def tell() -> None:
            home = cls(folder)
            await home.agent.start()
            try:
                home._begin()
                await story(home)
            finally:
                await home.agent.close()
                home.starter.end_all()

        asyncio.run(tell())

    def _begin(self) -> None:
        self.engine.boot()
        hello = Hello(cluster_id="home", epoch=self.engine.state.epoch, protocol=PROTOCOL, version="0", session=1)
        self.engine.greeted(NODE, self.agent.hello(hello), 1)
        self.tick()

    # --- what the engine and the node agent need

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def load_newest(self) -> None:
        return None

    def send(self, *said: Any) -> Any:
        """Orders to a node, or a report of it."""
        if isinstance(said[0], Report):
            return self._report(said[0])
        orders: Orders = said[1]
        asyncio.get_running_loop().call_soon(self.agent.receive, orders)
        return None

    async def _report(self, report: Report) -> Acked:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.engine.report(report, answer.set_result)
        self.tick()
        return await answer  # type: ignore[no-any-return]

    def tick(self) -> None:
        self.engine.tick()
        assert check(self.engine.state) == []

    # --- what the test wants

    def plan(self, hook: str, how: str, times: int = 1) -> None:
        """Which hook breaks the next `times` times."""
        self.plan_file.write_text(json.dumps({"hook": hook, "how": how, "times": times}))

    def open(self, gate: str) -> None:
        """Let a message go on that stays until then."""
        Path(gate).touch()

    def stand_still(self, pid: int, seconds: float) -> None:
        """The whole machine does nothing for a while: neither the node agent, nor a process."""
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    @property
    def planned(self) -> int:
        return int(json.loads(self.plan_file.read_text())["times"])

    def begin(self, make: object = Frail, kind: str = "persistent", limit_ms: int = 0, **carries: Any) -> None:
        spec = Spec(
            function=cloudpickle.dumps(make),
            resources=Resources.of({"CPU": 1}),
            carries=Carries(name="keeper", **{"hook_ms": 250, **carries}),
            demands=Demands(agent=True),
            eviction=Eviction.CHECKPOINT,
            backoff=Backoff(first_ms=20, jitter=0),
            grace_ms=5_000,
            timeout_ms=limit_ms,
        )
        args = inline(cloudpickle.dumps(((str(self.plan_file),), {})))
        self.wish("start", Agent(name="keeper", spec=spec, args=args, methods=("add",), kind=kind))

    def wish(self, verb: str, agent: Agent | None = None, **fields: Any) -> Any:
        answers: list[Any] = []
        self._number += 1
        self.engine.wish(AgentWish(f"w{self._number}", verb, "default\0keeper", agent, **fields), answers.append)
        self.tick()
        if isinstance(answers[0], Refused):
            raise answers[0]
        return answers[0]

    def message(self, method: str, *args: Any) -> JobKey:
        self._number += 1
        spec = Spec(entry=method, receiver="keeper", type=f"keeper.{method}")
        packed = inline(cloudpickle.dumps((args, {})))
        array = Array(id=f"m{self._number}", count=-1, spec=spec_hash(spec), args=(packed,))
        answers: list[Any] = []
        request = Submit(request_id=f"m{self._number}", arrays=(array,), specs=((spec_hash(spec), spec),))
        self.engine.submit(request, answers.append)
        self.tick()
        return JobKey(answers[0].first)

    async def result(self, key: JobKey) -> Any:
        await self.until(lambda: key not in self.engine.state.jobs, f"the end of job {key}")
        found = self.journal.outcomes([key])
        assert not found.errors, found.errors
        data = open_payload(found.results[0])
        return cloudpickle.loads(data) if isinstance(data, bytes) else None

    async def call(self, method: str, *args: Any) -> Any:
        return await self.result(self.message(method, *args))

    @property
    def standing(self) -> Standing:
        return self.engine.state.agents.by_key["default\0keeper"]

    @property
    def phase(self) -> Phase:
        return phase(self.engine.state, self.standing)

    def snapshots(self) -> list[dict[str, Any]]:
        return list(self.wish("snapshots")["snapshots"])

    def errors(self) -> list[str]:
        """What the attempts of the carriers ended with that failed."""
        return [row[0] for row in self.journal.connection.execute("SELECT message FROM errors ORDER BY key, attempt")]

    async def until_phase(self, wanted: Phase) -> None:
        await self.until(lambda: self.phase is wanted, f"{wanted.name}")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}; {self.phase.name}, {self.errors()}"
            due_us = self.engine.next_due_us()
            if due_us is not None and due_us <= self.engine.now_us():
                self.tick()
            await asyncio.sleep(0.002)
