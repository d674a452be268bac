"""A scheduler that is started again over a long history: how long until it schedules, and what its memory holds.

The journal is written by the real engine on a disk, with links that lead nowhere: jobs that have ended, and jobs that
wait behind a full node. Then another engine boots from it, greets the node, and is told of an end, so that it launches.
"""

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from kos_ray.engine.engine import Engine
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import Journal
from kos_ray.model.events import AttemptsEnded
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import AttemptEnd, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.protocol import PROTOCOL, Array, Holding, Orders, Report, Submit
from kos_ray.model.resources import Resources
from kos_ray.runtime.fold import Fold

FINISHED = 1_000_000
WAITING = 100_000
#: jobs of one submission
PORTION = 5_000
SPECS = 20
#: a snapshot is never older than so many jobs that came, started and ended (see `runtime.snapshotting`)
SINCE_SNAPSHOT = 200_000
NAMES = ("recovery_s", "recovery_waiting_job", "recovery_whole_s")
_NODE = Node(NodeId("n"), "n", Resources.of({"CPU": PORTION}), incarnation="first")


class World:
    """The clock, the links and the snapshots of one engine after another over a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.launched: list[tuple[JobKey, int]] = []
        self.reports = 0
        self.boot()

    def boot(self) -> None:
        """Open the journal and take it over."""
        self.journal = Journal.open(self.directory)
        self.engine = Engine(
            journal=self.journal, snapshots=self, clock=self, links=self, python="3.11", version="benchmark"
        )
        self.engine.boot()

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def send(self, _node: NodeId, orders: Orders) -> None:
        for order in orders.launches:
            self.launched += zip(order.keys, order.attempts, strict=True)

    def load_newest(self) -> tuple[int, Any] | None:
        return FileSnapshots(self.directory / "snapshots").load_newest(self.journal)

    def greet(self, held: list[tuple[JobKey, int]]) -> None:
        """The node's agent answers; it runs these."""
        keys, attempts = zip(*held, strict=True) if held else ((), ())
        holding = Holding(
            node=_NODE.id, incarnation="first", protocol=PROTOCOL, entered=keys, entered_attempts=attempts
        )
        self.engine.greeted(_NODE, holding, 1)
        self.engine.tick()

    def submit(self, number: int, count: int) -> None:
        """An array of so many jobs."""
        spec = Spec(entry="module:function", type=f"type{number % SPECS}", resources=Resources.of({"CPU": 1}))
        array = Array(id=f"a{number}", count=count, spec=spec.type, args=(b"\0arguments",) * count)
        answers: list[Any] = []
        self.engine.submit(Submit(request_id=f"r{number}", arrays=(array,), specs=((spec.type, spec),)), answers.append)
        self.engine.tick()
        assert not getattr(answers[0], "refused", "raised"), answers[0]

    def end(self, count: int) -> None:
        """So many of the attempts that were launched first have ended well."""
        ended, self.launched = self.launched[:count], self.launched[count:]
        keys, attempts = zip(*ended, strict=True)
        now_us, many = self.now_us(), len(keys)
        event = AttemptsEnded(
            node=_NODE.id,
            keys=keys,
            attempts=attempts,
            ends=(int(AttemptEnd.SUCCEEDED),) * many,
            entered_us=(now_us - 1_000,) * many,
            ended_us=(now_us,) * many,
            pids=(1,) * many,
            results=(b"\0result",) * many,
        )
        self.reports += 1
        report = Report(node=_NODE.id, incarnation="first", number=self.reports, ended=(event,))
        self.engine.report(report, lambda _answer: None)
        self.engine.tick()

    def save(self) -> None:
        """A snapshot, as the reader takes it."""
        reader = JournalReader(self.directory)
        Fold(self.directory / "snapshots").save(reader)

    def build(self) -> None:
        """The history: all that end, a snapshot as old as it may be, and what waits."""
        self.greet([])
        for number in range(FINISHED // PORTION):
            assert not self.engine.state.jobs
            if FINISHED - number * PORTION == SINCE_SNAPSHOT:
                self.save()
            self.submit(number, PORTION)
            while self.launched:
                self.end(len(self.launched))
        for number in range(FINISHED // PORTION, (FINISHED + WAITING) // PORTION + 1):
            self.submit(number, PORTION)

    def recover(self) -> tuple[float, float]:
        """Die, boot, greet, and launch again: seconds on the wall and of the processor."""
        self.journal.close()
        held = list(self.launched)
        wall, cpu = time.perf_counter(), time.process_time()
        self.boot()
        self.greet(held)
        self.end(1)
        found = time.perf_counter() - wall, time.process_time() - cpu
        assert len(self.launched) >= len(held), "an end makes room, and the next job is launched"
        return found


def rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """The rows of `NAMES`: with a snapshot that is as old as it may be, of it the memory, and with none at all."""
    with tempfile.TemporaryDirectory(prefix="kos-recovery-") as folder:
        world = World(Path(folder))
        world.build()
        if wanted("recovery_s"):
            yield _timed("recovery_s", world, 10)
        if wanted("recovery_waiting_job"):
            yield _memory(world)
        if wanted("recovery_whole_s"):
            for file in (world.directory / "snapshots").iterdir():
                file.unlink()
            yield _timed("recovery_whole_s", world, None)
        world.journal.close()


def _timed(name: str, world: World, at_most: float | None) -> Row:
    wall, cpu = world.recover()
    print(f"{name}: {wall:.2f} s on the wall, {cpu:.2f} s of the processor", file=sys.stderr)
    goal = "-" if at_most is None else f"<= {at_most:g} s"
    return Row(name=name, value=cpu, unit="s", peer=None, ratio=None, goal=goal, met=at_most is None or cpu <= at_most)


def _memory(world: World) -> Row:
    """What the engine's memory grew by when it booted, for each job that waits; all else is counted with them."""
    del world.engine
    tracemalloc.start()
    world.recover()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    waiting = sum(job.state is JobState.READY for job in world.engine.state.jobs.values())
    assert waiting >= WAITING - PORTION
    each = grown / waiting
    name, goal = "recovery_waiting_job", 1_024
    return Row(name=name, value=each, unit="bytes", peer=None, ratio=None, goal=f"<= {goal:,} bytes", met=each <= goal)
