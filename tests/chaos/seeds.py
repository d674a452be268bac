"""One seed in a process of its own, and where that is permitted in namespaces of its own."""

import json
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: of the file system that is filled
_DISK_BYTES = 128 * 2**20
#: seconds besides those with faults: starting, losing the head, settling, judging
_MORE_S = 660.0
_UNSHARE = ("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--net", "--kill-child=SIGKILL")


@cache
def isolated() -> bool:
    """Whether a run may have its own processes, mounts and network."""
    wanted = [*_UNSHARE, "bash", "-c", "ip link set lo up && mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(wanted, capture_output=True, check=False, timeout=30).returncode == 0
    except FileNotFoundError:
        return False


def run_seed(seed: int, seconds: float) -> dict[str, Any]:
    """The verdict on one seed: see `tests.chaos.run.Verdict`."""
    folder = Path(tempfile.mkdtemp(prefix="kx"))
    command = [sys.executable, "-m", "tests.chaos.run", str(seed), str(seconds), str(folder)]
    if isolated():
        ray, disk = folder / "ray", folder / "disk"
        ray.mkdir()
        disk.mkdir()
        ray_at = Path(tempfile.gettempdir()) / "ray"
        ray_at.mkdir(exist_ok=True)
        steps = [
            "ip link set lo up",
            f"mount --bind {ray} {ray_at}",
            "mount -t tmpfs -o size=8g tmpfs /dev/shm",
            f"mount -t tmpfs -o size={_DISK_BYTES} tmpfs {disk}",
            f"exec {' '.join(command)} {disk}",
        ]
        command = [*_UNSHARE, "bash", "-c", " && ".join(steps)]
    try:
        found = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds + _MORE_S
        )
        lines = found.stdout.splitlines()
        verdict: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        wrong = f"the run ended with {found.returncode}: {found.stderr[-1500:]}"
    except subprocess.TimeoutExpired:
        verdict, wrong = {}, f"the run did not end within {seconds + _MORE_S:.0f} s"
    if not verdict:
        verdict = {"seed": seed, "jobs": 0, "landed": {}, "problems": [wrong]}
    if verdict["problems"]:
        sys.stderr.write(f"kept: {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict
