"""A million schedules on real Ray: how long until the scheduler answers, what fires cost, how late they are.

The state directory is written by the real engine before (as in `benchmarks.schedules`, by the real clock); then a
cluster is started over it. A fire's job tells when it was entered: that minus its nominal instant is how late it is.
"""

import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import Row, once
from benchmarks.schedules import DAY_S, FREQUENT, SCHEDULES, SECOND_US, World
from benchmarks.speed import cpu_s
from kos_ray.client import connect
from kos_ray.journal.reader import JournalReader
from kos_ray.model.job import Spec
from kos_ray.model.schedule import ScheduleFired
from kos_ray.runtime import connect as clusters
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER

NAMES = ("lateness_boot", "lateness_p99", "lateness_core")
#: from the first schedule that is set to the first fire: setting and booting take so long at most, for each million
_AHEAD_S = 240
#: seconds of fires before they count, and that count
_WARM_S, _SECONDS = 30, 60


def rows(count: int = SCHEDULES) -> Iterator[Row]:
    """The rows of `NAMES`, which are measured together."""
    with tempfile.TemporaryDirectory(prefix="kos-lateness-") as folder:
        state = Path(folder)
        begin_s = int(time.time()) + 30 + _AHEAD_S * count // SCHEDULES
        # what its job returns is when it was entered
        spec = Spec(type="tick", entry="time:time")
        world = World(state, time.time_ns() // 1_000)
        world.set_all(count, begin_s, [spec])
        world.save()
        world.journal.close()
        del world
        print(f"{count} schedules set; the first fires in {begin_s - time.time():.0f} s", file=sys.stderr)
        began = time.perf_counter()
        report = clusters.up(state_dir=state, num_cpus=2)
        booted = time.perf_counter() - began
        try:
            import ray  # noqa: PLC0415 - after the environment that the head needs

            with connect(report.address, start=False):
                late = begin_s - time.time()
                assert late > 0, f"the first fires were due {-late:.0f} s ago: setting them took too long"
                yield once("lateness_boot", booted, "s", "<= 10 s", met=booted <= 10)
                yield from _minute(ray, state, begin_s, count)
            ray.shutdown()
        finally:
            clusters.down(state_dir=state)


def _minute(ray: Any, state: Path, begin_s: int, count: int) -> Iterator[Row]:
    pid = ray.get(ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE).greet.remote())["pid"]
    time.sleep(max(0.0, begin_s + _WARM_S - time.time()))
    before = cpu_s(pid)
    time.sleep(_SECONDS)
    share = 100 * (cpu_s(pid) - before) / _SECONDS
    # what was due in the last seconds may still run
    time.sleep(2)
    found = _late_ms(JournalReader(state), begin_s + _WARM_S, begin_s + _WARM_S + _SECONDS)
    print(f"lateness: {len(found) / _SECONDS:.0f} fires/s, p50 {statistics.median(found):.1f} ms", file=sys.stderr)
    expected = _SECONDS * (FREQUENT / 60 + (count - FREQUENT) / DAY_S)
    assert len(found) >= 0.95 * expected, f"{len(found)} fires in {_SECONDS} s, expected {expected:.0f}"
    p99 = statistics.quantiles(found, n=100)[98]
    yield once("lateness_p99", p99, "ms", "<= 250 ms", met=p99 <= 250)
    yield once("lateness_core", share, "% of a core", "<= 20 %", met=share <= 20)


def _late_ms(reader: JournalReader, from_s: int, to_s: int) -> list[float]:
    """From nominal instant to user code, of all fires of a stretch of time."""
    jobs: dict[Any, int] = {}
    for frame in reader.frames():
        for event in frame.events:
            if isinstance(event, ScheduleFired) and from_s <= event.nominal_us // SECOND_US < to_s:
                jobs[event.job] = event.nominal_us
    keys = list(jobs)
    found = []
    for i in range(0, len(keys), 500):
        for key, payload in reader.results(keys[i : i + 500]).items():
            found.append(pickle.loads(payload[1:]) * 1e3 - jobs[key] / 1e3)
    assert len(found) == len(jobs), f"{len(jobs)} fires, {len(found)} results"
    return found
