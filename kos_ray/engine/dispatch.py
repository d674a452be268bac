"""From decisions to orders: what each node agent is told, with everything it needs to carry it out."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from kos_ray.engine.payloads import Payloads
from kos_ray.engine.ports import Links
from kos_ray.model import decisions as d
from kos_ray.model.agent_snapshots import SaveAgents
from kos_ray.model.gang import Membership
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import Spec
from kos_ray.model.protocol import LaunchOrder, Orders
from kos_ray.scheduler.gangs import memberships
from kos_ray.scheduler.lineage import heads
from kos_ray.scheduler.state import State

T = TypeVar("T")


class _Parts:
    """Orders for one node, being gathered."""

    def __init__(self) -> None:
        self.resizes: list[d.ResizeSlots] = []
        self.recalls: list[d.Recall] = []
        self.stops: list[d.Stop] = []
        self.saves: list[SaveAgents] = []
        self.gangs: list[tuple[JobKey, int, Membership]] = []
        self.launches: list[LaunchOrder] = []
        self.new_specs: dict[SpecKey, Spec] = {}


class Dispatch:
    """Sends decisions to the nodes; remembers which specs each agent has been given in its present session."""

    def __init__(self, links: Links, payloads: Payloads, cluster_id: str) -> None:
        self._links = links
        self._payloads = payloads
        self._cluster_id = cluster_id
        self._known_specs: dict[NodeId, set[SpecKey]] = {}
        self._sessions: dict[NodeId, int] = {}
        #: which version of it the members of each gang were told
        self._told: dict[str, int] = {}

    def greeted(self, state: State, node: NodeId, session: int) -> None:
        """A new session with an agent: tell it all slots that the ledger has there, and close every other."""
        self._known_specs[node] = set()
        self._sessions[node] = session
        lanes = state.nodes[node].lanes.values() if node in state.nodes else ()
        resizes = tuple(d.ResizeSlots(node=node, kind=lane.kind, slots=lane.slots, reason=0) for lane in lanes)
        self.send(state, node, Orders(cluster_id="", epoch=0, resizes=resizes, complete=True))

    def send(self, state: State, node: NodeId, orders: Orders) -> None:
        """Send orders under this cluster's id, epoch and the node's session."""
        self._links.send(
            node,
            Orders(
                cluster_id=self._cluster_id,
                epoch=state.epoch,
                session=self._sessions.get(node, 0),
                new_specs=orders.new_specs,
                resizes=orders.resizes,
                complete=orders.complete,
                recalls=orders.recalls,
                stops=orders.stops,
                saves=orders.saves,
                gangs=orders.gangs,
                launches=orders.launches,
            ),
        )

    def carry_out(self, state: State, decisions: list[d.Decision]) -> None:
        """Tell the nodes what was decided; decisions that concern nobody outside are passed over."""
        parts: dict[NodeId, _Parts] = {}
        for decision in decisions:
            if isinstance(decision, d.Launch):
                part = parts.setdefault(decision.node, _Parts())
                part.launches.append(self._launch(state, decision, part))
            elif isinstance(decision, d.ResizeSlots):
                parts.setdefault(decision.node, _Parts()).resizes.append(decision)
            elif isinstance(decision, d.Recall):
                parts.setdefault(decision.node, _Parts()).recalls.append(decision)
            elif isinstance(decision, d.Stop):
                parts.setdefault(decision.node, _Parts()).stops.append(decision)
            elif isinstance(decision, SaveAgents):
                parts.setdefault(decision.node, _Parts()).saves.append(decision)
            elif isinstance(decision, d.Evict):
                parts.setdefault(decision.node, _Parts()).stops.append(_stop(decision))
        if state.gangs or self._told:
            self._tell_gangs(state, decisions, parts)
        for node, part in parts.items():
            orders = Orders(
                cluster_id="",
                epoch=0,
                new_specs=tuple(part.new_specs.items()),
                resizes=tuple(part.resizes),
                recalls=tuple(part.recalls),
                stops=tuple(part.stops),
                saves=tuple(part.saves),
                gangs=tuple(part.gangs),
                launches=tuple(part.launches),
            )
            self.send(state, node, orders)

    def _tell_gangs(self, state: State, decisions: list[d.Decision], parts: dict[NodeId, _Parts]) -> None:
        """Tell the members of gangs that run already what has changed for them; new ones are told as they start."""
        fresh = {key for decision in decisions if isinstance(decision, d.Launch) for key in decision.keys}
        joined = {state.gang_of[key].name for key in fresh if key in state.gang_of}
        for name, gang in state.gangs.items():
            if name not in joined and self._told.get(name) == gang.version:
                continue
            for key, membership in memberships(state, gang).items():
                job = state.jobs[key]
                if key not in fresh and job.node is not None:
                    parts.setdefault(job.node, _Parts()).gangs.append((key, job.attempt, membership))
        self._told = {name: gang.version for name, gang in state.gangs.items()}

    def _launch(self, state: State, decision: d.Launch, part: _Parts) -> LaunchOrder:
        jobs = [state.jobs[key] for key in decision.keys]
        known = self._known_specs.setdefault(decision.node, set())
        for job in jobs:
            if job.spec not in known:
                known.add(job.spec)
                part.new_specs[job.spec] = job.entry.spec
        ids, args = self._payloads.launch_data(decision.keys)
        inputs = tuple(
            (i, self._inputs(job.dependency.inputs))
            for i, job in enumerate(jobs)
            if job.dependency is not None and job.dependency.inputs
        )
        return LaunchOrder(
            kind=decision.kind,
            slots=decision.slots,
            keys=decision.keys,
            attempts=decision.attempts,
            ranks=tuple([job.job_class.band for job in jobs]),
            specs=tuple([job.spec for job in jobs]),
            ids=ids,
            args=args,
            inputs=inputs,
            restored=self._payloads.restored(decision.keys, decision.attempts, heads(state, decision)),
            gangs=_memberships(state, decision.keys) if state.gang_of else (),
            scheduled=_sparse(state.schedules.nominal, decision.keys) if state.schedules.nominal else (),
            told=_sparse(state.schedules.told, decision.keys) if state.schedules.told else (),
            latest=self._latest(state.schedules.handed, decision.keys) if state.schedules.handed else (),
        )

    def _latest(self, handed: Mapping[JobKey, JobKey], keys: Sequence[JobKey]) -> tuple[tuple[int, bytes], ...]:
        """Results of the jobs before, for those that a schedule made."""
        wanted = [(i, handed[key]) for i, key in enumerate(keys) if key in handed]
        results = self._payloads.results([before for _, before in wanted])
        return tuple([(i, results[before]) for i, before in wanted if results.get(before)])

    def _inputs(self, ranges: tuple[tuple[int, int], ...]) -> tuple[bytes | tuple[bytes, ...], ...]:
        """The results of parents: one payload for a single job, a tuple of them for an array."""
        keys = [JobKey(key) for first, count in ranges for key in range(first, first + abs(count))]
        results = self._payloads.results(keys)
        found: list[bytes | tuple[bytes, ...]] = []
        for first, count in ranges:
            if count < 0:
                found.append(results.get(JobKey(first), b""))
            else:
                found.append(tuple([results.get(JobKey(key), b"") for key in range(first, first + count)]))
        return tuple(found)


def _memberships(state: State, keys: Sequence[JobKey]) -> tuple[tuple[int, Membership], ...]:
    gangs = {gang.name: gang for key in keys if (gang := state.gang_of.get(key)) is not None}
    told = {name: memberships(state, gang) for name, gang in gangs.items()}
    members = [(index, state.gang_of[key].name, key) for index, key in enumerate(keys) if key in state.gang_of]
    return tuple((index, told[name][key]) for index, name, key in members if key in told[name])


def _stop(evict: d.Evict) -> d.Stop:
    """What a node is told of an eviction: why it has to end an attempt is not its business."""
    return d.Stop(
        node=evict.node, keys=evict.keys, attempts=evict.attempts, grace_ms=evict.grace_ms, reason=evict.reason
    )


def _sparse(found: Mapping[JobKey, T], keys: Sequence[JobKey]) -> tuple[tuple[int, T], ...]:
    return tuple([(i, found[key]) for i, key in enumerate(keys) if key in found])
