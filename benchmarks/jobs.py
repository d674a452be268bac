"""Many jobs, and one job, beside plain Ray in the same cluster."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import Row, alone, compare
from kos_ray.client import Client, connect
from kos_ray.client.calls import Call
from kos_ray.runtime import connect as clusters

JOBS = 10_000
SUBMITTED = 20_000
#: more than the cluster has: what is only submitted takes no processor from the submission
_TOO_MANY_CPUS = 64
TRIPS = 300


def no_op(item: int) -> tuple[int, int]:
    """The job: its result proves which item it was and which process ran it."""
    return item, os.getpid()


def rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """`map_10k`, `round_trip` and `submit_only`."""
    with _cluster() as (client, plain):
        if wanted("map_10k"):
            yield compare("map_10k", "jobs/s", lambda: _map(client), lambda: _loop(plain), rounds=5, at_least=5)
        if wanted("round_trip"):
            yield compare("round_trip", "ms", lambda: _trips(client), lambda: _ray_trips(plain), rounds=5, at_most=4)
        if wanted("submit_only"):
            yield alone("submit_only", "jobs/s", lambda: _submit(client), rounds=5, at_least=40_000)


@contextmanager
def _cluster() -> Iterator[tuple[Client, Any]]:
    """A cluster of 2 CPUs for both, warm: each has run its jobs once."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        report = clusters.up(state_dir=state, num_cpus=2)
        try:
            import ray  # noqa: PLC0415 - after the environment that the head needs

            with connect(report.address, start=False) as client:
                plain = ray.remote(no_op)
                _check(client.map(no_op, range(JOBS)).results(120))
                _free(ray)
                ray.get([plain.remote(item) for item in range(JOBS)])
                yield client, plain
            ray.shutdown()
        finally:
            clusters.down(state_dir=state)


def _map(client: Client) -> float:
    start = time.perf_counter()
    results = client.map(no_op, range(JOBS)).results(120)
    rate = JOBS / (time.perf_counter() - start)
    _check(results)
    return rate


def _submit(client: Client) -> float:
    """From the first call to the answer to the last request: all jobs are on disk then, and none has run."""
    before = client.status().jobs.get("ready", 0)
    calls = [Call(no_op, (item,), resources={"cpu": _TOO_MANY_CPUS}) for item in range(SUBMITTED)]
    start = time.perf_counter()
    jobs = client.submit_many(calls)
    rate = SUBMITTED / (time.perf_counter() - start)
    assert client.status().jobs["ready"] == before + SUBMITTED, "not all that was acknowledged is there"
    assert jobs.cancel() == SUBMITTED, "some were not live"
    assert jobs.wait(60), "they do not end"
    return rate


def _loop(plain: Any) -> float:
    import ray  # noqa: PLC0415

    _free(ray)
    start = time.perf_counter()
    results = ray.get([plain.remote(item) for item in range(JOBS)])
    rate = JOBS / (time.perf_counter() - start)
    _check(results)
    return rate


def _trips(client: Client) -> float:
    client.submit(no_op, 0).result(60)
    return _median_ms(lambda item: client.submit(no_op, item).result(60))


def _ray_trips(plain: Any) -> float:
    import ray  # noqa: PLC0415

    _free(ray)
    ray.get(plain.remote(0))
    return _median_ms(lambda item: ray.get(plain.remote(item)))


def _median_ms(trip: Callable[[int], Any]) -> float:
    times = []
    for item in range(TRIPS):
        start = time.perf_counter()
        trip(item)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def _check(results: list[Any]) -> None:
    """Every item exactly once, and not all in this process."""
    assert [item for item, _ in results] == list(range(JOBS)), "results are not the items"
    assert os.getpid() not in {pid for _, pid in results}, "jobs ran in the driver"


def _free(ray: Any) -> None:
    """Wait until our idle slots have given their CPUs back: the peer gets the whole machine, as we do."""
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, "our slots keep their CPUs"
        time.sleep(0.05)
