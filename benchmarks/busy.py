"""Slots that are kept busy: how much of their time is user code; and ten minutes of everything: nothing grows."""

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import psutil

import kos_ray
from benchmarks.jobs import two_cpus
from benchmarks.order import cluster_of
from benchmarks.report import Row, once, spread
from kos_ray.client import Client
from kos_ray.client.calls import Call
from kos_ray.model.errors import JobFailed

NODES, SLOTS = 4, 8
NAPS, NAP_S, ROUNDS = 800, 0.1, 5
SOAK_S, A_SECOND = 600, 167
NAMES = ("nap_utilisation", "soak_lost", "soak_wait_growth", "soak_memory_growth")
#: seconds for what is open at the end
_END_S = 120
_BANDS = ("high", "medium", "medium", "low", "background")


def nap(_: int) -> tuple[int, float, float]:
    """A short job: its process, and when user code began and ended."""
    start = time.monotonic()
    time.sleep(NAP_S)
    return os.getpid(), start, time.monotonic()


def quick(item: int) -> int:
    """Does nothing."""
    return item


def reckon(item: int) -> int:
    """Some milliseconds of work."""
    return sum(i * i for i in range(20_000)) % 7 + item


def wait(item: int) -> int:
    """Some milliseconds without work."""
    time.sleep(0.005)
    return item


def stumble(item: int) -> int:
    """Fails at its first attempt."""
    if kos_ray.context().attempt == 1:
        raise ValueError("not yet")
    return item


def rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """The rows of `NAMES`."""
    if wanted("nap_utilisation"):
        with cluster_of(NODES) as client:
            mine, theirs = zip(*[(_naps(client), _naps_of_ray()) for _ in range(ROUNDS)], strict=True)
        value, peer = statistics.median(mine), statistics.median(theirs)
        yield Row(
            name="nap_utilisation",
            value=value,
            unit="%",
            peer=peer,
            ratio=value / peer,
            goal=">= 97 %",
            met=value >= 97,
            spread=spread([own / other for own, other in zip(mine, theirs, strict=True)]),
        )
    if any(wanted(name) for name in NAMES[1:]):
        with two_cpus() as (client, _):
            yield from (row for row in _soak(client) if wanted(row.name))


def _naps(client: Client) -> float:
    return _used(client.map(nap, range(NAPS)).results(300))


def _naps_of_ray() -> float:
    import ray  # noqa: PLC0415 - after its environment

    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < SLOTS:
        assert time.monotonic() < deadline, "our idle slots keep their CPUs"
        time.sleep(0.05)
    task = ray.remote(nap)
    return _used(ray.get([task.remote(item) for item in range(NAPS)]))


def _used(spans: Iterable[tuple[int, float, float]]) -> float:
    """The part of the processes' time, each from its first entry to its last end, that was user code, in percent."""
    by_process: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for pid, start, end in spans:
        by_process[pid].append((start, end))
    used = sum(end - start for found in by_process.values() for start, end in found)
    whole = sum(max(end for _, end in found) - min(start for start, _ in found) for found in by_process.values())
    assert len(by_process) >= SLOTS, f"only {len(by_process)} processes"
    return 100 * used / whole


# --- soak


@dataclass
class _Second:
    """What one second handed over, and how much memory there was."""

    jobs: Any
    expected: list[int]
    memory: int


def _soak(client: Client) -> Iterator[Row]:
    random, seconds = Random(1), list[_Second]()
    processes = [one for one in psutil.process_iter(["cmdline"]) if _is_ours(one.info["cmdline"])]
    began = time.monotonic()
    last: Any = None
    for number in range(SOAK_S):
        functions = [random.choice((quick, reckon, wait, stumble)) for _ in range(A_SECOND)]
        calls = [
            Call(function, (item,), priority=random.choice(_BANDS), retry=2, backoff={"first": "50ms"})
            for item, function in enumerate(functions)
        ]
        if last is not None:
            # some wait for a job of the second before
            calls += [Call(quick, (item,), after=[last]) for item in range(A_SECOND, A_SECOND + 5)]
        jobs = client.submit_many(calls)
        last = jobs[0]
        memory = sum(process.memory_info().rss for process in processes)
        expected = [function(item) if function is not stumble else item for item, function in enumerate(functions)]
        expected += range(A_SECOND, len(calls))
        seconds.append(_Second(jobs, expected, memory))
        if number % 60 == 59:
            print(f"soak: {number + 1} s, {memory >> 20} MiB", file=sys.stderr)
        time.sleep(max(0.0, began + number + 1 - time.monotonic()))
    waits, lost = _told(client, seconds)
    thirds = [range(SOAK_S // 3), range(2 * SOAK_S // 3, SOAK_S)]
    first, end = ([wait for number in part for wait in waits[number]] for part in thirds)
    p99 = [statistics.quantiles(found, n=100)[98] for found in (first, end)]
    then, now = (statistics.median(seconds[number].memory for number in part) for part in thirds)
    count = sum(len(second.expected) for second in seconds)
    print(f"soak: {count} jobs, p99 of the wait {p99[0]:.0f} ms, then {p99[1]:.0f} ms", file=sys.stderr)
    yield once("soak_lost", lost, "jobs", "0 jobs", met=not lost)
    yield once("soak_wait_growth", p99[1] / p99[0], "times", "<= 1.5 times", met=p99[1] <= 1.5 * p99[0])
    growth = now / then
    yield once("soak_memory_growth", growth, "times", "<= 1.2 times", met=growth <= 1.2)


def _told(client: Client, seconds: list[_Second]) -> tuple[list[list[float]], int]:
    """The waits of all jobs in ms, by second, and how many jobs did not end as they should."""
    waits: list[list[float]] = []
    lost = 0
    for second in seconds:
        try:
            results = second.jobs.results(_END_S)
        except (JobFailed, TimeoutError) as error:
            print(f"soak: {error}", file=sys.stderr)
            results = [None] * len(second.expected)
        lost += sum(found != expected for found, expected in zip(results, second.expected, strict=True))
    views = {view.id: view for view in client.jobs(limit=2 * SOAK_S * A_SECOND)}
    for second in seconds:
        found = [views[job.id] for job in second.jobs]
        waits.append([(view.entered_us - view.submitted_us) / 1e3 for view in found])
    return waits, lost


def _is_ours(words: list[str] | None) -> bool:
    return any(name in " ".join(words or ()) for name in ("SchedulerActor", "ReaderActor", "AgentActor"))
