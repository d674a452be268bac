"""What a durable job costs beside a bare Ray task in the same cluster: very many, one alone, in chains."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.jobs import check_items, free, loop_rate, map_rate, no_op, warm
from benchmarks.order import entered, has_run_a_while, hold, until
from benchmarks.report import Row, alone, compare, spread
from kos_ray.client import Client
from kos_ray.client.calls import Call
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER

MANY = 100_000
ROUNDS = 5
TRIPS = 300
CHAIN = 500
FAN = 1_000
LOW, LOW_S = 2_000, 0.01
URGENT = 20
#: fewer, as each of the two jobs that hold the processors is left alone once it has given way `max_evictions` times, 8
MAKING_ROOM = 12
NAMES = (
    *("map_100k", "submit_many_100k", "actor_cpu", "round_trip_p50", "round_trip_p99"),
    *("chain_500", "fan_1000", "critical_next_slot", "critical_cooperative"),
)


def step(number: int) -> int:
    """One link of a chain."""
    return number + 1


def gather(*numbers: int) -> int:
    """The end of a fan."""
    return sum(numbers)


def doze(_: int) -> None:
    """A short job of the lowest band."""
    time.sleep(LOW_S)


def rows(wanted: Callable[[str], bool], client: Client, plain: Any) -> Iterator[Row]:
    """The rows of `NAMES`."""
    if wanted("map_100k"):
        yield compare(
            "map_100k", "jobs/s", lambda: map_rate(client, MANY), lambda: loop_rate(plain), rounds=ROUNDS, at_least=25
        )
    if wanted("submit_many_100k"):
        ours = lambda: _submitted(client)  # noqa: E731
        yield compare("submit_many_100k", "jobs/s", ours, lambda: loop_rate(plain), rounds=ROUNDS, at_least=12)
    if wanted("actor_cpu"):
        yield alone("actor_cpu", "us/job", lambda: _actor_us(client), rounds=ROUNDS, at_most=25)
    if wanted("round_trip_p50") or wanted("round_trip_p99"):
        yield from (row for row in _trips(client, plain) if wanted(row.name))
    if wanted("chain_500"):
        yield compare("chain_500", "s", lambda: _chain(client), _ray_chain, rounds=ROUNDS, at_most=1)
    if wanted("fan_1000"):
        yield compare("fan_1000", "s", lambda: _fan(client), _ray_fan, rounds=ROUNDS, at_most=1)
    if wanted("critical_next_slot"):
        yield alone("critical_next_slot", "ms", lambda: _next_slot(client), rounds=ROUNDS, at_most=8)
    if wanted("critical_cooperative"):
        yield alone("critical_cooperative", "ms", lambda: _cooperative(client), rounds=ROUNDS, at_most=40)


def _submitted(client: Client) -> float:
    """The same as jobs of their own: each has its id, its band and its arguments."""
    bands = ("high", "medium", "low")
    warm(client)
    start = time.perf_counter()
    jobs = client.submit_many([Call(no_op, (item,), priority=bands[item % 3]) for item in range(MANY)])
    results = jobs.results(300)
    rate = MANY / (time.perf_counter() - start)
    check_items(results)
    return rate


def _actor_us(client: Client) -> float:
    """Processor time of the scheduler actor's process, Ray's threads included, for each job of a map."""
    import ray  # noqa: PLC0415

    pid = ray.get(ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE).greet.remote())["pid"]
    warm(client)
    before = cpu_s(pid)
    check_items(client.map(no_op, range(MANY)).results(300))
    return (cpu_s(pid) - before) / MANY * 1e6


def cpu_s(pid: int) -> float:
    """Seconds of processor time, all threads together (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _trips(client: Client, plain: Any) -> Iterator[Row]:
    """One job after another, submit to result: the middle of the rounds' p50 and p99."""
    import ray  # noqa: PLC0415

    mine, theirs = [], []
    for _ in range(ROUNDS):
        mine.append(_times_ms(lambda item: client.submit(no_op, item).result(60)))
        free(ray)
        theirs.append(_times_ms(lambda item: ray.get(plain.remote(item))))
    for name, percent, at_most in (("round_trip_p50", 50, 2), ("round_trip_p99", 99, 4)):
        own, other = ([_percentile(times, percent) for times in found] for found in (mine, theirs))
        ours, peer = statistics.median(own), statistics.median(other)
        ratio = ours / peer
        yield Row(
            name=name,
            value=ours,
            unit="ms",
            peer=peer,
            ratio=ratio,
            goal=f"<= {at_most}x",
            met=ratio <= at_most,
            spread=spread([one / peer for one, peer in zip(own, other, strict=True)]),
        )


def _times_ms(trip: Callable[[int], Any]) -> list[float]:
    for item in range(5):
        trip(item)
    times = []
    for item in range(TRIPS):
        start = time.perf_counter()
        trip(item)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _percentile(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


def _chain(client: Client) -> float:
    """Seconds for jobs of which each has the result of the one before as its argument."""
    start = time.perf_counter()
    job = client.submit(step, 0)
    for _ in range(CHAIN - 1):
        job = client.submit(step, job)
    assert job.result(120) == CHAIN
    return time.perf_counter() - start


def _ray_chain() -> float:
    import ray  # noqa: PLC0415

    free(ray)
    link = ray.remote(step)
    start = time.perf_counter()
    found = link.remote(0)
    for _ in range(CHAIN - 1):
        found = link.remote(found)
    assert ray.get(found) == CHAIN
    return time.perf_counter() - start


def _fan(client: Client) -> float:
    """Seconds for one job, many that have its result, and one that has all of theirs."""
    start = time.perf_counter()
    first = client.submit(step, 0)
    middle = client.submit_many([Call(step, (first,)) for _ in range(FAN)])
    assert client.submit(gather, *middle).result(120) == 2 * FAN
    return time.perf_counter() - start


def _ray_fan() -> float:
    import ray  # noqa: PLC0415

    free(ray)
    one, last = ray.remote(step), ray.remote(gather)
    start = time.perf_counter()
    first = one.remote(0)
    assert ray.get(last.remote(*[one.remote(first) for _ in range(FAN)])) == 2 * FAN
    return time.perf_counter() - start


def _next_slot(client: Client) -> float:
    """Milliseconds from the submission of a critical job to its entry, many short ones waiting that do not give way."""
    low = client.map(doze, range(LOW), priority="background", preemption="never")
    until(lambda: low.counts().get("succeeded", 0) > 0)
    found = [_entry_ms(client) for _ in range(URGENT)]
    assert low.counts().get("succeeded", 0) < LOW, "none was left to wait behind"
    low.cancel()
    low.wait(60)
    return statistics.median(found)


def _cooperative(client: Client) -> float:
    """The same where two jobs hold all processors that save where they are and leave when they are asked to."""
    with tempfile.TemporaryDirectory() as folder:
        low = [client.submit(hold, folder, priority="background", preemption="checkpoint") for _ in range(2)]
        found = []
        for _ in range(MAKING_ROOM):
            until(lambda: all(has_run_a_while(client, job) for job in low))
            found.append(_entry_ms(client))
        (Path(folder) / "release").touch()
        assert all(job.result(60) > 0 for job in low)
    return statistics.median(found)


def _entry_ms(client: Client) -> float:
    start = time.monotonic()
    return (client.submit(entered, priority="critical").result(60) - start) * 1e3
