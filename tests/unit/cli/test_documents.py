"""What works without a cluster: validate, init, schema, config, doctor, the reference, completion, widths."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from fake_cluster import NODE, WORKFLOW, Kos, World, record
from rich.cells import cell_len

from kos_ray.cli import output
from kos_ray.cli.reference import reference
from kos_ray.cli.starter import STARTER
from kos_ray.model.errors import ClusterUnreachable
from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView, Leak
from kos_ray.observe.load import load_table
from kos_ray.observe.tables import job_table

ROOT = Path(__file__).parents[3]


def test_validate_says_all_that_is_wrong(kos: Kos, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("- run: 3\n- {entry: a, retries: 2}\n")
    code, out, err = kos("validate", str(bad), WORKFLOW)
    assert code == 2
    assert f"{WORKFLOW}: 19 jobs, nothing wrong" in out
    assert err.count("expected") == 3
    found = json.loads(kos("validate", str(bad), "--json")[1])
    assert not found["valid"]
    assert [(one["line"], one["path"]) for one in found["problems"]] == [
        (1, "[0].run"),
        (2, "[1].entry"),
        (2, "[1].retries"),
    ]
    assert kos("validate", str(tmp_path / "absent.yaml"))[0] == 2


def test_init_writes_a_document_that_validates(kos: Kos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert kos("init")[0] == 0
    assert kos("validate", "kos.yaml")[1] == "kos.yaml: 11 jobs, nothing wrong\n"
    code, _, err = kos("init")
    assert code == 2
    assert "--force" in err
    assert kos("init", "--force", "--json")[0] == 0
    assert kos("init", "-")[1] == STARTER
    assert "cannot be written" in kos("init", "absent/kos.yaml")[2]


def test_the_schema_takes_what_we_take(kos: Kos) -> None:
    schema = json.loads(kos("schema")[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (STARTER, Path(WORKFLOW).read_text(), "run: nvidia-smi"):
        jsonschema.validate(yaml.safe_load(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load("{run: x, retires: 3}"), schema)


def test_config_says_where_values_come_from(kos: Kos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*words: str) -> dict[str, tuple[str, str]]:
        rows = json.loads(kos("config", "show", *words, "--json")[1])
        return {row["name"]: (row["value"], row["origin"]) for row in rows}

    assert found()["state directory"] == (str(tmp_path / "default"), "default")
    assert found()["address"][1].startswith("none")
    assert found("--state", "/x")["state directory"] == ("/x", "the option")
    assert found("--address", "h:1")["address"] == ("h:1", "the option")
    monkeypatch.setenv("KOS_STATE_DIR", "/y")
    monkeypatch.setenv("KOS_ADDRESS", "h:2")
    assert found()["state directory"] == ("/y", "KOS_STATE_DIR")
    assert found()["address"] == ("h:2", "KOS_ADDRESS")
    assert found()["KOS_ADDRESS"][1].startswith("environment")
    monkeypatch.delenv("KOS_ADDRESS")
    (tmp_path / "cluster.json").write_text('{"address": "127.0.0.1:9"}')
    assert found("--state", str(tmp_path))["address"][0] == "127.0.0.1:9"


def test_config_shows_what_documents_are_read_with(kos: Kos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def found() -> dict[str, tuple[str, str]]:
        rows = json.loads(kos("config", "show", "--json")[1])
        return {row["name"]: (row["value"], row["origin"]) for row in rows}

    assert found()["settings file"] == ("", "none: KOS_SETTINGS names one")
    assert found()["priorities"] == ("100 is critical, 75 is realtime, 50 is default, 25 is idle", "built in")
    scheduler = str(Path(WORKFLOW).parents[1] / "scheduler.yaml")
    monkeypatch.setenv("KOS_SETTINGS", scheduler)
    assert found()["settings file"] == (scheduler, "KOS_SETTINGS")
    assert found()["max_retry"] == ("5", "settings file")
    assert found()["job_timeout_default"] == ("90 s", "settings file")
    assert found()["handlers"] == ("", "built in")
    handed = "settings file: kos up and kos scheduler load hand it to the scheduler"
    assert found()["heartbeat_interval"] == ("5", handed)
    queue = tmp_path / "queue.yaml"
    queue.write_text("queue: {backend: redis}")
    monkeypatch.setenv("KOS_SETTINGS", str(queue))
    assert found()["queue"] == ("", "settings file: accepted, and nothing acts on it yet")
    bad = tmp_path / "bad.yaml"
    bad.write_text("max_retri: 3")
    monkeypatch.setenv("KOS_SETTINGS", str(bad))
    code, _, err = kos("config", "show")
    assert (code, "bad.yaml:1: max_retri: expected a known field" in err) == (2, True)


def test_doctor_without_a_cluster(kos: Kos, tmp_path: Path) -> None:
    code, out, _ = kos("doctor")
    assert code == 0, out
    assert "none runs here" in out
    assert "kos up starts one" in out
    found = json.loads(kos("doctor", "--json")[1])
    assert found["healthy"]
    assert {"kos_ray", "Python", "Ray", "disk", "journal", "Ray auth", "clock", "cluster"} <= {
        one["subject"] for one in found["findings"]
    }


def test_doctor_with_a_cluster_and_a_broken_journal(
    kos: Kos, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.problems = ("frame 3: expected x, found y",)
    (tmp_path / "journal.db").write_bytes(b"x")
    monkeypatch.setattr("kos_ray.cli.doctor._answers", lambda _: True)
    world.events = [record(9, "Launch")]
    code, out, _ = kos("doctor", "--address", "h:1", "--state", str(tmp_path))
    assert code == 1
    assert "frame 3" in out
    assert "h:1 takes connections" in out
    assert "2 CPUs for work" in out
    assert "whoever reaches" in out
    world.leaks = (Leak(kind="node agent", name="kos-agent-x", why="it does not answer"),)
    assert "kos doctor --fix ends it" in kos("doctor", "--address", "h:1")[1]
    assert "it was ended" in kos("doctor", "--address", "h:1", "--fix")[1]
    assert world.calls[-1] == ("leaks", "h:1", True)
    world.error = ClusterUnreachable("gone\nmore")
    code, out, _ = kos("doctor", "--address", "h:1")
    assert code == 1
    assert "gone" in out
    monkeypatch.setattr("kos_ray.cli.doctor._answers", lambda _: False)
    assert "takes no connection" in kos("doctor", "--address", "h:1")[1]


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    assert page == reference(), "write it again: python -m kos_ray.cli.reference > docs/commands.md"


@pytest.mark.parametrize("name", ["kos", "kaictl"])
def test_the_shell_gets_a_completion_script(name: str) -> None:
    module = {"kos": "main", "kaictl": "kaictl"}[name]
    code = (
        f"import sys; sys.argv = [{name!r}, '--show-completion', 'bash']\nfrom kos_ray.cli.{module} import run\nrun()"
    )
    env = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    assert f"complete -o default -F _{name}_completion {name}" in done.stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_tables_fit_the_terminal(columns: int, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setattr(output.shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    monkeypatch.setenv("TERM", "xterm")
    views = [
        JobView(
            id="0190-1.3",
            key=JobKey(1),
            name="a-workflow-of-a-long-name/and-a-job-of-a-longer-one",
            type="training",
            state="backoff",
            node="f" * 56,
            reason="user_error",
            remedy="its code raised or its command exited with another code than 0; see its error and logs",
        )
    ]
    for table in (job_table(views, 10**15, output.width()), load_table([NODE], views)):
        lines = drawn(table)
        assert lines
        assert max(cell_len(line) for line in lines) <= columns
        assert any(title in lines[1] for title in table.columns)


def test_short_columns_of_narrow_tables_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setattr(output.shutil, "get_terminal_size", lambda: os.terminal_size((60, 24)))
    ended = JobView(
        id="0190-" + "1" * 31, key=JobKey(1), name="", type="shell", state="succeeded", entered_us=1, ended_us=3_001
    )
    line = next(line for line in drawn(job_table([ended], 10**15, output.width())) if "0190" in line)
    assert line.split()[1:2] == ["succeeded"]
    assert line.rstrip().endswith("3 ms")
    assert "1…" in line, "the longest column gives way"


def drawn(table: output.Table) -> list[str]:
    from rich.console import Console

    console = Console(width=output.width(), record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(output.picture(table))
    return console.export_text().splitlines()


def test_colours_stay_out_of_pipes_and_follow_no_color(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output.show_panel([("state", "failed")])
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    assert output.panel_lines([("a", "b")], bold=True)[0].startswith("\x1b")
    monkeypatch.setenv("NO_COLOR", "1")
    output.show_panel([("state", "failed")])
    assert "\x1b" not in capsys.readouterr().out
