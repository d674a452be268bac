"""A scheduler with very many schedules: how long it takes to boot, and what their fires cost, in virtual time.

The journal is written by the real engine on a disk, with links that lead nowhere. Most schedules fire once a day,
spread over its seconds; some fire once a minute, so that there are a hundred fires a second in all. Each fire makes a
job, which is launched and ends in the next round: that is counted with it.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import recovery
from benchmarks.report import Row, once
from kos_ray.model.job import Spec
from kos_ray.model.resources import Resources
from kos_ray.model.schedule import Schedule, ScheduleSet

SCHEDULES = 1_000_000
#: of them, those that fire each minute
FREQUENT = 5_400
#: schedules that are set in one round
PORTION = 1_000
SPECS = 20
SECONDS = 60
SECOND_US, DAY_S = 1_000_000, 86_400
_EPOCH_US = 1_800_000_000 * SECOND_US
NAMES = ("schedules_boot", "schedules_fires", "schedules_core")


class World(recovery.World):
    """The same where time is virtual."""

    def __init__(self, directory: Path, now_us: int) -> None:
        self._now_us = now_us
        super().__init__(directory)

    def now_us(self) -> int:
        return self._now_us

    def set_all(self, count: int, from_s: int, specs: Sequence[Spec]) -> None:
        """So many schedules are set, as the events that wishes make; they fire from an instant on."""
        for number in range(count):
            rule, next_us = _rule(number, from_s)
            schedule = Schedule(name=f"s{number}", rules=(rule,), spec=specs[number % len(specs)])
            event = ScheduleSet(request_id=f"s{number}", schedule=schedule, next_us=next_us, due_us=next_us)
            self.engine.post(event)
            if number % PORTION == PORTION - 1 or number == count - 1:
                self.engine.tick()

    def pass_second(self) -> int:
        """A second goes by: what is due fires, and its jobs run and end; how many did."""
        self._now_us += SECOND_US
        while (due_us := self.engine.next_due_us()) is not None and due_us <= self._now_us:
            self.engine.tick()
        fired = len(self.launched)
        while self.launched:
            self.end(len(self.launched))
        return fired


def _rule(number: int, now_s: int) -> tuple[str, int]:
    """What a schedule fires by, and when that is for the first time, in microseconds."""
    second, minute, hour = number % 60, number // 60 % 60, number // 3_600 % 24
    if number < FREQUENT:
        return f"{second} * * * * *", (now_s + 1 + (second - now_s - 1) % 60) * SECOND_US
    time_s = number % DAY_S
    return f"{second} {minute} {hour} * * *", (now_s + 1 + (time_s - now_s - 1) % DAY_S) * SECOND_US


def rows(wanted: Callable[[str], bool], count: int = SCHEDULES) -> Iterator[Row]:
    """The rows of `NAMES`: a boot from a snapshot up to the first round's end, and a minute of fires."""
    with tempfile.TemporaryDirectory(prefix="kos-schedules-") as folder:
        world = World(Path(folder), _EPOCH_US)
        world.greet([])
        began = time.process_time()
        specs = [
            Spec(entry="module:function", type=f"type{number}", resources=Resources.of({"CPU": 1}))
            for number in range(SPECS)
        ]
        world.set_all(count, world.now_us() // SECOND_US, specs)
        print(f"{count} schedules set in {time.process_time() - began:.0f} s of the processor", file=sys.stderr)
        world.save()
        if wanted("schedules_boot"):
            yield _boot(world, count)
        if wanted("schedules_fires") or wanted("schedules_core"):
            yield from _fires(world)
        world.journal.close()


def _boot(world: World, count: int) -> Row:
    world.journal.close()
    del world.engine
    wall, cpu = time.perf_counter(), time.process_time()
    world.boot()
    world.greet([])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert len(world.engine.state.schedules.by_key) == count
    print(f"schedules_boot: {wall:.2f} s on the wall, {cpu:.2f} s of the processor", file=sys.stderr)
    return once("schedules_boot", cpu, "s", "<= 10 s", met=cpu <= 10)


def _fires(world: World) -> Iterator[Row]:
    world.pass_second()
    cpu = time.process_time()
    rate = sum(world.pass_second() for _ in range(SECONDS)) / SECONDS
    share = 100 * (time.process_time() - cpu) / SECONDS
    yield once("schedules_fires", rate, "fires/s", ">= 100 fires/s", met=rate >= 100)
    yield once("schedules_core", share, "% of a core", "<= 20 %", met=share <= 20)
