"""`kos run` and `kos logs -f`: output as it comes, exit codes, ctrl-C."""

import json
import sys
import threading
from pathlib import Path

import pytest
from fake_cluster import WORKFLOW, Kos, World

from kos_ray.cli.oneoff import exit_status
from kos_ray.cli.shell import run_guarded
from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView


def ended(state: str = "succeeded", error: str = "", exit_code: int | None = None) -> JobView:
    return JobView(id="id-0", key=JobKey(1), state=state, attempt=1, error=error, exit_code=exit_code)


def test_a_command_is_submitted_and_its_output_shown(kos: Kos, world: World) -> None:
    world.logs = ["he", "hello\n", "hello\nworld\n"]
    code, out, err = kos(
        "run", "--cpu", "2", "--memory", "1GiB", "-e", "A=b", "--name", "n", "--", "sh", "-c", "x --json"
    )
    assert (code, out, err) == (0, "hello\nworld\n", "")
    (draft,) = world.drafts
    assert draft.spec.command == ("sh", "-c", "x --json")
    assert draft.name == "n"
    assert draft.spec.env == (("A", "b"),)
    assert dict(draft.spec.resources.amounts)["CPU"] == 20_000


def test_a_key_makes_a_command_one_job(kos: Kos, world: World) -> None:
    assert kos("run", "--idempotency-key", "order-7", "--", "true")[0] == 0
    assert world.drafts[0].idempotency_key == "order-7"
    code, _, err = kos("run", "--idempotency-key", "x" * 256, "--", "true")
    assert code != 0
    assert "idempotency_key" in err
    assert "255" in err


def test_each_job_of_a_document_has_its_own_key(kos: Kos, world: World) -> None:
    assert kos("submit", WORKFLOW, "--idempotency-key", "night")[0] == 0
    keys = [draft.idempotency_key for draft in world.drafts]
    assert len(set(keys)) == len(keys) > 1
    assert keys[0] == f"night/{world.drafts[0].name}"


def test_options_behind_the_command_belong_to_it(kos: Kos, world: World) -> None:
    kos("run", "python", "--json", "--cpu", "x")
    assert world.drafts[0].spec.command == ("python", "--json", "--cpu", "x")


def test_a_function_by_name(kos: Kos, world: World) -> None:
    code, out, _ = kos("run", "--json", "statistics:fmean", "[1, 2]", "weights=[3, 4]")
    assert code == 0
    assert json.loads(out)["state"] == "succeeded"
    assert json.loads(out)["exit_code"] == 0
    assert world.drafts[0].spec.entry == "statistics:fmean"
    assert "positional" not in kos("run", "m:f", "a=1", "b")[1]
    assert "arguments without a name before" in kos("run", "m:f", "a=1", "b")[2]
    assert "cluster" not in kos("run", "-e", "nothing", "--", "true")[1]


def test_a_function_in_this_folder_travels_with_its_code(
    kos: Kos, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_here_only.py").write_text("def main(count, verbose=False):\n    return count\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert kos("run", "of_here_only:main", "7", "verbose=true")[0] == 0
    (submitted,) = [call for call in world.calls if call[0] == "submit"]
    assert submitted[1].__name__ == "main"
    assert submitted[2] == (7,)
    assert submitted[3]["kwargs"] == {"verbose": True}
    assert submitted[3]["code"] == tmp_path
    code, _, err = kos("run", "of_here_only:absent")
    assert code == 2
    assert "cannot be imported" in err


def test_a_failed_job_is_the_exit_code(kos: Kos, world: World) -> None:
    world.views = [ended("failed", "sh exited with code 7", 7)]
    code, _, err = kos("run", "--", "sh", "-c", "exit 7")
    assert code == 7
    assert "exited with code 7" in err
    assert kos("run", "--json", "--", "false")[0] == 7


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (ended(), 0),
        (ended("succeeded", exit_code=0), 0),
        (ended("failed", "x was killed by signal 9 (SIGKILL)", 137), 137),
        (ended("failed", "it exited with code 3"), 1),
        (ended("failed", "it wrote nothing before its time was over", 0), 1),
        (ended("cancelled", exit_code=143), 1),
    ],
)
def test_exit_codes(view: JobView, code: int) -> None:
    assert exit_status(view) == code


def test_ctrl_c_cancels_the_job(kos: Kos, world: World) -> None:
    client_error = KeyboardInterrupt()
    world.interrupt = client_error
    code, _, err = kos("run", "--", "sleep", "100")
    assert code == 130
    assert ("cancel", ["id-0"]) in world.calls
    assert "cancels id-0" in err


def test_following_logs_shows_every_attempt(kos: Kos, world: World) -> None:
    world.views = [JobView(id="id-0", key=JobKey(1), name="a", state="failed", attempt=2)]
    world.logs = ["first", "second é".encode()[:-1], "second é\n"]
    code, out, err = kos("logs", "a", "-f")
    assert code == 0
    assert out == "firstsecond é\n"
    assert "attempt 2" in err
    assert kos("logs", "a", "-f", "--json")[0] == 2
    assert kos("logs", "a", "-f", "--attempt", "1")[0] == 2


def test_what_threads_of_libraries_print_is_no_part_of_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        thread = threading.Thread(target=lambda: print("(raylet) a node died"))
        thread.start()
        thread.join()
        print("{}")

    assert run_guarded(command) == 0
    assert capsys.readouterr() == ("{}\n", "(raylet) a node died\n")
