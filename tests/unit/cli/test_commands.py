"""The command line over a fake client: help, exit codes, JSON, errors without tracebacks."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_cluster import MONTAGE, WORKFLOW, Kos, World

from kos_ray.model.errors import (
    ClusterUnreachable,
    InvalidSpec,
    JobCancelled,
    JobFailed,
    JournalDamaged,
    KosError,
    NotFound,
    Refused,
)

COMMANDS = [
    *[
        (word,)
        for word in ("up", "down", "status", "submit", "plan", "run", "ls", "get", "explain", "logs", "result", "wait")
    ],
    *[(word,) for word in ("cancel", "hold", "release", "pause", "resume", "reprioritise", "rerun")],
    *[
        (word,)
        for word in ("events", "history", "graph", "nodes", "top", "init", "validate", "schema", "doctor", "demo")
    ],
    ("import", "wfformat"),
    *[("journal", word) for word in ("verify", "rehearse", "backup", "restore", "compact")],
    *[("notify", word) for word in ("ls", "redrive", "test", "secret")],
    *[("dlq", word) for word in ("ls", "redrive")],
    *[("audit", word) for word in ("verify", "anchor", "export")],
    ("config", "show"),
    *[("sim", word) for word in ("run", "compare")],
    *[
        ("schedule", word)
        for word in ("validate", "next", "describe", "calendar", "add", "ls", "get", "pause", "resume")
    ],
    *[("schedule", word) for word in ("apply", "trigger", "backfill", "rm")],
    *[("event", word) for word in ("emit", "watch", "serve", "files", "queue", "plugin")],
    *[("agent", word) for word in ("register", "start", "stop", "restart", "suspend", "resume")],
    *[("agent", word) for word in ("ls", "get", "call", "logs", "rm")],
    *[("scheduler", word) for word in ("show", "set", "load")],
    *[("lock", word) for word in ("ls", "get", "acquire", "release", "break")],
    *[("mailbox", word) for word in ("ls", "put", "take", "peek", "revive")],
    *[(word,) for word in ("signal", "approve", "reject", "approvals")],
    *[("node", word) for word in ("ls", "cordon", "uncordon", "drain", "label", "windows", "advise")],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example_and_json(kos: Kos, command: tuple[str, ...]) -> None:
    code, out, _ = kos(*command, "--help")
    assert code == 0
    assert f"Example:\n    kos {' '.join(command)}" in out
    assert "--json" in out


def test_no_command_is_left_out(kos: Kos) -> None:
    _, out, _ = kos("--help")
    listed = [line.split()[0] for line in out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert set(listed) == {command[0] for command in COMMANDS}
    assert "Exit codes" in out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['kos', '--help']\n"
        "from kos_ray.cli.main import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'pydantic', 'rich', 'yaml', 'cloudpickle'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("up",),
        ("down",),
        ("status",),
        ("submit", WORKFLOW),
        ("submit", WORKFLOW, "--dry-run"),
        ("submit", WORKFLOW, "--wait"),
        ("ls",),
        ("get", "a"),
        ("logs", "a", "--attempt", "2"),
        ("result", "a"),
        ("wait", "id-0", "id-1"),
        ("import", "wfformat", MONTAGE),
        ("import", "wfformat", MONTAGE, "--submit"),
        ("import", "wfformat", MONTAGE, "--wait"),
        ("journal", "verify"),
        ("nodes",),
        ("node", "ls"),
        ("node", "cordon", "head"),
        ("node", "drain", "head"),
        ("node", "windows", "head"),
        ("top",),
        ("graph", "id-0"),
        ("rerun", "a", "--from-failed"),
        ("validate", WORKFLOW),
        ("schema",),
        ("config", "show"),
        ("init", "-"),
        ("demo", "--scale-data", "0.0001"),
    ],
)
def test_json_is_one_document_and_text_is_there_too(kos: Kos, words: tuple[str, ...]) -> None:
    code, out, err = kos(*words, "--json")
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), dict | list)
    code, out, err = kos(*words)
    assert code == 0
    assert out + err


def test_results_that_json_cannot_hold(kos: Kos) -> None:
    _, out, _ = kos("result", "a", "--json")
    result = json.loads(out)["result"]
    assert result["value"] == [1, 2]
    assert result["data"]["bytes"] == 3
    assert result["odd"] == {"1": "nan"}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ClusterUnreachable("no scheduler answers at x"), 3, "start a cluster with `kos up`"),
        (NotFound("no job"), 4, "no job"),
        (InvalidSpec("a.yaml:3: run: expected"), 2, "a.yaml:3"),
        (Refused("the name is taken"), 2, "taken"),
        (JobFailed("it failed", job_id="j1"), 1, "kos logs j1"),
        (JobCancelled("it was cancelled"), 1, "cancelled"),
        (JournalDamaged("frame 3"), 1, "frame 3"),
        (KosError(), 1, "KosError"),
        (TimeoutError(), 1, "did not end in time"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_lines_and_exit_codes(kos: Kos, world: World, error: BaseException, code: int, text: str) -> None:
    world.error = error
    found, out, err = kos("result", "a")
    assert (found, out) == (code, "")
    assert text in err
    assert err.count("\n") <= 2


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("nonsense",), 2, "No such command"),
        (("get",), 2, "Missing argument"),
        (("get", "absent"), 4, "no job is named 'absent'"),
        (("ls", "--state", "gone"), 2, "expected one of blocked"),
        (("ls", "--limit", "0"), 2, "limit"),
        (("wait",), 2, "either jobs or --workflow"),
        (("wait", "a", "--workflow", "b"), 2, "either jobs or --workflow"),
        (("wait", "--workflow", "none"), 4, "no job is named none/"),
        (("submit", "absent.yaml"), 2, "cannot be read"),
        (("import", "wfformat", "absent.json"), 2, "cannot be read"),
        (("import", "wfformat", MONTAGE, "--out", "x", "--submit"), 2, "either --out or --submit"),
        (("import", "wfformat", MONTAGE, "--out", "/no/such/folder/x"), 2, "cannot be written"),
        (("import", "wfformat", MONTAGE, "--name", "a b", "--submit"), 2, "the workflow's name"),
        (("cancel", "a"), 1, "nothing to cancel"),
    ],
)
def test_wrong_usage_and_negative_answers(kos: Kos, words: tuple[str, ...], code: int, text: str) -> None:
    found, _, err = kos(*words)
    assert found == code
    assert text in err


def test_a_job_that_failed_is_the_exit_code_of_those_who_wait(kos: Kos, world: World) -> None:
    world.state = "failed"
    code, out, err = kos("submit", WORKFLOW, "--wait", "--json")
    assert code == 1
    assert json.loads(out)["states"] == {"failed": 4}
    assert "4 of 4 jobs did not succeed; averages/prepare failed: ValueError: boom" in err
    assert kos("cancel", "a", "b")[:2] == (0, "2 cancelled\n")


def test_a_wait_whose_time_is_over(kos: Kos, world: World) -> None:
    world.state = "running"
    code, _, err = kos("wait", "id-0", "--timeout", "0.5")
    assert code == 1
    assert "1 of 1 jobs have not ended" in err
    assert ("watch", ["id-0"], 0.5) in world.calls


def test_waiting_for_a_workflow(kos: Kos, world: World) -> None:
    kos("submit", WORKFLOW)
    assert kos("wait", "--workflow", "averages")[0] == 0
    assert ("watch", ["id-0", "id-1", "id-2", "id-3"], None) in world.calls


def test_options_reach_the_client(kos: Kos, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOS_ADDRESS", "h:1")
    kos("ls", "-n", "team", "--type", "t", "--limit", "3")
    assert ("connect", "h:1", "team") in world.calls
    assert ("jobs", {"state": None, "type": "t", "namespace": "team", "limit": 3}) in world.calls
    kos("up", "--state", "/x", "--num-cpus", "2")
    wanted = {"address": "h:1", "state_dir": Path("/x"), "num_cpus": 2, "adopt": False}
    assert ("up", wanted) in world.calls


def test_standard_input_and_namespace(kos: Kos, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"run": "nvidia-smi",\t"count": 2}'))
    assert kos("submit", "-", "-n", "team")[0] == 0
    assert world.drafts[0].spec.namespace == "team"
    assert world.drafts[0].count == 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("run: 3"))
    assert "<stdin>:1: run: expected" in kos("submit", "-")[2]


def test_an_imported_workflow_can_be_written_and_submitted(kos: Kos, world: World, tmp_path: Path) -> None:
    out = str(tmp_path / "jobs.json")
    assert kos("import", "wfformat", MONTAGE, "--name", "m", "--out", out)[0] == 0
    assert kos("submit", out)[0] == 0
    assert len(world.drafts) == 58
    assert world.drafts[0].name.startswith("m/mProject")
    assert json.loads(kos("import", "wfformat", MONTAGE, "--out", "-")[1])["name"] == "montage"


def test_a_broken_journal_is_a_negative_answer(kos: Kos, world: World) -> None:
    world.problems = ("frame 3: expected the hash x, found y",)
    code, out, _ = kos("journal", "verify")
    assert code == 1
    assert "frame 3" in out


def test_the_demo_stops_only_what_it_started(kos: Kos, world: World) -> None:
    code, out, _ = kos("demo", "--scale-data", "0.0001", "--state", "/s")
    assert code == 0
    assert "critical path" in out
    assert "the same as computed here" in out
    assert "/s" in out
    assert world.calls[-1] == ("down", {"state_dir": Path("/s")})
    world.running = True
    world.calls.clear()
    assert "the cluster was running before" in kos("demo", "--scale-data", "0.0001")[1]
    assert not [call for call in world.calls if call[0] == "down"]


def test_the_demo_fails_where_a_result_is_wrong(kos: Kos, world: World) -> None:
    world.digest_suffix = "x"
    code, out, _ = kos("demo", "--scale-data", "0.0001")
    assert code == 1
    assert "wrong or missing" in out
    assert world.calls[-1][0] == "down"


def test_the_demo_stops_what_it_started_even_when_it_cannot_go_on(kos: Kos, world: World) -> None:
    world.error = ClusterUnreachable("gone")
    assert kos("demo", "--scale-data", "0.0001")[0] == 3
    assert world.calls[-1][0] == "down"


def test_version(kos: Kos) -> None:
    assert kos("--version")[1].startswith("kos_ray ")
