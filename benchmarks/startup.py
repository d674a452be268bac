"""How long things take to start, each in a process of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks.report import Row, alone, compare
from kos_ray.runtime import connect, head

_BIN = Path(sys.executable).parent


def rows(wanted: Callable[[str], bool]) -> Iterator[Row]:
    """Import, help, and `kos up` beside a bare Ray head."""
    if wanted("import_kos_ray"):
        yield alone("import_kos_ray", "s", _import, rounds=7, at_most=0.2)
    if wanted("kos_help"):
        yield alone("kos_help", "s", lambda: _time([str(_BIN / "kos"), "--help"]), rounds=7, at_most=0.5)
    if wanted("kos_up"):
        yield compare("kos_up", "s", _kos_up, _ray_start, rounds=3, at_most=1.5)


def _import() -> float:
    """What the import adds to an empty program."""
    return _run("-c", "import kos_ray") - _run("-c", "pass")


def _run(*args: str) -> float:
    return _time([sys.executable, *args])


def _time(command: list[str], env: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    return time.perf_counter() - start


def _kos_up() -> float:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        try:
            return _time([str(_BIN / "kos"), "up", "--state", str(state), "--num-cpus", "2"])
        finally:
            connect.down(state_dir=state)


def _ray_start() -> float:
    """`ray start --head`, and the end of what it started: its children are found by the port in their command lines."""
    port = head.free_port()
    before = {process.pid for process in psutil.process_iter()}
    try:
        return _time(
            [
                *(str(_BIN / "ray"), "start", "--head", f"--port={port}", "--num-cpus=2"),
                *("--include-dashboard=false", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
            ],
            os.environ | {"RAY_AUTH_MODE": "disabled"},
        )
    finally:
        _end_new(before, str(port))


def _end_new(before: set[int], port: str) -> None:
    roots = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if process.pid not in before and port in line:
            roots.append(process)
    family = {child for root in roots for child in [root, *root.children(recursive=True)]}
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)
