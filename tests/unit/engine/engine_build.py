"""An engine on a journal in memory, with a clock and links that the test holds in its hands."""

from typing import Any

from kos_ray.engine.engine import Engine
from kos_ray.journal.store import Journal
from kos_ray.model.events import AttemptError, AttemptsEnded
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd, Spec
from kos_ray.model.node import Node
from kos_ray.model.protocol import PROTOCOL, Array, Holding, Orders, Report, Submit
from kos_ray.model.resources import Resources

SPEC = Spec(entry="module:function", resources=Resources.of({"CPU": 1}), python="3.11")
NODE = Node(NodeId("n"), "n", Resources.of({"CPU": 2}), incarnation="first")


class Hands:
    """Clock, links, snapshots and answers of one engine."""

    def __init__(self, journal: Journal | None = None, now_us: int = 1_000) -> None:
        self.time_us = now_us
        self.sent: list[tuple[str, Orders]] = []
        self.answers: list[Any] = []
        self.journal = journal or Journal.in_memory("c")
        self.engine = Engine(journal=self.journal, snapshots=self, clock=self, links=self, python="3.11", version="0")
        self.engine.boot()

    def now_us(self) -> int:
        return self.time_us

    def send(self, node: NodeId, orders: Orders) -> None:
        self.sent.append((node, orders))

    def load_newest(self) -> None:
        return None

    def tick(self) -> None:
        self.time_us += 1_000
        self.engine.tick()

    def submit(self, *arrays: Array, request: str = "r", spec: Spec = SPEC, watcher: str = "") -> Any:
        specs = ((spec_hash(spec), spec),)
        submit = Submit(request_id=request, arrays=arrays or (array(),), specs=specs, watcher=watcher)
        self.engine.submit(submit, self.answers.append)
        self.tick()
        return self.answers[-1]

    def greet(self, node: Node = NODE, session: int = 1, **holding: Any) -> None:
        held = Holding(node=node.id, incarnation=node.incarnation, protocol=PROTOCOL, **holding)
        self.engine.greeted(node, held, session)

    def report(self, *ends: AttemptsEnded, number: int = 1, node: Node = NODE) -> None:
        report = Report(node=node.id, incarnation=node.incarnation, number=number, ended=ends)
        self.engine.report(report, self.answers.append)

    def launched(self) -> list[tuple[str, int]]:
        """(public id, attempt) of everything that was sent to a node."""
        return [
            pair
            for _, orders in self.sent
            for launch in orders.launches
            for pair in zip(launch.ids, launch.attempts, strict=True)
        ]

    def outcomes(self, name: str) -> dict[int, tuple[int, bytes]]:
        found = self.engine.sessions.get(name).take(0)
        return dict(zip(found.keys, zip(found.states, found.results, strict=True), strict=True)) if found else {}


def array(id_: str = "a", count: int = -1, spec: Spec = SPEC, **fields: Any) -> Array:
    return Array(id=id_, count=count, spec=spec_hash(spec), args=(b"",) * abs(count), **fields)


def ended(
    key: int,
    attempt: int = 1,
    end: AttemptEnd = AttemptEnd.SUCCEEDED,
    result: bytes = b"",
    node: str = "n",
    errors: tuple[AttemptError, ...] = (),
) -> AttemptsEnded:
    return AttemptsEnded(
        node=NodeId(node),
        keys=(JobKey(key),),
        attempts=(attempt,),
        ends=(int(end),),
        entered_us=(1,),
        ended_us=(2,),
        pids=(1,),
        results=(result,),
        errors=errors,
    )
