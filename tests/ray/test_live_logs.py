"""Output is seen while it is made: each job goes on only when the test has seen what it printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import said

from tests.ray.conftest import CODE, KosCluster, wait_until

pytestmark = pytest.mark.ray

KOS = str(Path(sys.executable).with_name("kos"))


def kos_process(kos: KosCluster, *words: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "KOS_ADDRESS": kos.cluster.address, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([KOS, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_logs_of_a_running_job(kos: KosCluster, tmp_path: Path) -> None:
    """`job.logs()` has what is there so far; before the job is entered, that is nothing."""
    job = kos.client.submit(said.speak, str(tmp_path), code=CODE)
    wait_until(lambda: bool(job.history()) and job.logs() == f"hello from {job.id}\n")
    assert kos.client.log_bytes(job.id, 1, 6) == f"from {job.id}\n".encode()
    (tmp_path / "seen").touch()
    job.result(60)
    assert job.logs() == f"hello from {job.id}\ngoodbye é\n"
    assert kos.client.log_bytes(job.id, start=len(job.logs().encode())) == b""


def test_kos_logs_follows(kos: KosCluster, tmp_path: Path) -> None:
    """`kos logs -f` shows a line while the job runs, and ends with it."""
    job = kos.client.submit(said.speak, str(tmp_path), code=CODE)
    wait_until(lambda: bool(job.history()))
    with kos_process(kos, "logs", job.id, "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"hello from {job.id}\n"
        assert job.state in ("launched", "running")
        (tmp_path / "seen").touch()
        rest, errors = process.communicate(timeout=120)
    assert (process.returncode, rest) == (0, "goodbye é\n"), errors


def test_kos_run_shows_output_as_it_comes(kos: KosCluster, tmp_path: Path) -> None:
    """A command's line is there before the command ends; its exit code is that of `kos run`."""
    script = f"echo begun; while [ ! -e {tmp_path}/seen ]; do sleep 0.05; done; echo over; exit 3"
    with kos_process(kos, "run", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        (tmp_path / "seen").touch()
        rest, errors = process.communicate(timeout=120)
    assert (process.returncode, rest) == (3, "over\n"), errors
