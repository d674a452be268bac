"""Which nodes there are, and an agent on each: joins and losses become events within seconds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kos_ray.engine.engine import Engine
from kos_ray.model.events import NodeCalm, NodeLost, NodePressed
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import NodeId
from kos_ray.model.node import HOST, NAME, Node
from kos_ray.model.protocol import PROTOCOL, Hello, Holding
from kos_ray.model.resources import Resources
from kos_ray.model.views import Leak
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent_actor import AgentActor
from kos_ray.runtime.beats import Beats
from kos_ray.runtime.booting import Boots
from kos_ray.runtime.channel import Channel, ChannelBroken, DoorAt
from kos_ray.runtime.leaks import Leaks, end
from kos_ray.runtime.links import Link, RayLinks
from kos_ray.runtime.loads import Loads
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.names import RAY_NAMESPACE, agent_name, node_directory
from kos_ray.runtime.versions import Replacements, misfit

_log = logging.getLogger("kos_ray.nodes")

#: seconds for one greeting; starting an agent's process takes one or two
GREETING_S = 30.0
#: seconds between looks for what nobody answers for: one question to Ray where there is nothing
SWEEP_S = 30.0
#: ms that Ray may take to give a slot its room and a process; a cold machine that starts many takes ten seconds
ADMISSION_MS = 30_000
#: resources that Ray invents for itself
_INTERNAL = ("node:", "object_store_memory")


class NodeWatch:
    """Keeps a greeted agent on every living node."""

    def __init__(self, engine: Engine, links: RayLinks, cluster_id: str, version: str, state_dir: str) -> None:
        self._engine = engine
        self._links = links
        self._cluster_id = cluster_id
        self._version = version
        self._blob_dir = f"{state_dir}/blobs"
        self._replacements = Replacements(version)
        self.boots = Boots()
        self.leaks = Leaks(self._served, cluster_id, state_dir)
        #: names of the agents that living nodes have or get; None before the first look
        self._agents: set[str] | None = None
        self._swept = 0.0
        self._sweeping: asyncio.Task[None] | None = None
        self._session = 0
        self._greeting: dict[NodeId, asyncio.Task[None]] = {}
        self._look_now = asyncio.Event()
        self.loads = Loads(engine, self._found)
        self._beats = Beats(engine, self.boots, self.loads, self._look_now.set, self._kicked)
        #: called after something was posted to the engine
        self.kick = lambda: None
        #: called before each look: whether this scheduler still is the one
        self.check = lambda: None
        #: called when an agent has seen a later scheduler of this cluster
        self.superseded: Callable[[str], None] = lambda _why: None

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self.check()
            try:
                self._look(await asyncio.to_thread(ray.nodes))
            except Exception:  # noqa: BLE001 - Ray's list is of no use once; the next look may be
                _log.exception("the list of nodes could not be read; trying again")
            with contextlib.suppress(TimeoutError):
                # a look costs half a millisecond
                await asyncio.wait_for(self._look_now.wait(), self._engine.state.policy.heartbeat_us / 1e6)
            self._look_now.clear()

    def _look(self, rows: list[dict[str, Any]]) -> None:
        if not self._engine.booted:
            return  # whoever greets with the epoch before would be taken for the scheduler of before
        alive = {NodeId(row["NodeID"]): row for row in rows if row["Alive"]}
        causes = {row["NodeID"]: row.get("DeathReasonMessage") or "Ray declared it dead" for row in rows}
        for node_id in set(self._engine.state.nodes) - set(alive):
            self._links.by_node.pop(node_id, None)
            self._beats.gone(node_id)
            self.boots.gone(node_id)
            self._lost(node_id, causes.get(node_id, "it is not in this Ray cluster"))
        self._agents = set(map(agent_name, alive))
        self._sweep_now_and_then()
        self._beats.count(alive)
        self._replace_agents()
        for node_id, row in alive.items():
            link = self._links.by_node.get(node_id)
            if node_id in self._greeting:
                continue
            if link is None or link.broken:
                self.boots.agent(node_id, row["NodeManagerHostname"])
                self._greeting[node_id] = asyncio.ensure_future(self._greet(node_id, row))
            else:
                self._beats.ask(node_id, link)

    def _replace_agents(self) -> None:
        """Have agents of another version replaced, some at a time."""
        nodes = self._engine.state.nodes
        served = (nodes.get(node_id) for node_id, link in self._links.by_node.items() if not link.broken)
        step = self._replacements.look(node for node in served if node is not None)
        for found in step.said:
            _log.info("node %s: its agent is of another version; retires: %d", found.node[:12], found.retires)
            self._engine.post(found)
            self.kick()
        for node_id in step.over:
            _log.info("node %s: nothing runs under its agent any more, it is replaced", node_id[:12])
            link = self._links.by_node[node_id]
            link.broken = True
            ray.kill(link.agent)

    def _found(self, event: NodePressed | NodeCalm) -> None:
        self._engine.post(event)
        self.kick()

    def _kicked(self) -> None:
        self.kick()

    def _served(self, name: str) -> bool:
        """Whether the agent with a name is the greetings' affair."""
        return self._agents is None or name in self._agents

    def _sweep_now_and_then(self) -> None:
        """Look for what nobody answers for."""
        now = time.monotonic()
        if now - self._swept >= SWEEP_S and (self._sweeping is None or self._sweeping.done()):
            self._swept = now
            self._sweeping = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        try:
            await self.leaks.sweep()
        except Exception:  # noqa: BLE001 - Ray's list is of no use once; the next look may be
            _log.exception("what is left behind could not be looked for; trying again")

    def _lost(self, node_id: NodeId, cause: str) -> None:
        reach("nodes.before_lost")
        self._engine.post(NodeLost(node=node_id, cause=cause))
        self.kick()

    async def _greet(self, node_id: NodeId, row: dict[str, Any]) -> None:
        try:
            agent = await asyncio.to_thread(self._agent, node_id, row)
            self._session += 1
            session = self._session
            hello = Hello(
                cluster_id=self._cluster_id,
                epoch=self._engine.state.epoch,
                protocol=PROTOCOL,
                version=self._version,
                session=session,
            )
            reach("nodes.before_greeting")
            holding = unpack(Holding, await asyncio.wait_for(agent.hello.remote(pack(hello)), GREETING_S))
            if holding.refused:
                self._refused(node_id, agent, holding)
                return
            wrong = misfit(holding, self._version)
            self.leaks.refuses(agent_name(node_id), node_id, agent, wrong)
            if wrong:
                _log.warning("node %s: %s", node_id[:12], wrong)
                return
            labels, amounts = await asyncio.wait_for(agent.lasting.remote(), GREETING_S)
            reach("nodes.after_greeting")
            self._tell_left_behind(node_id, holding)
            self._beats.heard(node_id)
            self.boots.greeted(node_id)
            self._links.by_node[node_id] = Link(agent, self._look_now.set, await _channel(agent))
            self._engine.greeted(_node(row, holding, labels, amounts), holding, session)
            self.kick()
        except TimeoutError:
            _log.warning("node %s: its agent boots, or does not answer; it is waited for", node_id[:12])
        except Exception as error:  # noqa: BLE001 - tried again at the next look
            _log.warning("node %s: its agent does not answer: %s", node_id[:12], error)
        finally:
            del self._greeting[node_id]

    def _refused(self, node_id: NodeId, agent: Any, holding: Holding) -> None:
        """An agent serves somebody else. One of another cluster of ours is an orphan: its scheduler is no more.

        In a Ray cluster one actor has the scheduler's name, and that is this one. Its slots end with it, and the next
        look starts an agent for this cluster. One that serves a scheduler of a later epoch stays: that is our better,
        and we are over.
        """
        _log.warning("node %s: its agent refuses this scheduler: %s", node_id[:12], holding.refused)
        if holding.cluster_id == self._cluster_id and holding.epoch > self._engine.state.epoch:
            self.superseded(f"the agent of node {node_id[:12]}: {holding.refused}")
        if holding.cluster_id not in ("", self._cluster_id):
            why = f"it belongs to cluster {holding.cluster_id}, whose scheduler is not here"
            leak = Leak(kind="node agent", name=agent_name(node_id), node=node_id, belongs=holding.cluster_id, why=why)
            self.leaks.ended(end(leak, agent))

    def _tell_left_behind(self, node_id: NodeId, holding: Holding) -> None:
        """What the agent found when it was started is told once."""
        known = self._engine.state.nodes.get(node_id)
        if known is not None and known.node.incarnation == holding.incarnation:
            return
        for what in holding.left_behind:
            _log.warning("node %s: left behind by an agent that had died, and ended: %s", node_id[:12], what)
            why = "the node agent for which it ran had died"
            self.leaks.ended(Leak(kind="process", name=what, node=node_id, why=why, certain=True, ended=True))

    def _agent(self, node_id: NodeId, row: dict[str, Any]) -> Any:
        """The node's agent, started where there is none."""
        head = "node:__internal_head__" in row["Resources"]
        return (
            ray.remote(AgentActor)
            .options(
                name=agent_name(node_id),
                namespace=RAY_NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                max_restarts=0,
                max_concurrency=1_000,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            )
            .remote(
                node_id,
                self._cluster_id,
                str(node_directory(self._cluster_id, node_id)),
                self._blob_dir if head else "",
                AgentLimits(admission_ms=ADMISSION_MS),
            )
        )


async def _channel(agent: Any) -> Channel | None:
    """The direct way to an agent, None where its door does not open for us."""
    try:
        at = await asyncio.wait_for(agent.door.remote(), GREETING_S)
        return await Channel.open(DoorAt(*at))
    except (AttributeError, ChannelBroken):  # an agent from before there were doors has none
        return None


def _node(row: dict[str, Any], holding: Holding, labels: dict[str, str], amounts: dict[str, int]) -> Node:
    units = {name: amount for name, amount in row["Resources"].items() if not name.startswith(_INTERNAL)}
    # what somebody gave Ray under such a name goes before what was measured
    units = amounts | units
    given = {name: value for name, value in row.get("Labels", {}).items() if not name.startswith("ray.io/node-id")}
    labels = labels | given
    labels[HOST] = row["NodeManagerHostname"]
    return Node(
        id=NodeId(row["NodeID"]),
        # a name of its own lets a node keep what people said of it when Ray gives it another id
        name=labels.get(NAME) or f"{row['NodeManagerHostname']}-{row['NodeID'][:6]}",
        resources=Resources.of(units),
        labels=tuple(sorted(labels.items())),
        head="node:__internal_head__" in row["Resources"],
        incarnation=holding.incarnation,
        versions=holding.versions,
    )
