"""The scheduler alone at a size that two cores cannot run: a full cluster, a long queue, and what one step costs."""

import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from benchmarks.report import Row
from kos_ray.engine import garbage
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, Eviction, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.state import State

NODES = 1_000
WAITING = 100_000
SHAPES = 200
ACCOUNTS = 20
TICKS = 300
ENDS_PER_TICK = 4
#: of so many shapes one is wanted by gangs of so many members
GANGS_EVERY, GANG = 10, 4
STEP_US = 10_000
SETTLE_MAX = 100
#: the same ten times as large, and as many waiting at first and in the end
HUGE_NODES, HUGE_SHAPES = 10_000, 1_000
HUGE_FEW, HUGE_WAITING = 10_000, 1_000_000
HUGE_ENDS_PER_TICK, HUGE_TICKS, HUGE_JOIN = 100, 200, 1_000
URGENT = 20
NAMES = ("scale_tick_p50", "scale_tick_p99", "scale_waiting_job")
HUGE_NAMES = ("huge_placements", "huge_tick_p50", "huge_tick_p99", "huge_growth", "huge_preemption", "huge_waiting_job")


class World:
    """Nodes with GPUs, jobs of many shapes in many accounts, and time that passes."""

    def __init__(self, nodes: int = NODES, shapes: int = SHAPES) -> None:
        self.random = Random(1)
        self.joined = 0
        self.state = State()
        self.now_us = 1_000_000
        self.next_key = 1
        self.evictions: list[d.Evict | d.Stop] = []
        policy = Policy(burst_jobs=0)
        self.step([e.SchedulerStarted(epoch=1, version="0", policy=policy), self.join(nodes)])
        self.specs = [self._spec(number) for number in range(shapes)]
        self.known: set[int] = set()

    def step(self, events: list[e.Event]) -> list[d.Decision]:
        """One step, a little later. Who was asked to make room in the one before has done so."""
        self.now_us += STEP_US
        stopped = [self._ended(found.node, found.keys, found.attempts, AttemptEnd.STOPPED) for found in self.evictions]
        decisions = step(self.state, [*stopped, *events], self.now_us)
        self.evictions = [found for found in decisions if isinstance(found, d.Evict | d.Stop)]
        return decisions

    def join(self, count: int) -> e.NodesJoined:
        """So many nodes more."""
        nodes = tuple(self._nodes(self.joined, self.joined + count))
        self.joined += count
        return e.NodesJoined(nodes=nodes)

    def _nodes(self, first: int, behind: int) -> Iterator[Node]:
        for number in range(first, behind):
            units = {"CPU": 64.0, "memory": 256.0 * 2**30, "GPU": self.random.choice((0, 4, 8))}
            yield Node(NodeId(f"n{number:05}"), f"n{number}", Resources.of(units), incarnation="1")

    def _spec(self, number: int) -> Spec:
        gpus = self.random.choice((0, 0, 0, 1, 2, 4, 8))
        units = {"CPU": self.random.choice((1, 2, 4, 8, 16)), "GPU": gpus, "memory": 2.0**30 * (1 + number % 7)}
        return Spec(
            type=f"shape{number}",
            entry="m:f",
            namespace=f"team{number % ACCOUNTS}",
            band=self.random.choice((0, 2, 3, 3, 3, 4, 5)),
            resources=Resources.of(units),
            single_use=gpus > 0,
            run_ms=self.random.choice((0, 60_000, 3_600_000)),
            eviction=self.random.choice((Eviction.REQUEUE, Eviction.CHECKPOINT, Eviction.NEVER)),
        )

    def submit(self, count: int) -> e.JobsSubmitted:
        """An array of so many jobs of one shape."""
        number = self.random.randrange(len(self.specs))
        gangs = number % GANGS_EVERY == 0
        if gangs:
            count = max(GANG, count // GANG * GANG)
        new = () if number in self.known else ((SpecKey(number + 1), self.specs[number]),)
        self.known.add(number)
        first = JobKey(self.next_key)
        self.next_key += count
        return e.JobsSubmitted(
            request_id=str(first),
            first=first,
            ids=(str(first),),
            counts=(count,),
            specs=(SpecKey(number + 1),),
            args=(b"",) * count,
            new_specs=new,
            gangs=tuple(
                e.NewGang(name=str(start), ranges=((start, GANG),), least=GANG)
                for start in range(first, first + count * gangs, GANG)
            ),
        )

    def submit_urgent(self) -> e.JobsSubmitted:
        """A job that is more urgent than all others."""
        spec = replace(self.specs[0], type="urgent", namespace="team0", band=1, resources=Resources.of({"CPU": 16}))
        key = SpecKey(len(self.specs) + 1)
        first = JobKey(self.next_key)
        self.next_key += 1
        return e.JobsSubmitted(
            request_id=str(first),
            first=first,
            ids=(str(first),),
            counts=(-1,),
            specs=(key,),
            args=(b"",),
            new_specs=() if key in self.state.specs else ((key, spec),),
        )

    def settle(self) -> None:
        """Until those that were submitted last have taken what they may take from others."""
        for _ in range(SETTLE_MAX):
            self.now_us += 1_000_000
            self.step([])
            if not self.evictions:
                return

    def ends(self, count: int) -> list[e.Event]:
        """Some attempts are over."""
        found: list[e.Event] = []
        for node_id in self.random.sample(list(self.state.nodes), count):
            held = [key for lane in self.state.nodes[node_id].lanes.values() for key in lane.held]
            if not held:
                continue
            job = self.state.jobs[self.random.choice(held)]
            found.append(self._ended(node_id, (job.key,), (job.attempt,), AttemptEnd.SUCCEEDED))
        return found

    def _ended(
        self, node: NodeId, keys: tuple[JobKey, ...], attempts: tuple[int, ...], end: AttemptEnd
    ) -> e.AttemptsEnded:
        """Attempts on one node that ran for a minute."""
        return e.AttemptsEnded(
            node=node,
            keys=keys,
            attempts=attempts,
            ends=(int(end),) * len(keys),
            entered_us=(self.now_us - 60_000_000,) * len(keys),
            ended_us=(self.now_us,) * len(keys),
            pids=(1,) * len(keys),
            results=(b"",) * len(keys),
        )


def rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """`scale_tick_p50`, `scale_tick_p99` and `scale_waiting_job`."""
    world = World()
    while len(world.state.jobs) < WAITING // 2:
        world.step([world.submit(100)])
    tracemalloc.start()
    before, jobs = tracemalloc.get_traced_memory()[0], len(world.state.jobs)
    while len(world.state.jobs) < jobs + WAITING // 2:
        world.step([world.submit(100)])
    each = (tracemalloc.get_traced_memory()[0] - before) / (len(world.state.jobs) - jobs)
    tracemalloc.stop()
    world.settle()
    broken = invariants.check(world.state)
    assert not broken, broken[:3]
    times = []
    for _ in range(TICKS):
        events = [*world.ends(ENDS_PER_TICK), world.submit(2)]
        start = time.process_time()
        world.step(events)
        times.append((time.process_time() - start) * 1e3)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    if wanted("scale_tick_p50"):
        yield _row("scale_tick_p50", p50, "ms", 20)
    if wanted("scale_tick_p99"):
        yield _row("scale_tick_p99", p99, "ms", 20)
    if wanted("scale_waiting_job"):
        yield _row("scale_waiting_job", each, "bytes", 1_024)


def huge_rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """The rows of `HUGE_NAMES`, of processor time."""
    world = World(HUGE_NODES, HUGE_SHAPES)
    while _waiting(world) < HUGE_FEW:
        world.step([world.submit(100)])
    world.settle()
    garbage.begin()
    _, few_us = _ticks(world)
    before, jobs = _resident(), len(world.state.jobs)
    while _waiting(world) < HUGE_WAITING:
        world.step([world.submit(1_000) for _ in range(10)])
    each = (_resident() - before) / (len(world.state.jobs) - jobs)
    world.settle()
    garbage.begin()  # as the scheduler actor does
    times, many_us = _ticks(world)
    broken = invariants.check(world.state)
    assert not broken, broken[:3]
    urgent = statistics.median(_evicts(world) for _ in range(URGENT))
    start = time.process_time()
    launched = _launched(world.step([world.join(HUGE_JOIN)]))
    found = {
        "huge_placements": (launched / (time.process_time() - start), "placements/s", 50_000),
        "huge_tick_p50": (statistics.median(times), "ms", 20),
        "huge_tick_p99": (statistics.quantiles(times, n=100)[98], "ms", 20),
        "huge_growth": (many_us / few_us, "times", 1.5),
        "huge_preemption": (urgent, "ms", 5),
        "huge_waiting_job": (each, "bytes", 1_024),
    }
    for name, (value, unit, goal) in found.items():
        if wanted(name):
            yield _row(name, value, unit, goal, at_least=name == "huge_placements")


def _waiting(world: World) -> int:
    return len(world.state.jobs) - sum(world.state.on_nodes)


def _resident() -> int:
    """The process's memory, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _launched(decisions: list[d.Decision]) -> int:
    return sum(len(found.keys) for found in decisions if isinstance(found, d.Launch))


def _ticks(world: World) -> tuple[list[float], float]:
    """Milliseconds of each of some steps in which attempts end and others start, and microseconds of one start."""
    times, launched = [], 0
    for _ in range(HUGE_TICKS):
        events = [*world.ends(HUGE_ENDS_PER_TICK), world.submit(2)]
        start = time.process_time()
        decisions = world.step(events)
        times.append((time.process_time() - start) * 1e3)
        launched += _launched(decisions)
    return times, sum(times) * 1e3 / launched


def _evicts(world: World) -> float:
    """Milliseconds of a step in which an urgent job is submitted that others make room for."""
    event = world.submit_urgent()
    start = time.process_time()
    world.step([event])
    taken = (time.process_time() - start) * 1e3
    assert any(isinstance(found, d.Evict) for found in world.evictions)
    world.step([])
    return taken


def _row(name: str, value: float, unit: str, goal: float, *, at_least: bool = False) -> Row:
    met = value >= goal if at_least else value <= goal
    sign = ">=" if at_least else "<="
    return Row(name=name, value=value, unit=unit, peer=None, ratio=None, goal=f"{sign} {goal:g} {unit}", met=met)
