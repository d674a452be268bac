"""What order and eviction give: an urgent job on a full cluster, and a big job before many small ones."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kos_ray
from benchmarks.report import Row, alone
from kos_ray.client import Client, connect
from kos_ray.client.calls import Call
from kos_ray.client.job import Job
from kos_ray.runtime import connect as clusters

NODES = 3
CPUS = 2 * NODES
TURNS = 20
SMALL = 40
NAMES = ("urgent_start", "big_passed_by", "big_utilisation")


def hold(folder: str) -> int:
    """A job that counts until `release` is there, saves where it is, and leaves at once when it is asked to."""
    context = kos_ray.context()
    step = int(context.restored or 0)
    while not (Path(folder) / "release").exists() and not context.should_stop():
        step += 1
        time.sleep(0.01)
    context.checkpoint(step)
    return step


def entered() -> float:
    """When it was entered, by the clock that all processes of the machine share."""
    return time.monotonic()


def work(item: int) -> tuple[float, float]:
    """A job of one to two seconds, so that no two end together; when it began and ended."""
    start = time.monotonic()
    time.sleep(1 + item * 7 % 10 / 10)
    return start, time.monotonic()


def rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """`urgent_start`, `big_passed_by` and `big_utilisation`."""
    with cluster_of(NODES) as client:
        if wanted("urgent_start"):
            yield alone("urgent_start", "ms", lambda: _urgent(client), rounds=1, at_most=1_000)
        if wanted("big_passed_by") or wanted("big_utilisation"):
            mine, theirs = _ours(client), _plain_ray()
            yield _row("big_passed_by", "jobs", mine[0], theirs[0], f"<= {SMALL // 2} jobs", met=mine[0] <= SMALL / 2)
            yield _row("big_utilisation", "%", mine[1], theirs[1], ">= 90 %", met=mine[1] >= 90)


def _row(name: str, unit: str, value: float, peer: float, goal: str, *, met: bool) -> Row:
    return Row(name=name, value=value, unit=unit, peer=peer, ratio=value / peer if peer else None, goal=goal, met=met)


@contextmanager
def cluster_of(nodes: int) -> Iterator[Client]:
    """So many nodes of two CPUs each."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray  # noqa: PLC0415 - after its environment
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            for _ in range(nodes - 1):
                cluster.add_node(num_cpus=2)
            ray.init(address=cluster.address, namespace="kos_ray", log_to_driver=False)
            clusters.up(address=cluster.address, state_dir=Path(folder) / "state")
            with connect(start=False) as client:
                until(lambda: sum(node.alive for node in client.nodes()) == nodes)
                yield client
            clusters.down(address=cluster.address)
        finally:
            ray.shutdown()
            cluster.shutdown()


def _urgent(client: Client) -> float:
    """Milliseconds from the submission of a critical job to its entry, all CPUs held by jobs that save their state."""
    with tempfile.TemporaryDirectory() as folder:
        low = [client.submit(hold, folder, priority="background", preemption="checkpoint") for _ in range(CPUS)]
        times = []
        for _ in range(TURNS):
            until(lambda: all(has_run_a_while(client, job) for job in low))
            start = time.monotonic()
            times.append(client.submit(entered, priority="critical").result(60) - start)
        (Path(folder) / "release").touch()
        assert all(job.result(60) > 0 for job in low)
        evicted = sum(attempt.end == "stopped" for job in low for attempt in job.history())
        assert evicted == TURNS, f"{evicted} attempts made room for {TURNS} urgent jobs"
    return statistics.median(times) * 1e3


def has_run_a_while(client: Client, job: Job) -> bool:
    """Longer than the time in which the scheduler leaves a new attempt alone."""
    view = client.get(job.id)
    return view.state == "running" and time.time() - view.entered_us / 1e6 > 1.5


def _ours(client: Client) -> tuple[float, float]:
    client.submit_many([Call(work, (i,)) for i in range(CPUS)]).results(120)
    first = client.submit_many([Call(work, (i,)) for i in range(CPUS - 1)])
    big = client.submit(work, 0, resources={"cpu": 2})
    small = client.submit_many([Call(work, (i,)) for i in range(SMALL)])
    return _judged(first.results(120), big.result(120), small.results(120))


def _plain_ray() -> tuple[float, float]:
    import ray  # noqa: PLC0415

    until(lambda: ray.available_resources().get("CPU", 0) == CPUS)
    task = ray.remote(work)
    ray.get([task.remote(i) for i in range(CPUS)])
    first = [task.remote(i) for i in range(CPUS - 1)]
    big = task.options(num_cpus=2).remote(0)
    small = [task.remote(i) for i in range(SMALL)]
    return _judged(ray.get(first), ray.get(big), ray.get(small))


def _judged(first: list[Any], big: tuple[float, float], small: list[Any]) -> tuple[float, float]:
    """How many later jobs began before the big one, and the part of all CPUs' time that was used, in percent."""
    passed = sum(start < big[0] for start, _ in small)
    spans = [*first, big, big, *small]
    used = sum(end - start for start, end in spans)
    # what is left over at the very end, when nothing waits any more, is nobody's fault
    last = max(start for start, _ in spans)
    begin = min(start for start, _ in spans)
    used_before = used - sum(max(0.0, end - last) for _, end in spans)
    return float(passed), 100 * used_before / (CPUS * (last - begin))


def until(condition: Callable[[], bool]) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
