"""A thousand node agents with heartbeats: what they cost the scheduler's process while no job runs.

The agents are simulated by one actor, which answers for all of them by Ray and at their doors as an agent does. What is
measured has the production node watch, engine and links in a process of its own; only the list of nodes is made up.
"""

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.report import Row, once

AGENTS = 1_000
SECONDS = 30
NAMES = ("thousand_agents",)
_SHARES = {"cpu": 120, "memory": 300}
SAMPLE = (
    _SHARES | {"network": 5, "disk": 20},
    dict.fromkeys(("received", "sent", "read", "written"), 100_000),
    tuple((key, 1, _SHARES, 500, 10**8) for key in range(1, 5)),
)


class Agents:
    """Answers as so many node agents."""

    def __init__(self) -> None:
        import ray  # noqa: PLC0415

        from kos_ray.runtime.channel import Door  # noqa: PLC0415

        self._door = Door(ray.util.get_node_ip_address(), (self.orders, self.passing))
        self._opened = asyncio.ensure_future(self._door.run())
        self.beats = 0

    async def hello(self, node: str) -> bytes:
        """As an agent that holds nothing."""
        from kos_ray.model.protocol import PROTOCOL, Holding  # noqa: PLC0415
        from kos_ray.runtime.messages import pack  # noqa: PLC0415

        return pack(Holding(node=node, incarnation="first", protocol=PROTOCOL, versions=(("kos_ray", "benchmark"),)))  # type: ignore[arg-type]

    async def lasting(self) -> tuple[dict[str, str], dict[str, int]]:
        """No labels, no amounts."""
        return {}, {}

    async def passing(self) -> tuple[int, tuple[int, ...], tuple[tuple[str, int, bool], ...], tuple[Any, ...]]:
        """A heartbeat, with the sample of a node on which four attempts run."""
        self.beats += 1
        return -1, (), (), SAMPLE

    async def orders(self, data: bytes) -> None:
        """Nothing is ordered."""

    async def door(self) -> Any:
        """Of all of them."""
        return self._door.at

    async def heard(self) -> int:
        """Heartbeats so far."""
        return self.beats


class _Handle:
    """One agent: the handle of all of them, and its own id."""

    def __init__(self, agents: Any, node: str) -> None:
        self._agents = agents
        self.hello = self
        self._node = node

    def remote(self, _data: bytes) -> Any:
        """A greeting."""
        return self._agents.hello.remote(self._node)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agents, name)


class Watch:
    """The scheduler's side, in a process of its own."""

    async def run(self, agents: Any) -> dict[str, float]:
        """Greet all of them, then let heartbeats go on for a while: seconds of processor, heartbeats, nodes known."""
        from kos_ray.engine.engine import Engine  # noqa: PLC0415
        from kos_ray.journal.snapshots import MemorySnapshots  # noqa: PLC0415
        from kos_ray.journal.store import Journal  # noqa: PLC0415
        from kos_ray.runtime import nodes  # noqa: PLC0415
        from kos_ray.runtime.clock import SystemClock  # noqa: PLC0415
        from kos_ray.runtime.links import RayLinks  # noqa: PLC0415

        rows = [_row(number) for number in range(AGENTS)]

        class Simulated(nodes.NodeWatch):
            def _agent(self, node_id: Any, row: dict[str, Any]) -> Any:  # noqa: ARG002 - as it is called
                return _Handle(agents, node_id)

        nodes.ray.nodes = lambda: rows
        links = RayLinks()
        journal = Journal.in_memory("benchmark")
        snapshots: Any = MemorySnapshots()
        snapshots.load_newest = lambda: None
        engine = Engine(
            journal=journal, snapshots=snapshots, clock=SystemClock(), links=links, python="3.11", version="benchmark"
        )
        engine.boot()
        watch = Simulated(engine, links, "benchmark", "benchmark", "/tmp")
        watch.kick = engine.tick
        running = asyncio.ensure_future(watch.run())
        while len(links.by_node) < AGENTS:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        heard, cpu, wall = await agents.heard.remote(), _cpu_s(), time.monotonic()
        await asyncio.sleep(SECONDS)
        cpu, wall = _cpu_s() - cpu, time.monotonic() - wall
        heard = await agents.heard.remote() - heard
        running.cancel()
        silent = sum(node.silent for node in engine.state.nodes.values())
        return {"share": 100 * cpu / wall, "beats_s": heard / wall, "nodes": len(engine.state.nodes), "silent": silent}


def _row(number: int) -> dict[str, Any]:
    return {
        "NodeID": f"{number:056x}",
        "Alive": True,
        "Resources": {"CPU": 8.0, "memory": 2.0**35, "object_store_memory": 2.0**33, f"node:10.0.0.{number}": 1.0},
        "Labels": {},
        "NodeManagerHostname": f"machine-{number}",
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rows() -> Iterator[Row]:
    """The row of `NAMES`."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray  # noqa: PLC0415 - after its environment

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        agents = ray.remote(Agents).options(num_cpus=0, max_concurrency=1_000).remote()
        found = ray.get(ray.remote(Watch).options(num_cpus=0, max_concurrency=10).remote().run.remote(agents))
    finally:
        ray.shutdown()
    assert found["nodes"] == AGENTS, f"{found['nodes']} nodes are known"
    assert not found["silent"], f"{found['silent']} nodes are silent"
    assert found["beats_s"] >= 0.8 * AGENTS, f"{found['beats_s']:.0f} heartbeats a second"
    share = found["share"]
    yield once("thousand_agents", share, "% of a core", "<= 10 %", met=share <= 10)
