"""A Redis of one benchmark's own, as it comes: in memory, nothing is synced before it is acknowledged."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.talk import ended


@contextmanager
def redis_url(folder: Path) -> Iterator[str]:
    """Its address; it ends with the block.

    Raises:
        FileNotFoundError: there is no redis-server on the path (Debian: `apt install redis-server`).

    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(words, stdout=sys.stderr)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        assert process.poll() is None, "redis-server does not start"
        yield f"redis://127.0.0.1:{port}"
    finally:
        ended(process)
