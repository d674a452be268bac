"""`kos sim`: rehearsals from the command line. No cluster is asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fake_cluster import Kos

WORKLOAD = """\
streams:
  - name: short
    jobs: 40
    arrivals: {poisson: 30/1m}
    run_time: {lognormal: {median: 5s, sigma: 1}}
    resources: [{cpu: 1}, {cpu: 2}]
    namespace: a
  - {name: wide, jobs: 4, arrivals: {every: 20s}, run_time: 10s, resources: {cpu: 4}, priority: high, namespace: b}
"""


def workload(tmp_path: Path) -> str:
    file = tmp_path / "w.yaml"
    file.write_text(WORKLOAD)
    return str(file)


def test_a_rehearsal_as_text_and_as_json(kos: Kos, tmp_path: Path) -> None:
    words = ("sim", "run", "--cluster", "2x4cpu", "--workload", workload(tmp_path), "--seed", "3")
    code, out, _ = kos(*words)
    assert code == 0
    assert "44, 44 succeeded, 0 never ended" in out
    assert "namespace b" in out
    assert "CPU in use over" in out
    assert "█" in out
    assert "jobs that wait" in out
    code, out, _ = kos(*words, "--json", "--check")
    found = json.loads(out)
    assert code == 0
    assert found["jobs"] == found["succeeded"] == 44
    assert list(found["bands"]) == ["realtime", "default"]
    assert found["capacity"] == {"CPU": 8.0}


def test_same_inputs_same_bytes_in_any_process(tmp_path: Path) -> None:
    """Whatever the hashes of texts are: another process has others."""
    file = workload(tmp_path)

    def run(seed: int, salt: str) -> bytes:
        code = "from kos_ray.cli.main import run; run()"
        words = ["sim", "run", "--cluster", "2x4cpu", "--workload", file, "--seed", str(seed), "--json"]
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        return subprocess.run(
            [sys.executable, "-c", code, *words], env=environment, capture_output=True, check=True, timeout=60
        ).stdout

    assert run(1, "1") == run(1, "2") != run(2, "1")


def test_what_never_ends_is_said(kos: Kos, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("streams:\n  - {jobs: 1, run_time: 1s, resources: {gpu: 1}}\n")
    code, out, err = kos("sim", "run", "--cluster", "1x4cpu", "--workload", str(file), "--json")
    assert (code, json.loads(out)["unfinished"]) == (1, 1)
    assert "1 jobs never ended" in err


def test_wrong_input_is_a_text_and_a_code(kos: Kos, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("streams:\n  - {jobs: none, run_time: 1s}\n")
    code, out, err = kos("sim", "run", "--cluster", "1x4cpu", "--workload", str(file))
    assert (code, out) == (2, "")
    assert f"{file}:2: streams[0].jobs: expected a number of jobs" in err
    code, out, err = kos("sim", "run", "--cluster", "1x4cpu", "--workload", str(file), "--arrival-scale", "inf")
    assert (code, out) == (2, "")


def test_policies_side_by_side(kos: Kos, tmp_path: Path) -> None:
    """Last come, first served: the longest wait is longer, surely."""
    words = ("sim", "compare", "--cluster", "1x4cpu", "--workload", workload(tmp_path), "--policy", "default")
    code, out, _ = kos(*words, "--policy", "scheduler_mode=lifo", "--seeds", "4")
    assert code == 0
    assert out.splitlines()[0].split() == ["default", "scheduler_mode=lifo"]
    assert "±" in out
    code, out, _ = kos(*words, "--policy", "scheduler_mode=lifo", "--seeds", "4", "--first-seed", "2", "--json")
    found = json.loads(out)
    assert [one["policy"] for one in found["policies"]] == ["default", "scheduler_mode=lifo"]
    worse = found["policies"][1]["differences"]["max_wait_s"]
    assert worse["mean"] > worse["half"] > 0
    code, _, err = kos(*words)
    assert (code, "expected two or more different ones" in err) == (2, True)


def test_a_rehearsal_is_drawn(kos: Kos, tmp_path: Path) -> None:
    words = ("sim", "run", "--cluster", "2x4cpu", "--workload", workload(tmp_path), "--plot")
    assert kos(*words, str(tmp_path / "a.png"))[0] == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = kos(*words, str(tmp_path / "a.jpg"))
    assert code == 2
    assert "ends in .png" in err
