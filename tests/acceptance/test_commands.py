"""The command line on one real cluster, as people use it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# ctrl-C must arrive even where the tests themselves run in a shell's background, which ignores it
_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
KOS = f"{_CTRL_C} import sys; from kos_ray.cli.main import run; sys.argv[0] = 'kos'; run()"
KAICTL = f"{_CTRL_C} import sys; from kos_ray.cli.kaictl import run; sys.argv[0] = 'kaictl'; run()"
WORKFLOW = Path(__file__).parents[2] / "configs" / "examples" / "workflow.yaml"

pytestmark = pytest.mark.ray


class Terminal:
    """Runs `kos` and `kaictl` in a folder, with a state directory of its own."""

    def __init__(self, state: Path, folder: Path) -> None:
        self.folder = folder
        leave = ("RAY_", "KOS_")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(leave)}
        self._env |= {"KOS_STATE_DIR": str(state), "XDG_STATE_HOME": str(state / "xdg")}

    def start(self, *words: str, program: str = KOS) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env=self._env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int = 0, program: str = KOS) -> tuple[str, str]:
        process = self.start(*words, program=program)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{words}: exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out, err

    def json(self, *words: str, code: int = 0, program: str = KOS) -> Any:
        return json.loads(self.run(*words, "--json", code=code, program=program)[0])


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("folder")
    terminal = Terminal(tmp_path_factory.mktemp("state"), folder)
    terminal.run("up", "--num-cpus", "2")
    yield terminal
    terminal.run("down")


def wait_for(terminal: Terminal, job: str, state: str) -> None:
    """Until a job, which somebody else may only just submit, is in a state."""
    deadline = time.monotonic() + 90
    while True:
        out, _ = terminal.start("get", job, "--json").communicate(timeout=60)
        found = json.loads(out)["state"] if out else "not there"
        if found == state:
            return
        assert time.monotonic() < deadline, f"{job} is {found}, not {state}"


def test_a_workflow_with_an_array_is_reported_whole(terminal: Terminal) -> None:
    out, _ = terminal.run("submit", str(WORKFLOW), "--wait")
    rows = [line for line in out.splitlines() if "averages/" in line and "succeeded" in line]
    assert len(rows) == 19
    assert "averages/samples.15" in out
    assert "19 succeeded" in out

    listed = terminal.json("ls", "--limit", "100")["jobs"]
    assert len(listed) == 19
    assert "averages/samples.3" in terminal.run("ls")[0]
    drawn, _ = terminal.run("graph", "averages")
    assert "averages/samples x16  16 succeeded" in drawn
    assert terminal.run("graph", "averages/mean")[0] == drawn
    assert terminal.run("graph", "averages", "--format", "mermaid")[0].startswith("flowchart LR")

    page = terminal.json("ls", "--name", "averages/samples", "--limit", "10")
    rest = terminal.json("ls", "--name", "averages/samples", "--limit", "10", "--before", str(page["next"]))
    assert [len(page["jobs"]), len(rest["jobs"]), rest["next"]] == [10, 6, None]
    assert len(terminal.json("ls", "--priority", "low")["jobs"]) == 16

    names = [event["name"] for event in terminal.json("events", "--since", "0", "--limit", "1000")["events"]]
    for name in ("job_submitted", "job_started", "job_completed"):
        assert names.count(name) == 19, name
    assert "node_joined" in names
    last = terminal.json("events", "--limit", "1")["events"]
    assert all(event["label"].startswith("averages/") for event in last if event["key"])


def test_run_is_like_running_it_here(terminal: Terminal) -> None:
    assert terminal.run("run", "--", "sh", "-c", "echo one; echo two >&2")[0] == "one\ntwo\n"
    _, err = terminal.run("run", "--name", "seven", "--", "sh", "-c", "exit 7", code=7)
    assert "exited with code 7" in err
    assert terminal.run("run", "statistics:fmean", "[1, 2, 6]")[0] == "3.0\n"
    (terminal.folder / "ours.py").write_text(
        "def main(count, power=1):\n    print('works')\n    return count ** power\n"
    )
    assert terminal.run("run", "ours:main", "3", "power=2")[0] == "works\n9\n"
    _, err = terminal.run("run", "ours:main", "x", "power=2", code=1)
    assert "TypeError" in err
    failed = [event["name"] for event in terminal.json("events", "--limit", "20")["events"]]
    assert "job_failed" in failed
    assert "agent.signal.taskFailure" in failed


def test_output_comes_while_the_job_runs(terminal: Terminal) -> None:
    gate = terminal.folder / "gate"
    command = f"echo first; while [ ! -e {gate} ]; do sleep 0.1; done; echo second"
    process = terminal.start("run", "--name", "slow", "--", "sh", "-c", command)
    try:
        wait_for(terminal, "slow", "running")
        assert process.poll() is None
    finally:
        gate.touch()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "first\nsecond\n")
    assert terminal.run("logs", "slow", "-f")[0] == "first\nsecond\n"


def test_ctrl_c_cancels(terminal: Terminal) -> None:
    process = terminal.start("run", "--name", "endless", "--", "sleep", "600")
    wait_for(terminal, "endless", "running")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    wait_for(terminal, "endless", "cancelled")


def test_hold_release_pause_resume_reprioritise_rerun(terminal: Terminal, tmp_path: Path) -> None:
    document = tmp_path / "jobs.json"
    blocker = {"id": "blocker", "run": "sleep 600", "resources": {"cpu": 2}}
    waiting = [{"id": f"many-{index}", "run": "true", "tags": ["many"]} for index in range(3)]
    document.write_text(json.dumps([blocker, *waiting]))
    terminal.run("submit", str(document))
    wait_for(terminal, "blocker", "running")

    would = terminal.json("hold", "--where", "tag=many", "--dry-run")
    assert [view["name"] for view in would["jobs"]] == ["many-2", "many-1", "many-0"]
    assert terminal.json("hold", "--where", "tag=many") == {"held": 3}
    assert len(terminal.json("ls", "--state", "held")["jobs"]) == 3
    assert "moved to realtime" in terminal.run("reprioritise", "many-1", "--priority", "high")[0]
    assert terminal.json("get", "many-1")["band"] == 1
    live, _ = terminal.run("graph", "--live")
    assert "many-0  held" in live
    assert "blocker  running" in terminal.run("agent.task.graph", "--format", "ascii", program=KAICTL)[0]

    terminal.run("agent.task.pause", "--id", "blocker", program=KAICTL)
    wait_for(terminal, "blocker", "held")
    terminal.run("release", "--where", "tag=many")
    for index in range(3):
        wait_for(terminal, f"many-{index}", "succeeded")
    terminal.run("agent.task.resume", "--id", "blocker", program=KAICTL)
    wait_for(terminal, "blocker", "running")
    top, _ = terminal.run("top", "--once")
    assert "blocker" in top
    assert "██████████ 2/2" in top
    terminal.run("cancel", "blocker")
    wait_for(terminal, "blocker", "cancelled")
    assert terminal.run("cancel", "blocker", code=1)[1] == "kos: nothing to cancel: they had all ended\n"
    (again,) = terminal.json("rerun", "many-0")["jobs"]
    terminal.run("wait", again["id"])
    names = {event["name"] for event in terminal.json("events", "--since", "0", "--limit", "5000")["events"]}
    assert {"job_held", "job_paused", "job_released", "job_reprioritised", "job_cancelled"} <= names


def test_doctor_finds_nothing_bad(terminal: Terminal) -> None:
    found = terminal.json("doctor")
    assert found["healthy"], found
    subjects = {one["subject"]: one["level"] for one in found["findings"]}
    assert subjects["head"] == "ok"
    assert subjects["port"] == "ok"
    assert subjects["Ray auth"] == "ok"
    assert {row["name"] for row in terminal.json("config", "show")} >= {"state directory", "address", "namespace"}
    assert terminal.json("nodes")[0]["head"]


def test_unknown_jobs_and_wrong_words(terminal: Terminal) -> None:
    for words, code in ((("get", "absent"), 4), (("graph", "absent"), 4), (("logs", "absent", "-f"), 4)):
        _, err = terminal.run(*words, code=code)
        assert err.count("\n") <= 2
        assert err.startswith("kos: ")
