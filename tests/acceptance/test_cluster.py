"""The command line on a cluster of its own: up, work, the whole cluster killed, up again, down."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

KOS = str(Path(sys.executable).parent / "kos")
JOBS = 30

pytestmark = pytest.mark.ray


class Shell:
    """Runs `kos` with a state directory of its own, which only `kos up` is told: the others find the cluster."""

    def __init__(self, state: Path) -> None:
        self.state = state
        # Its own clusters choose their own way to authenticate; nothing of another test's cluster may leak in.
        leave = ("RAY_", "KOS_")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(leave)}
        self._env |= {"HOME": str(state.parent), "XDG_STATE_HOME": str(state.parent / "xdg")}

    def run(self, *args: str, code: int = 0) -> str:
        done = subprocess.run([KOS, *args], env=self._env, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == code, f"kos {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if code else done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json"))

    def up(self) -> Any:
        return self.json("up", "--state", str(self.state), "--num-cpus", "2")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "state")
    yield shell
    shell.run("down")


def kill_cluster(state: Path) -> None:
    """SIGKILL to every process of the cluster, all at once."""
    head = psutil.Process(json.loads((state / "cluster.json").read_text())["pid"])
    family = [head, *head.children(recursive=True)]
    for process in family:
        process.suspend()
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=20)


def test_whole_cluster_killed_and_up_again(shell: Shell, tmp_path: Path) -> None:
    """`kos up` goes on where the journal ends: nothing acknowledged is lost, what had ended does not run again."""
    first = shell.up()
    assert not first["already_running"]
    again = shell.up()
    assert again["already_running"]
    assert again["cluster_id"] == first["cluster_id"]
    ran = tmp_path / "ran"
    command = f"sleep 0.3; echo $KOS_JOB_ID >> {ran}"
    jobs = [{"id": f"job-{i}", "run": ["sh", "-c", command]} for i in range(JOBS)]
    document = tmp_path / "jobs.yaml"
    document.write_text(yaml.safe_dump(jobs))
    submitted = shell.json("submit", str(document))["jobs"]
    assert len(submitted) == JOBS
    deadline = time.monotonic() + 120
    while not ran.exists() or len(ran.read_text().splitlines()) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kill_cluster(shell.state)
    before = Counter(ran.read_text().split())
    assert f"`kos up --state {shell.state}` goes on from its journal" in shell.run("status", code=3)

    back = shell.up()
    assert back["cluster_id"] == first["cluster_id"]
    ended = shell.json("wait", *(job["id"] for job in submitted), "--timeout", "120")
    after = Counter(ran.read_text().split())
    assert set(after) == {job["id"] for job in submitted}, "every job ran"
    twice = [job for job, times in after.items() if times > 1]
    assert len(twice) <= 2, "only what was running when all was killed may have run twice"
    assert all(job in before for job in twice)
    assert ended is not None
    status = shell.json("status")
    assert status["jobs"] == {"succeeded": JOBS}
    assert shell.json("journal", "verify") == {
        **shell.json("journal", "verify", "--state", str(shell.state)),
        "problems": [],
    }

    assert len(shell.json("down")["stopped"]) == 2
    assert shell.json("down")["stopped"] == []
    shell.up()
    listed = shell.json("ls", "--limit", "100")
    assert len(listed["jobs"] if isinstance(listed, dict) else listed) == JOBS, "jobs stay"
