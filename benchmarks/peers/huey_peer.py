"""Huey on SQLite with its default of full sync, two worker processes, polled every millisecond."""

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import huey as package

from benchmarks.peers.talk import ended, no_op, serve, state_folder

huey = package.SqliteHuey(filename=str(state_folder() / "huey.db"))
task = huey.task()(no_op)


def _get(result: Any, seconds: float = 0.001) -> Any:
    """Waiting is polling: often for one job, seldom while many run, as each look takes the database's lock."""
    return result.get(blocking=True, backoff=1, max_delay=seconds)


def _serve() -> None:
    words = [sys.executable, "-m", "benchmarks.peers.huey_peer", str(state_folder()), "consume"]
    consumer = subprocess.Popen(words, stdout=sys.stderr)
    try:
        _get(task(0))
        serve(
            f"Huey {version('huey')}",
            lambda count: [_get(one, 0.1) for one in [task(item) for item in range(count)]],
            lambda item: _get(task(item)),
        )
    finally:
        ended(consumer)


if __name__ == "__main__":
    if sys.argv[2:] == ["consume"]:
        huey.create_consumer(workers=2, worker_type="process", initial_delay=0.001, backoff=1, max_delay=0.001).run()
    else:
        _serve()
