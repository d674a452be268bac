"""Many jobs beside plain Ray in the same cluster."""

import os
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


def no_op(item: int) -> tuple[int, int]:
    """The job: its result proves which item it was and which process ran it."""
    return item, os.getpid()


def rows(wanted: Callable[[str], bool], client: Client, plain: Any) -> Iterator[Row]:
    """`map_10k` and `submit_only`."""
    if wanted("map_10k"):
        yield compare(
            "map_10k", "jobs/s", lambda: map_rate(client, JOBS), lambda: loop_rate(plain), rounds=5, at_least=5
        )
    if wanted("submit_only"):
        yield alone("submit_only", "jobs/s", lambda: _submit(client), rounds=5, at_least=40_000)


@contextmanager
def two_cpus() -> Iterator[tuple[Client, Any]]:
    """A cluster of 2 CPUs for both, warm: each has run its jobs once."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        try:
            report = clusters.up(state_dir=state, num_cpus=2)
            import ray  # noqa: PLC0415 - after the environment that the head needs

            try:
                with connect(report.address, start=False) as client:
                    plain = ray.remote(no_op)
                    check_items(client.map(no_op, range(JOBS)).results(120))
                    free(ray)
                    ray.get([plain.remote(item) for item in range(JOBS)])
                    yield client, plain
            finally:
                # Ray ends this process where it finds the cluster gone, and what went wrong would not be shown
                ray.shutdown()
        finally:
            clusters.down(state_dir=state)


def warm(client: Client) -> None:
    """Have our slots' processes there, as Ray keeps those of its workers: `free` has ended them."""
    check_items(client.map(no_op, range(200)).results(120))


def map_rate(client: Client, count: int) -> float:
    """Jobs a second of one map, first submit to last result."""
    warm(client)
    start = time.perf_counter()
    results = client.map(no_op, range(count)).results(300)
    rate = count / (time.perf_counter() - start)
    check_items(results)
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


def loop_rate(plain: Any) -> float:
    """The same of a loop of plain Ray tasks, of which fewer are enough: the rate of more is no other."""
    import ray  # noqa: PLC0415

    free(ray)
    start = time.perf_counter()
    results = ray.get([plain.remote(item) for item in range(JOBS)])
    rate = JOBS / (time.perf_counter() - start)
    check_items(results)
    return rate


def check_items(results: list[Any]) -> None:
    """Every item exactly once, and none in this process."""
    assert [item for item, _ in results] == list(range(len(results))), "results are not the items"
    assert os.getpid() not in {pid for _, pid in results}, "jobs ran in the driver"


def free(ray: Any) -> None:
    """Wait until our idle slots have given their CPUs back: the peer gets the whole machine, as we do."""
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, "our slots keep their CPUs"
        time.sleep(0.05)
