"""A Redis of one test's own; skipped where none is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.peers.redis_server import redis_url


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Its address; it ends with the block."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server (Debian: apt install redis-server)")
    with redis_url(folder) as url:
        yield f"{url}/0"
