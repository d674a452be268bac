"""`kos ls` page by page, and the commands that act on many: filters, dry runs, questions."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_cluster import Kos, World

from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView


def jobs(count: int, state: str = "ready") -> list[JobView]:
    return [
        JobView(
            id=f"0190-{key}",
            key=JobKey(key),
            name=f"train/{key}",
            state=state,
            band=key % 2,
            type="training",
            namespace="default",
            tags=("odd",) if key % 2 else (),
        )
        for key in range(count, 0, -1)
    ]


def test_pages(kos: Kos, world: World) -> None:
    world.views = jobs(5)
    first = json.loads(kos("ls", "--limit", "2", "--json")[1])
    assert [view["key"] for view in first["jobs"]] == [5, 4]
    assert first["next"] == 4
    code, out, err = kos("ls", "--limit", "2", "--before", "4")
    assert code == 0
    assert "train/3" in out
    assert "--before 2" in err
    last = json.loads(kos("ls", "--limit", "2", "--before", "2", "--json")[1])
    assert [view["key"] for view in last["jobs"]] == [1]
    assert last["next"] is None


def test_filters(kos: Kos, world: World) -> None:
    world.views = jobs(7)
    assert len(json.loads(kos("ls", "--tag", "odd", "--json")[1])["jobs"]) == 4
    by_band = json.loads(kos("ls", "--priority", "critical", "--limit", "2", "--json")[1])
    assert [view["key"] for view in by_band["jobs"]] == [6, 4]
    assert len(json.loads(kos("ls", "--name", "train/7", "--json")[1])["jobs"]) == 1
    assert "expected one of critical" in kos("ls", "--priority", "soon")[2]
    assert kos("ls", "--watch", "--json")[0] == 2


def test_items_of_arrays_have_their_index(kos: Kos, world: World) -> None:
    world.views = [JobView(id=f"0190.{index}", key=JobKey(index + 1), name="a/samples") for index in (1, 0)]
    assert "a/samples.1" in kos("ls")[1]
    assert "a/samples.0" in kos("wait", "0190")[1] + kos("get", "a/samples.0")[1]


def test_a_watch_in_a_pipe_writes_what_changes(kos: Kos, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.views = jobs(2)
    pauses = iter([None, None])

    def sleep(_: float) -> None:
        if next(pauses, 1):
            raise KeyboardInterrupt
        world.views = jobs(2, "running")

    monkeypatch.setattr("kos_ray.cli.live.time.sleep", sleep)
    code, out, _ = kos("ls", "--watch")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["train/1", "ready"],
        ["train/2", "ready"],
        ["train/1", "running"],
        ["train/2", "running"],
    ]


@pytest.mark.parametrize(
    ("verb", "state", "others"),
    [
        ("cancel", "ready", "succeeded"),
        ("hold", "ready", "succeeded"),
        ("pause", "running", "succeeded"),
        ("release", "held", "ready"),
        ("resume", "held", "running"),
    ],
)
def test_where_acts_on_what_it_can_touch(kos: Kos, world: World, verb: str, state: str, others: str) -> None:
    world.views = jobs(3, state) + jobs(1, others)
    assert f"kos {verb} would touch 3 jobs" in kos(verb, "--where", "name~train/", "--dry-run")[2]
    code, out, _ = kos(verb, "--where", "name~train/,type=training")
    assert code == 0
    assert (verb, ["0190-3", "0190-2", "0190-1"]) in world.calls
    assert out.startswith("3 ")
    assert json.loads(kos(verb, "train/2", "--json")[1])
    assert (verb, ["train/2"]) in world.calls


def test_where_stays_in_the_commands_namespace(kos: Kos, world: World) -> None:
    world.views = [replace(view, namespace="other") if view.key == 2 else view for view in jobs(3)]
    assert kos("cancel", "--where", "state=ready")[0] == 0
    assert ("cancel", ["0190-3", "0190-1"]) in world.calls
    assert kos("hold", "--where", "state=ready,namespace=other")[0] == 0
    assert ("hold", ["0190-2"]) in world.calls


def test_reprioritise(kos: Kos, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.views = jobs(2)
    assert kos("reprioritise", "train/1", "--priority", "high")[1] == "1 moved to realtime\n"
    assert ("reprioritise", ["train/1"], 1) in world.calls
    assert kos("reprioritise", "train/1", "--priority", "soon")[0] == 2
    assert kos("reprioritise", "train/1", "--priority", "75")[1] == "1 moved to realtime\n"
    settings = tmp_path / "scheduler.yaml"
    settings.write_text("priorities: {critical: 900, low: 30}")
    monkeypatch.setenv("KOS_SETTINGS", str(settings))
    assert kos("reprioritise", "train/1", "--priority", "30")[1] == "1 moved to idle\n"
    assert kos("reprioritise", "--where", "priority=900", "--priority", "5", "--yes")[1] == "1 moved to background\n"
    code, _, err = kos("reprioritise", "train/1", "--priority", "75")
    assert (code, "weights 900, 30, found 75" in err) == (2, True)
    assert kos("reprioritise", "train/1")[0] == 2


def test_a_dry_run_touches_nothing(kos: Kos, world: World) -> None:
    world.views = jobs(3)
    code, out, err = kos("cancel", "--where", "tag=odd", "--dry-run")
    assert code == 0
    assert "train/3" in out
    assert "would touch 2 jobs" in err
    found = json.loads(kos("hold", "train/1", "--dry-run", "--json")[1])
    assert [view["name"] for view in found["jobs"]] == ["train/1"]
    assert not [call for call in world.calls if call[0] in ("cancel", "hold")]


def test_many_jobs_are_asked_about_on_a_terminal(kos: Kos, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.views = jobs(11)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    answers = iter([False, True])
    monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers))
    code, _, err = kos("cancel", "--where", "state=ready")
    assert code == 1
    assert "11 jobs; --yes" in err
    assert "nothing was done" in err
    assert kos("cancel", "--where", "state=ready")[0] == 0
    assert kos("cancel", "--where", "state=ready", "--yes")[0] == 0
    world.views = jobs(10)
    assert kos("cancel", "--where", "state=ready")[0] == 0


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("stat=ready", "expected filters out of state="),
        ("state=gone", "expected one of blocked"),
        ("state", "found 'state'"),
        ("state=", "found 'state='"),
        ("name=x", "found 'name=x'"),
        ("tag=a,tag=b", "tag once"),
        ("priority=soon", "expected one of critical"),
    ],
)
def test_wrong_filters(kos: Kos, where: str, text: str) -> None:
    code, out, err = kos("hold", "--where", where)
    assert (code, out) == (2, "")
    assert text in err


def test_nothing_to_do(kos: Kos, world: World) -> None:
    assert kos("hold")[0] == 2
    assert kos("hold", "a", "--where", "tag=b")[0] == 2
    world.views = jobs(1, "failed")
    code, _, err = kos("hold", "--where", "name~train/")
    assert code == 1
    assert "no job that has not ended matches" in err
    world.views = jobs(2)
    for words in (("--where", "name~train/"), ("train/1", "--dry-run")):
        code, _, err = kos("release", *words)
        assert code == 1
        assert "no held job matches" in err


def test_rerun(kos: Kos, world: World) -> None:
    assert kos("rerun", "a", "--from-failed")[1].startswith("id-7")
    assert ("rerun", "a", True) in world.calls
