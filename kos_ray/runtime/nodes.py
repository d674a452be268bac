"""Which nodes there are, and an agent on each: joins and losses become events within seconds."""

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kos_ray.engine.engine import Engine
from kos_ray.model.events import NodeCondition, NodeLost
from kos_ray.model.ids import NodeId
from kos_ray.model.node import HOST, NAME, Node
from kos_ray.model.protocol import PROTOCOL, Hello, Holding
from kos_ray.model.resources import Resources
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent_actor import AgentActor
from kos_ray.runtime.links import Link, RayLinks
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.names import RAY_NAMESPACE, agent_name, node_directory

_log = logging.getLogger("kos_ray.nodes")

#: seconds for one greeting or heartbeat; starting an agent's process takes one or two
GREETING_S = 30.0
BEAT_S = 10.0
#: ms that Ray may take to give a slot its room and a process; a cold machine that starts many takes ten seconds
ADMISSION_MS = 30_000
#: resources that Ray invents for itself
_INTERNAL = ("node:", "object_store_memory")


class NodeWatch:
    """Keeps a greeted agent on every living node."""

    def __init__(self, engine: Engine, links: RayLinks, cluster_id: str, version: str, blob_dir: str) -> None:
        self._engine = engine
        self._links = links
        self._cluster_id = cluster_id
        self._version = version
        self._blob_dir = blob_dir
        self._session = 0
        self._greeting: dict[NodeId, asyncio.Task[None]] = {}
        self._beating: dict[NodeId, asyncio.Task[None]] = {}
        self._look_now = asyncio.Event()
        #: called after something was posted to the engine
        self.kick = lambda: None

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                self._look(await asyncio.to_thread(ray.nodes))
            except Exception:  # noqa: BLE001 - Ray's list is of no use once; the next look may be
                _log.exception("the list of nodes could not be read; trying again")
            with contextlib.suppress(TimeoutError):
                # a look costs half a millisecond
                await asyncio.wait_for(self._look_now.wait(), self._engine.state.policy.heartbeat_us / 1e6)
            self._look_now.clear()

    def _look(self, rows: list[dict[str, Any]]) -> None:
        alive = {NodeId(row["NodeID"]): row for row in rows if row["Alive"]}
        causes = {row["NodeID"]: row.get("DeathReasonMessage") or "Ray declared it dead" for row in rows}
        for node_id in set(self._engine.state.nodes) - set(alive):
            self._links.by_node.pop(node_id, None)
            self._lost(node_id, causes.get(node_id, "it is not in this Ray cluster"))
        for node_id, row in alive.items():
            link = self._links.by_node.get(node_id)
            if node_id in self._greeting:
                continue
            if link is None or link.broken:
                self._greeting[node_id] = asyncio.ensure_future(self._greet(node_id, row))
            elif node_id not in self._beating:
                self._beating[node_id] = asyncio.ensure_future(self._beat(node_id, link))

    def _lost(self, node_id: NodeId, cause: str) -> None:
        self._engine.post(NodeLost(node=node_id, cause=cause))
        self.kick()

    async def _beat(self, node_id: NodeId, link: Link) -> None:
        try:
            battery, gpu_free = await asyncio.wait_for(link.agent.passing.remote(), BEAT_S)
            self._condition(NodeCondition(node=node_id, battery=battery, gpu_free=tuple(gpu_free)))
        except Exception:  # noqa: BLE001 - dead, hung or cut off: the greeting finds out
            link.broken = True
            self._look_now.set()
        finally:
            del self._beating[node_id]

    def _condition(self, found: NodeCondition) -> None:
        """A change is an event. GPU memory changes all the time, and is one only while somebody asks for it."""
        state = self._engine.state
        known = state.nodes.get(found.node)
        if known is None:
            return
        if not any(job_class.where.gpu_memory for job_class in state.classes.values()):
            found = replace(found, gpu_free=known.gpu_free)
        if (found.battery, found.gpu_free) != (known.battery, known.gpu_free):
            self._engine.post(found)
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
            holding = unpack(Holding, await asyncio.wait_for(agent.hello.remote(pack(hello)), GREETING_S))
            if holding.refused:
                _log.warning("node %s: its agent refuses this scheduler: %s", node_id[:12], holding.refused)
                return
            labels, amounts = await asyncio.wait_for(agent.lasting.remote(), GREETING_S)
            self._links.by_node[node_id] = Link(agent, self._look_now.set)
            self._engine.greeted(_node(row, holding, labels, amounts), holding, session)
            self.kick()
        except Exception as error:  # noqa: BLE001 - tried again at the next look
            _log.warning("node %s: its agent does not answer: %s", node_id[:12], error)
        finally:
            del self._greeting[node_id]

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
