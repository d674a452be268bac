"""Prefect: its own server on SQLite; each state of a task is stored. A map's tasks run in two processes.

One task runs in a thread of this process, as to start processes for it takes seconds.
"""

import os

from benchmarks.peers.talk import no_op, serve, state_folder

os.environ["PREFECT_HOME"] = str(state_folder() / "prefect")
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

import prefect
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.testing.utilities import prefect_test_harness

task = prefect.task(no_op, cache_policy=None)


@prefect.flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def run_all(count: int) -> list[tuple[int, int]]:
    """A map."""
    return [future.result() for future in task.map(range(count))]


@prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def run_one(item: int) -> tuple[int, int]:
    """One job."""
    return task.submit(item).result()


if __name__ == "__main__":
    with prefect_test_harness():
        run_all(2)
        serve(f"Prefect {prefect.__version__}", run_all, run_one)
