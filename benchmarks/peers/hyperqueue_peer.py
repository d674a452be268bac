"""HyperQueue: server and client in this process, a worker of two CPUs. It hands back no results of Python functions.

Its client looks once a second whether a job is over: of one job, the end is read from a file that the job writes.
"""

import time
from importlib.metadata import version
from pathlib import Path

from hyperqueue import Client, Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

from benchmarks.peers.talk import no_op, serve, state_folder


def _run(client: Client, count: int) -> None:
    job = Job()
    for item in range(count):
        job.function(no_op, args=(item,), stdout=None, stderr=None)
    client.wait_for_jobs([client.submit(job)])


def _trip(client: Client, item: int) -> None:
    path = state_folder() / f"{item}-{time.monotonic_ns()}"
    job = Job()
    job.function(Path.touch, args=(path,), stdout=None, stderr=None)
    client.submit(job)
    while not path.exists():
        time.sleep(0.001)


if __name__ == "__main__":
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        _run(client, 1)
        serve(
            f"HyperQueue {version('hyperqueue')}", lambda count: _run(client, count), lambda item: _trip(client, item)
        )
