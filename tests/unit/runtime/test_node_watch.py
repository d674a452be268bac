"""How often nodes are looked at, and which of them are silent."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.model.events import NodeCondition
from kos_ray.model.ids import NodeId
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Hello, Holding
from kos_ray.runtime import nodes as nodes_module
from kos_ray.runtime.channel import ChannelBroken
from kos_ray.runtime.links import Link
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.nodes import NodeWatch


class Enough(BaseException):
    """The watch has said how long it waits."""


@pytest.mark.parametrize("heartbeat_us", [200_000, 5_000_000])
def test_nodes_are_looked_at_as_often_as_is_set(monkeypatch: pytest.MonkeyPatch, heartbeat_us: int) -> None:
    waited: list[float] = []

    async def wait_for(what: Any, timeout_s: float) -> None:
        what.close()
        waited.append(timeout_s)
        raise Enough

    engine: Any = SimpleNamespace(state=SimpleNamespace(policy=Policy(heartbeat_us=heartbeat_us), nodes={}))
    links: Any = SimpleNamespace(by_node={})
    monkeypatch.setattr(nodes_module.ray, "nodes", list)
    monkeypatch.setattr(nodes_module, "SWEEP_S", math.inf)
    monkeypatch.setattr(nodes_module.asyncio, "wait_for", wait_for)

    async def watch() -> None:
        with pytest.raises(Enough):
            await NodeWatch(engine, links, "c", "0", "state").run()

    asyncio.run(watch())
    assert waited == [heartbeat_us / 1e6]


class Nodes:
    """A watch over one node that is greeted, with a clock of its own; `answers` lets its heartbeats be answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.posted: list[Any] = []
        self.waits: list[asyncio.Future[Any]] = []
        node = SimpleNamespace(id="n", versions=(("kos_ray", "0"),))
        self.known = SimpleNamespace(node=node, battery=50, gpu_free=(), silent=False, retires=0, lanes={})
        state = SimpleNamespace(policy=Policy(heartbeat_us=1_000_000), nodes={"n": self.known}, classes={})
        engine: Any = SimpleNamespace(state=state, post=self._post, booted=True)
        self.link = SimpleNamespace(beat=self._beat, broken=False, beats_by_ray=lambda _error: False)
        links: Any = SimpleNamespace(by_node={"n": self.link})
        monkeypatch.setattr(nodes_module, "SWEEP_S", math.inf)
        monkeypatch.setattr(nodes_module.time, "monotonic", lambda: self.now)
        self.watch = NodeWatch(engine, links, "c", "0", "state")

    def _post(self, event: NodeCondition) -> None:
        self.posted.append(event)
        self.known.silent, self.known.retires = event.silent, event.retires

    def _beat(self) -> "asyncio.Future[Any]":
        self.waits.append(asyncio.get_running_loop().create_future())
        return self.waits[-1]

    async def look(self, after_s: float = 1.0, *, answered: bool = False) -> list[bool]:
        """One look, so much later; what was said of the node's silence."""
        self.now += after_s
        self.posted.clear()
        self.watch._look([{"NodeID": "n", "Alive": True}])
        await asyncio.sleep(0)
        if answered and self.waits:
            self.waits.pop().set_result((50, ()))
        for _ in range(5):
            await asyncio.sleep(0)
        return [event.silent for event in self.posted]


def test_a_node_that_does_not_answer_two_heartbeats_is_silent_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        nodes = Nodes(monkeypatch)
        assert await nodes.look(answered=True) == []
        assert await nodes.look(answered=True) == []
        assert await nodes.look() == []
        assert await nodes.look() == []
        assert await nodes.look() == [True]
        assert await nodes.look() == []
        assert await nodes.look(answered=True) == [False]
        assert await nodes.look(answered=True) == []

    asyncio.run(play())


def test_looks_that_come_sooner_make_nobody_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        nodes = Nodes(monkeypatch)
        assert await nodes.look(answered=True) == []
        assert [await nodes.look(0.1) for _ in range(8)] == [[]] * 8
        # and one that is late, because the watch itself had no time, is one look
        assert await nodes.look(30.0) == []

    asyncio.run(play())


@pytest.mark.parametrize(("cluster_id", "ended"), [("other", True), ("c", False), ("", False)])
def test_an_agent_of_another_cluster_is_ended_and_no_other_that_refuses(
    monkeypatch: pytest.MonkeyPatch, cluster_id: str, ended: bool
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(nodes_module.ray, "kill", killed.append)

    async def answer(data: bytes) -> bytes:
        assert unpack(Hello, data).cluster_id == "c"
        return pack(Holding(node=NodeId("n"), incarnation="i", protocol=1, refused="no", cluster_id=cluster_id))

    async def play() -> None:
        nodes = Nodes(monkeypatch)
        agent = SimpleNamespace(hello=SimpleNamespace(remote=answer))
        nodes.watch._engine.state.epoch = 1
        monkeypatch.setattr(nodes.watch, "_agent", lambda _node, _row: agent)
        nodes.watch._greeting[NodeId("n")] = asyncio.ensure_future(asyncio.sleep(0))
        await nodes.watch._greet(NodeId("n"), {})
        assert killed == ([agent] if ended else [])

    asyncio.run(play())


def test_an_agent_whose_door_knows_no_heartbeats_is_asked_by_ray() -> None:
    """One of the version before."""

    async def at_the_door() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("the call failed on the other side: KeyError('passing')")

    async def by_ray() -> tuple[int, tuple[int, ...]]:
        return 7, ()

    async def play() -> None:
        channel: Any = SimpleNamespace(call=at_the_door, ask=lambda _method: asyncio.ensure_future(at_the_door()))
        link = Link(SimpleNamespace(passing=SimpleNamespace(remote=by_ray)), lambda: None, channel)
        with pytest.raises(RuntimeError) as found:
            await link.beat()
        assert not link.beats_by_ray(ChannelBroken("gone"))
        assert link.beats_by_ray(found.value)
        assert await link.beat() == (7, ())

    asyncio.run(play())
