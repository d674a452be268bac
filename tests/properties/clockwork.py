"""A cluster whose time the test holds in its hands: the engine on a journal on disk, the reader, the command line.

Nodes and code are played here, by a few lines that know nothing of plans: an attempt ends when its run time is over.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import msgpack
import pytest
from typer.main import get_command

from kos_ray.cli.main import app
from kos_ray.cli.shell import exit_code
from kos_ray.client.client import Client
from kos_ray.engine.engine import Engine
from kos_ray.journal.store import Journal
from kos_ray.model import events as e
from kos_ray.model.errors import KosError
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Eviction, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import PROTOCOL, Accepted, Holding, Orders, Outcomes, Report, Submit
from kos_ray.model.wire import from_plain, to_plain, untagged
from kos_ray.runtime import reader as reading
from kos_ray.runtime.reader import ReaderActor
from kos_ray.runtime.scheduler import _WANTED
from kos_ray.scheduler.machine import next_due_us

SECOND_US = 1_000_000
#: the agents' own bound, above which they say that code was entered that is not known to be of some 100 ms
TELLS_AFTER_US = 50_000
ENTERS, ENDS = "enters", "ends"
_KOS = get_command(app)
RunUs = Callable[[JobKey, Spec], int]


def as_declared(_key: JobKey, spec: Spec) -> int:
    return spec.run_ms * 1_000


@dataclass
class Work:
    """One attempt on a node."""

    key: JobKey
    number: int
    kind: SlotKind
    spec: Spec
    entered_us: int = -1
    told: bool = False
    end_us: int = -1
    end: AttemptEnd = AttemptEnd.SUCCEEDED


@dataclass
class Agent:
    """One node with its slots."""

    node: Node
    slots: dict[SlotKind, int] = field(default_factory=dict)
    work: dict[JobKey, Work] = field(default_factory=dict)
    specs: dict[SpecKey, Spec] = field(default_factory=dict)
    recalled: list[Work] = field(default_factory=list)
    reports: int = 0

    def entered(self, kind: SlotKind) -> int:
        return sum(work.entered_us >= 0 for work in self.work.values() if work.kind == kind)

    def over(self, now_us: int) -> list[Work]:
        """What ends now."""
        return [work for at_us, what, work in self.due() if what is ENDS and at_us <= now_us]

    def due(self) -> Iterator[tuple[int, str, Work]]:
        """What will happen here."""
        for work in self.work.values():
            if work.entered_us >= 0:
                yield work.end_us, ENDS, work
                if not work.told and work.end_us > work.entered_us + TELLS_AFTER_US:
                    yield work.entered_us + TELLS_AFTER_US, ENTERS, work


class Clockwork:
    """See the module."""

    def __init__(self, folder: Path, policy: Policy, run_us: RunUs = as_declared) -> None:
        self.time_us = SECOND_US
        self.agents: dict[NodeId, Agent] = {}
        self.run_us = run_us
        #: of what ends at one instant that is told first which was launched first
        self.launches: list[JobKey] = []
        self.order: dict[JobKey, int] = {}
        #: by job: where it was entered first and when, when its last attempt ended well, for whom it was evicted
        self.started: dict[JobKey, tuple[NodeId, int]] = {}
        self.ended: dict[JobKey, int] = {}
        self.victims: dict[JobKey, list[JobKey]] = {}
        #: what savers have still to run
        self.left_us: dict[JobKey, int] = {}
        self.client_left = threading.Event()
        self.folder = folder
        self.journal = Journal.open(folder, file_system=lambda _: "ext4")
        self.journal._connection.execute("PRAGMA synchronous = OFF")
        self.engine = Engine(
            journal=self.journal, snapshots=self, clock=self, links=self, python="", version="0", policy=policy
        )
        self.engine.listeners.append(self._look)
        self.engine.boot()
        self.reader = ReaderActor(str(folder))

    def close(self) -> None:
        self.client_left.set()
        self.reader._journal.close()
        self.journal.close()

    # --- what the engine needs

    def now_us(self) -> int:
        return self.time_us

    def load_newest(self) -> None:
        return None

    def send(self, node: NodeId, orders: Orders) -> None:
        agent = self.agents[node]
        agent.specs.update(orders.new_specs)
        for resize in orders.resizes:
            agent.slots[resize.kind] = resize.slots
        for order in (*orders.recalls, *orders.stops):
            grace_us = getattr(order, "grace_ms", -1) * 1_000
            for key in order.keys:
                if key in agent.work:
                    self._stop(agent, agent.work[key], grace_us)
        for launch in orders.launches:
            agent.slots[launch.kind] = launch.slots
            for key, number, spec in zip(launch.keys, launch.attempts, launch.specs, strict=True):
                agent.work[key] = Work(key, number, launch.kind, agent.specs[spec])
        self._enter(agent)

    def _stop(self, agent: Agent, work: Work, grace_us: int) -> None:
        if work.entered_us < 0:
            agent.recalled.append(agent.work.pop(work.key))
        elif grace_us >= 0 and work.end is AttemptEnd.SUCCEEDED:
            saves = work.spec.eviction is Eviction.CHECKPOINT
            at_us = self.time_us + (0 if saves else grace_us)
            if saves:
                self.left_us[work.key] = work.end_us - at_us
            if at_us < work.end_us:
                work.end_us, work.end = at_us, AttemptEnd.STOPPED

    def _enter(self, agent: Agent) -> None:
        for work in agent.work.values():
            if work.entered_us < 0 and agent.entered(work.kind) < agent.slots[work.kind]:
                work.entered_us = self.time_us
                left_us = self.left_us.pop(work.key, None)
                work.end_us = self.time_us + (self.run_us(work.key, work.spec) if left_us is None else left_us)
                self.started.setdefault(work.key, (agent.node.id, self.time_us))

    def _look(self, frame: Any) -> None:
        for decision in frame.decisions:
            if type(decision).__name__ == "Evict":
                self.victims.setdefault(decision.wanted_by, []).extend(decision.keys)
            if type(decision).__name__ == "Launch":
                for key in decision.keys:
                    self.order[key] = len(self.launches)
                    self.launches.append(key)
            if type(decision).__name__ == "Finish":
                self.ended.update(dict.fromkeys(decision.keys, frame.now_us))

    # --- time

    def join(self, *nodes: Node) -> None:
        for node in nodes:
            self.agents[node.id] = Agent(node)
            self.engine.greeted(node, Holding(node=node.id, incarnation=node.incarnation, protocol=PROTOCOL), 1)
        self.engine.tick()

    def post(self, event: e.Event) -> None:
        self.engine.post(event)
        self.engine.tick()

    def next_us(self) -> int | None:
        found = [at_us for agent in self.agents.values() for at_us, _, _ in agent.due()]
        if any(agent.recalled for agent in self.agents.values()):
            found.append(self.time_us)
        due_us = next_due_us(self.engine.state, self.time_us)
        if due_us is not None and self.engine.state.jobs:
            found.append(max(due_us, self.time_us + 1))
        return min(found, default=None)

    def advance(self, until_us: int | None = None, *, done: Callable[[], bool] = lambda: False) -> None:
        """Time goes on, from one thing that happens to the next, up to an instant or until something is so."""
        while not done():
            next_us = self.next_us()
            if next_us is None or (until_us is not None and next_us > until_us):
                self.time_us = max(self.time_us, until_us or 0)
                break
            self.time_us = max(self.time_us, next_us)
            due = sorted(
                (self.order[work.key], id_) for id_, agent in self.agents.items() for work in agent.over(self.time_us)
            )
            for id_ in dict.fromkeys([id_ for _, id_ in due] + list(self.agents)):
                self._report(self.agents[id_])
            self.engine.tick()

    def _report(self, agent: Agent) -> None:
        entered = [work for at_us, what, work in agent.due() if what is ENTERS and at_us <= self.time_us]
        over = agent.recalled + sorted(agent.over(self.time_us), key=lambda work: self.order[work.key])
        agent.recalled = []
        for work in entered:
            work.told = True
        for work in over:
            agent.work.pop(work.key, None)
        if not entered and not over:
            return
        saved = [work for work in over if work.end is AttemptEnd.STOPPED and work.spec.eviction is Eviction.CHECKPOINT]
        agent.reports += 1
        node = agent.node
        report = Report(
            node=node.id,
            incarnation=node.incarnation,
            number=agent.reports,
            entered=tuple(_entered(node, work) for work in entered),
            checkpoints=tuple(_saved(node, work, self.time_us) for work in saved),
            ended=tuple(_ended(node, work, self.time_us) for work in over),
        )
        self.engine.report(report, lambda _: None)
        self._enter(agent)

    # --- what clients ask

    def submit(self, data: bytes) -> bytes:
        answers: list[Any] = []
        self.engine.submit(from_plain(Submit, msgpack.unpackb(data, use_list=False)), answers.append)
        self.engine.tick()
        answer = answers[0] if isinstance(answers[0], Accepted) else Accepted(refused=str(answers[0]))
        return bytes(msgpack.packb(to_plain(answer)))

    def want(self, data: bytes) -> int:
        self.post(untagged(_WANTED, msgpack.unpackb(data, use_list=False)))
        return 1

    def reprioritise(self, ref: str, band: int) -> None:
        (key, _), *_ = self.reader.resolve("default", [ref])
        self.post(e.PriorityChanged(request_id="", keys=(key,), band=band))

    def explain(self, key: int) -> bytes:
        found = self.engine.explain(JobKey(key))
        return b"" if found is None else bytes(msgpack.packb(to_plain(found)))

    def why(self, key: int) -> int:
        return int(self.engine.why(JobKey(key)))

    def poll(self, _session: str, _epoch: int, _acked: int, _timeout_s: float) -> bytes:
        self.client_left.wait()
        return bytes(msgpack.packb(to_plain(Outcomes(number=0, epoch=1))))

    def close_session(self, _session: str) -> None:
        self.client_left.set()

    @contextmanager
    def client(self) -> Iterator[Client]:
        self.client_left.clear()
        with Client(_Connection(self), "default") as client:  # type: ignore[arg-type]
            yield client

    def kos(self, *words: str, code: int = 0) -> Any:
        """The command line's answer to these words, with `--json`; the error that it ends with."""
        found = self.says(*words, "--json", code=code)
        return found if isinstance(found, KosError) else json.loads(found)

    def says(self, *words: str, code: int = 0) -> str | KosError:
        """What the command line writes, or the error that it ends with."""
        written, error = StringIO(), None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kos_ray.client.connect", lambda *_, **__: self.client())
            patch.setattr(reading, "_now_us", lambda: self.time_us)
            try:
                with redirect_stdout(written), redirect_stderr(StringIO()):
                    found = _KOS.main(list(words), standalone_mode=False) or 0
            except KosError as raised:
                found, error = exit_code(raised), raised
        assert found == code, f"{words}: {found}: {written.getvalue()} {error!r}"
        return error or written.getvalue()


class _Connection:
    address = "here"

    def __init__(self, clockwork: Clockwork) -> None:
        self._clockwork = clockwork

    def ask_scheduler(self, method: str, *args: Any) -> Any:
        return getattr(self._clockwork, method)(*args)

    def ask_reader(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._clockwork.reader, method)(*args, **kwargs)

    def tell_scheduler(self, method: str, *args: Any) -> None:
        getattr(self._clockwork, method)(*args)


def _entered(node: Node, work: Work) -> e.AttemptsEntered:
    return e.AttemptsEntered(node=node.id, keys=(work.key,), attempts=(work.number,), entered_us=(work.entered_us,))


def _saved(node: Node, work: Work, now_us: int) -> e.CheckpointsStored:
    return e.CheckpointsStored(
        node=node.id, keys=(work.key,), attempts=(work.number,), numbers=(1,), payloads=(b"",), at_us=(now_us,)
    )


def _ended(node: Node, work: Work, now_us: int) -> e.AttemptsEnded:
    end = work.end if work.entered_us >= 0 else AttemptEnd.RECALLED
    return e.AttemptsEnded(
        node=node.id,
        keys=(work.key,),
        attempts=(work.number,),
        ends=(int(end),),
        entered_us=(max(0, work.entered_us),),
        ended_us=(now_us,),
        pids=(1,),
        results=(b"",),
    )
