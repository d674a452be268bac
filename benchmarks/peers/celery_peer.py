"""Celery with Redis as broker and for results, two prefork workers."""

import os
import subprocess
import sys

import celery

from benchmarks.peers.redis_server import redis_url
from benchmarks.peers.talk import ended, no_op, serve, state_folder

_URL = "KOS_RAY_PEERS_REDIS"
app = celery.Celery("peers", broker=os.environ.get(_URL), backend=os.environ.get(_URL))
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
task = app.task(name="no_op")(no_op)


def _serve(url: str) -> None:
    app.conf.update(broker_url=url, result_backend=url)
    words = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_peer", "worker", "-c", "2", "-l", "error"]
    worker = subprocess.Popen(words, stdout=sys.stderr, env={**os.environ, _URL: url})
    try:
        task.delay(0).get(timeout=60)
        serve(
            f"Celery {celery.__version__}",
            lambda count: celery.group(task.s(item) for item in range(count)).apply_async().get(),
            lambda item: task.delay(item).get(),
        )
    finally:
        ended(worker)


if __name__ == "__main__":
    with redis_url(state_folder()) as found:
        _serve(found)
