"""Dramatiq with Redis as broker and for results, two worker processes of one thread."""

import os
import subprocess
import sys
from importlib.metadata import version

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.redis_server import redis_url
from benchmarks.peers.talk import ended, no_op, serve, state_folder

_URL = "KOS_RAY_PEERS_REDIS"


def _actor(url: str) -> "dramatiq.Actor[[int], tuple[int, int]]":
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
    dramatiq.set_broker(broker)
    return dramatiq.actor(no_op, store_results=True)


def _serve(url: str) -> None:
    actor = _actor(url)
    words = [sys.executable, "-m", "dramatiq", "benchmarks.peers.dramatiq_peer", "-p", "2", "-t", "1"]
    worker = subprocess.Popen(words, stdout=sys.stderr, env={**os.environ, _URL: url})
    try:
        actor.send(0).get_result(block=True, timeout=60_000)
        serve(
            f"Dramatiq {version('dramatiq')}",
            lambda count: [
                one.get_result(block=True, timeout=600_000) for one in [actor.send(item) for item in range(count)]
            ],
            lambda item: actor.send(item).get_result(block=True, timeout=60_000),
        )
    finally:
        ended(worker)


if __name__ == "__main__":
    with redis_url(state_folder()) as found:
        _serve(found)
elif _URL in os.environ:
    _actor(os.environ[_URL])
