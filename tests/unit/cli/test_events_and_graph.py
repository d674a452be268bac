"""`kos events`, `kos graph`, `kos top`, and `kaictl`."""

import json
from dataclasses import replace

import pytest
from fake_cluster import WORKFLOW, Kos, World, record

from kos_ray.cli import live
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.views import JobView, StoryLine


@pytest.fixture
def happened(world: World) -> World:
    world.events = [
        record(1, "JobsSubmitted", first=1, ids=("j1",), counts=(-1,), names=((0, "a"),)),
        record(2, "Launch", node="n", keys=(1,), attempts=(1,)),
        record(3, "AttemptsEntered", node="node1", keys=(1,), attempts=(1,), entered_us=(3_000_000,)),
        record(4, "Finish", keys=(1,), state=int(JobState.FAILED), reason=21),
    ]
    return world


def test_events(kos: Kos, happened: World) -> None:
    code, out, err = kos("events", "--since", "0")
    assert (code, err) == (0, "")
    names = [line.split()[3] for line in out.splitlines()[1:]]
    assert names == ["job_submitted", "job_started", "job_failed", "agent.signal.taskFailure"]
    found = json.loads(kos("events", "--since", "0", "--json")[1])
    assert found["seq"] == 4
    assert [event["label"] for event in found["events"]] == ["a"] * 4
    raw = json.loads(kos("events", "--since", "1", "--raw", "--json")[1])
    assert [event["kind"] for event in raw["events"]] == ["Launch", "AttemptsEntered", "Finish"]
    assert "Launch" in kos("events", "--since", "0", "--raw")[1]
    assert "more" not in err


def test_events_of_jobs_that_were_submitted_before(kos: Kos, happened: World) -> None:
    happened.views = [JobView(id="j1", key=JobKey(1), name="a")]
    found = json.loads(kos("events", "--since", "3", "--json")[1])
    assert [(event["job"], event["label"]) for event in found["events"]] == [("j1", "a")] * 2


def test_the_newest_events_are_shown_where_nothing_is_said(kos: Kos, happened: World) -> None:
    kos("events", "--limit", "5")
    assert ("events", 2, 5) in happened.calls  # the fake's journal is at 7
    _, out, err = kos("events", "--since", "0", "--limit", "2")
    assert "job_submitted" in out
    assert "more with --since 2" in err.replace("the next ones", "more")


def test_following_events(kos: Kos, happened: World) -> None:
    code, out, _ = kos("events", "-f", "--since", "0", "--json")
    assert code == 130
    assert json.loads(out.splitlines()[0])["name"] == "job_submitted"
    assert "job_failed" in kos("events", "-f", "--since", "0")[1]


def workflow() -> list[JobView]:
    """Parents first in the list of names, newest first in the list of jobs."""
    found = [
        JobView(id="a", key=JobKey(1), name="w/a", namespace="default", state="succeeded"),
        JobView(id="b.0", key=JobKey(2), name="w/b", namespace="default", state="running", after=(("a", "ok"),)),
        JobView(id="b.1", key=JobKey(3), name="w/b", namespace="default", state="ready", after=(("a", "ok"),)),
        JobView(id="c", key=JobKey(4), name="w/c", namespace="default", state="blocked", after=(("b", "any"),)),
        JobView(id="d", key=JobKey(5), name="alone", namespace="default", state="ready"),
    ]
    return found[::-1]


def test_graphs(kos: Kos, world: World) -> None:
    world.views = workflow()
    code, out, _ = kos("graph", "w")
    assert code == 0
    assert out.splitlines() == [
        "w/a  succeeded",
        "└─ w/b x2  1 ready, 1 running",
        "   └─ w/c  blocked  ← w/b x2 (any)",
    ]
    assert kos("graph", "w/c")[1] == out
    assert kos("graph", "alone")[1] == "alone  ready\n"
    assert kos("graph", "w", "--format", "dot")[1].startswith("digraph")
    assert len(json.loads(kos("graph", "w", "--json")[1])["nodes"]) == 3
    assert kos("graph", "w", "--format", "svg")[0] == 2
    assert kos("graph")[0] == 2
    assert kos("graph", "w", "--live")[0] == 2
    assert kos("graph", "absent")[0] == 4


def test_delegation_is_asked_of_the_cluster(kos: Kos, world: World) -> None:
    spec = {"namespace": "default", "state": "succeeded"}
    asked = JobView(id="m", key=JobKey(6), name="summary", type="writer.work", **spec)
    child = JobView(id="n", key=JobKey(7), name="check", type="critic.work", parent="m", **spec)
    world.views = [child, asked, *workflow()]
    assigned = StoryLine(seq=1, at_us=1, what="assigned", by="ann", reason="least_delay")
    ended = StoryLine(seq=2, at_us=2, what="succeeded")
    world.stories = {6: [assigned, ended], 7: [replace(assigned, by="eve"), ended]}
    code, out, _ = kos("graph", "summary", "--delegation")
    assert code == 0
    assert out.splitlines() == [
        "summary  succeeded",
        "├─ ann (least delay): succeeded",
        "└─ check  succeeded",
        "   └─ eve (least delay): succeeded",
    ]
    found = json.loads(kos("graph", "summary", "--delegation", "--json")[1])
    assert (found["job"], found["steps"][0]["agent"], found["children"][0]["steps"][0]["agent"]) == ("m", "ann", "eve")
    assert kos("graph", "--delegation")[0] == 2
    assert kos("graph", "absent", "--delegation")[0] == 4


def test_the_live_graph_has_the_parents_of_what_lives(kos: Kos, world: World) -> None:
    world.views = workflow()
    out = kos("graph", "--live")[1]
    assert "w/a  succeeded" in out
    assert "alone  ready" in out


def test_top_is_one_picture_in_a_pipe(kos: Kos, world: World) -> None:
    world.views = workflow()
    code, out, _ = kos("top")
    assert code == 0
    assert "w/b.0" in out
    assert "CPU" in out
    assert set(json.loads(kos("top", "--json")[1])) == {"status", "running", "ready", "gpus"}


def test_top_is_redrawn_on_a_terminal(kos: Kos, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("kos_ray.cli.top.on_terminal", lambda: True)
    monkeypatch.setattr("kos_ray.cli.top.refresh", lambda draw: drawn.append(live.picture(draw())))
    assert kos("top")[0] == 0
    assert drawn


def test_kaictl_is_the_same(kai: Kos, world: World) -> None:
    assert kai("agent.task.add", "--file", WORKFLOW)[0] == 0
    assert len(world.drafts) == 4
    assert "averages/mean" in kai("agent.task.list")[1]
    world.views = workflow()
    assert kai("agent.task.pause", "--id", "w/c")[0] == 0
    assert kai("agent.task.resume", "--id", "w/c")[0] == 0
    assert ("pause", ["w/c"]) in world.calls
    assert ("resume", ["w/c"]) in world.calls
    out = kai("agent.task.graph", "--format", "mermaid")[1]
    assert out.startswith("flowchart LR")
    assert "alone" in out
    assert "alone" not in kai("agent.task.graph", "--id", "w")[1]
    assert json.loads(kai("agent.task.graph", "--json")[1])["nodes"]
    assert kai("agent.task.pause")[0] == 2


def test_kaictl_has_help_with_examples(kai: Kos) -> None:
    for name in ("add", "list", "pause", "resume", "graph"):
        code, out, _ = kai(f"agent.task.{name}", "--help")
        assert code == 0
        assert f"Example:\n    kaictl agent.task.{name}" in out
        assert "--json" in out


def test_the_entry_points() -> None:
    from kos_ray.cli import kaictl, main

    assert callable(main.run)
    assert callable(kaictl.run)
