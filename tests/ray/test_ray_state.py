"""Ray's own state kept in Redis, or in the embedded RocksDB store: the head dies, and work on other nodes goes on."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from kos_ray.runtime.head import free_port, nobody_at
from tests.ray.conftest import wait_until

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent
#: `ray start --head` refuses to start where a node of the same cluster runs on the machine
_HEAD = """
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams
options = {"gcs_server_port": int(sys.argv[1]), "num_cpus": 0, "include_dashboard": False}
Node(RayParams(node_ip_address=sys.argv[2], **options), head=True, shutdown_at_exit=False, spawn_reaper=False)
signal.pause()
"""


class Machines:
    """A head without CPUs and a node with two, each a process that holds all of its own; Ray's state is kept."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.ip = ray.util.get_node_ip_address()
        leave = ("RAY_", "KOS_")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(leave)}
        self._env |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(folder)}
        self._env |= {"XDG_STATE_HOME": str(folder / "xdg"), "KOS_ADDRESS": f"{self.ip}:{self.port}"}
        self._of_head = environment
        self.head = self.start_head()
        self.node = self.start_node()

    def start_head(self) -> psutil.Process:
        """Start one, for the first time or again, and wait until it takes connections."""
        head = self._run([sys.executable, "-c", _HEAD, str(self.port), self.ip])
        wait_until(lambda: not nobody_at(f"{self.ip}:{self.port}"))
        return head

    def start_node(self) -> psutil.Process:
        options = ["--block", f"--node-ip-address={self.ip}", "--disable-usage-stats", "--num-cpus=2"]
        return self._run([str(BIN / "ray"), "start", f"--address={self.ip}:{self.port}", *options])

    def _run(self, command: list[str]) -> psutil.Process:
        with (self.folder / "ray.log").open("ab") as log:
            env = self._env | self._of_head
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        return psutil.Process(process.pid)

    def kos(self, *args: str) -> Any:
        command = [str(BIN / "kos"), *args, "--json"]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, f"kos {' '.join(args)}: {done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def kill(self, process: psutil.Process) -> None:
        """A machine dies, with all that runs on it."""
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=20)


@pytest.fixture(params=["redis", "rocksdb"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    redis = None
    if request.param == "rocksdb":
        environment = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(tmp_path / "rocksdb")}
    else:
        server = shutil.which("redis-server")
        if server is None:
            pytest.skip("there is no redis-server: apt-get install redis-server")
        port = free_port()
        redis = subprocess.Popen(
            [server, "--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes", "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
        )
        environment = {"RAY_REDIS_ADDRESS": f"127.0.0.1:{port}"}
    machines = Machines(tmp_path, environment)
    try:
        yield machines
    finally:
        for process in (machines.head, machines.node):
            machines.kill(process)
        if redis is not None:
            redis.kill()
            redis.wait()


def test_the_head_dies_and_work_on_another_node_goes_on(machines: Machines, tmp_path: Path) -> None:
    """It is entered once, and its end is heard by the scheduler that comes after."""
    state = str(tmp_path / "state")
    first = machines.kos("up", "--state", state)
    pids, release = tmp_path / "pids", tmp_path / "release"
    command = f"echo $$ >> {pids}; while [ ! -e {release} ]; do sleep 0.05; done"
    document = tmp_path / "job.yaml"
    document.write_text(json.dumps({"id": "long", "run": ["sh", "-c", command], "resources": {"cpu": 1}}))
    machines.kos("submit", str(document))
    wait_until(pids.exists)
    wait_until(lambda: machines.kos("get", "long")["state"] == "running")
    machines.kill(machines.head)
    machines.head = machines.start_head()
    again = machines.kos("up", "--state", state)
    assert again["cluster_id"] == first["cluster_id"]
    release.touch()
    machines.kos("wait", "long", "--timeout", "120")
    found = machines.kos("get", "long")
    assert (found["state"], found["attempt"]) == ("succeeded", 1)
    assert len(pids.read_text().split()) == 1, "it was entered twice"
