"""A local Ray head: started as our child, found again by its record, ended by its process id alone."""

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from kos_ray.model.errors import ClusterUnreachable

RECORD = "cluster.json"
LOCK = "cluster.lock"
LOG = "ray.log"
#: seconds that a head may take to open its port; cold disks are slow
_START_S = 90.0
_STOP_S = 20.0
#: seconds in which whoever is named answers a connection
_ANSWER_S = 10.0
#: outside of Ray's range for worker ports (10002 to 19999) and of the kernel's for clients (from 32768)
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Head:
    """A head that we started: its address, and the process that holds it all, by id and birth."""

    address: str
    pid: int
    born: float
    token_path: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return _process(self.pid, self.born) is not None


def read_record(state_dir: Path) -> Head | None:
    """The head that was started for a state directory, if its process lives."""
    try:
        head = Head(**json.loads((state_dir / RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return head if head.alive else None


@contextlib.contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Look and start while nobody else does: two that start at once would have a head each, and one record."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state_dir / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(state_dir: Path, num_cpus: int | None) -> Head:
    """Start a Ray head for a state directory, which `alone` has made. It serves when `ready` has returned.

    `ray start --block` stays the parent of all of Ray's processes and takes them along when it ends.
    """
    port = free_port()
    token_path = state_dir / "ray_token"
    if not token_path.exists():
        token_path.touch(mode=0o600)
        token_path.write_text(secrets.token_hex(32))
    command = [
        str(Path(sysconfig.get_path("scripts")) / "ray"),
        "start",
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        f"--port={port}",
        "--disable-usage-stats",
        f"--include-dashboard={'true' if _has_dashboard() else 'false'}",
        *([f"--num-cpus={num_cpus}"] if num_cpus else []),
    ]
    with (state_dir / LOG).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | environment(str(token_path)),
        )
    born = psutil.Process(process.pid).create_time()
    head = Head(f"127.0.0.1:{port}", process.pid, born, str(token_path))
    (state_dir / RECORD).write_text(json.dumps(asdict(head)))
    return head


def environment(token_path: str) -> dict[str, str]:
    """What a process needs in its environment to talk to a head of ours; set before `import ray`."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_path,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }


def wait_for_port(head: Head, state_dir: Path) -> None:
    """Wait until the head takes connections.

    Raises:
        ClusterUnreachable: it ended, or took too long; the message has the end of its log.

    """
    host, port = head.address.rsplit(":", 1)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and head.alive:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.02)
    tail = (state_dir / LOG).read_text(errors="replace").strip().splitlines()[-5:]
    raise ClusterUnreachable("the local Ray head did not start: " + " / ".join(tail))


def nobody_at(address: str) -> str:
    """Why nothing takes connections at HOST:PORT, "" where something does: Ray itself tries for more than a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return ""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
            return ""
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)


def stop(state_dir: Path) -> bool:
    """End the head that was started for a state directory, and every process that it started. False: none ran."""
    head = read_record(state_dir)
    (state_dir / RECORD).unlink(missing_ok=True)
    process = _process(head.pid, head.born) if head else None
    if process is None:
        return False
    family = [process, *process.children(recursive=True)]
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=_STOP_S / 4)
    for survivor in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(left, timeout=_STOP_S)
    return True


def _process(pid: int, born: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def free_port() -> int:
    """A port on this machine that nobody listens on, where Ray has no use for it."""
    for port in secrets.SystemRandom().sample(_PORTS, len(_PORTS)):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ClusterUnreachable(f"no port from {_PORTS.start} to {_PORTS.stop} is free")


def _has_dashboard() -> bool:
    """Whether `ray[default]` is installed, without importing it."""
    return any(Path(entry, "aiohttp_cors").is_dir() for entry in sys.path if entry)
