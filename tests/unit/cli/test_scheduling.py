"""What the command line says of plug-ins, queues, agents and deadlines."""

import json
from pathlib import Path

import pytest
from fake_cluster import Kos, World, record

from kos_ray.model.ids import JobKey
from kos_ray.model.views import Explanation, LearntKind, RunTime, SchedulingView

JOB = "{id: late, run: sleep 9, run_time: 9s, deadline: 2030-01-01T00:00:00Z}\n"


@pytest.mark.parametrize("words", [("status",), ("scheduler", "show")])
def test_how_the_scheduling_stands_is_shown(world: World, kos: Kos, words: tuple[str, ...]) -> None:
    world.scheduling = SchedulingView(
        plugins=(("good", ""), ("bad", "it did not answer within 50 ms (plugin_deadline)")),
        evenness=0.75,
        agents=2,
        agents_max=12,
        too_late=3,
        tier=2,
        counts=(("started", 7),),
    )
    code, out, _ = kos(*words)
    text = " ".join(out.split())
    assert code == 0
    assert "good is in force" in text
    assert "bad is disabled: it did not answer within 50 ms" in text
    assert "evenness 0.750" in text
    assert "2 of at most 12" in text
    assert "3 waiting jobs cannot meet their deadlines" in text
    assert "it is the slot of tier 2" in text
    assert "7 started" in text


def test_a_queue_that_is_not_there_is_said(world: World, kos: Kos, monkeypatch: pytest.MonkeyPatch) -> None:
    world.scheduling = SchedulingView(queue_wanted="redis", plugins=(("bad", "it crashed"),))
    said = "sqlite; redis was asked for"
    assert said in " ".join(kos("status")[1].split())
    monkeypatch.setattr("kos_ray.cli.doctor._answers", lambda _: True)
    world.events = [record(9, "Launch")]
    found = json.loads(kos("doctor", "--address", "h:1", "--json")[1])["findings"]
    told = {one["subject"]: (one["level"], one["text"]) for one in found}
    assert told["queue"][0] == "warn"
    assert said in told["queue"][1]
    assert told["plug-in"] == ("warn", "bad is disabled: it crashed")
    world.scheduling = SchedulingView()
    assert "redis" not in kos("status")[1]


def test_settings_of_both_files_are_loaded_and_shown(world: World, kos: Kos) -> None:
    configs = Path(__file__).parents[3] / "configs"
    for name in ("scheduler.yaml", "scheduler_config.yaml"):
        code, _, err = kos("scheduler", "load", str(configs / name))
        assert (code, err) == (0, "")
    shown = json.loads(kos("scheduler", "show", "--json")[1])
    assert {key: shown[key] for key in ("max_concurrent_agents", "heartbeat_interval", "log_retention_days")} == {
        "max_concurrent_agents": "12",
        "heartbeat_interval": "5s",
        "log_retention_days": "30",
    }
    assert shown["default_queue"].startswith("sqlite (redis was asked for")


def test_what_nothing_acts_on_is_named_when_a_file_is_loaded(world: World, kos: Kos, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("queue: {backend: redis}\n")
    assert "not supported yet: queue" in kos("scheduler", "load", str(path))[2]
    path.write_text("grace: 1s\nmax_concurent_agents: 3\n")
    code, _, err = kos("scheduler", "load", str(path))
    assert code == 2
    assert "s.yaml:2: max_concurent_agents: " in err
    assert 'did you mean "max_concurrent_agents"?' in err


@pytest.mark.parametrize(
    ("verdict", "said"), [("missed", "cannot be met"), ("at_risk", "is at risk"), ("meets", ""), ("unknown", "")]
)
def test_a_submission_says_which_deadline_cannot_be_met(
    world: World, kos: Kos, tmp_path: Path, verdict: str, said: str
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    world.explanation = Explanation(key=JobKey(1), state="ready", deadline=verdict, deadline_us=1)
    code, _, err = kos("submit", str(path))
    assert code == 0
    assert (f"warning: late: its deadline {said}" in err) == bool(said)
    assert ("warning" in err) == bool(said)


def test_jobs_without_a_deadline_are_asked_nothing_of(world: World, kos: Kos, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("{run: x}\n")
    kos("submit", str(path))
    assert not [call for call in world.calls if call[0] == "explain"]


def test_explain_says_whether_the_deadline_can_be_met_and_who_is_spared(world: World, kos: Kos) -> None:
    world.explanation = Explanation(
        key=JobKey(1),
        state="ready",
        deadline="at_risk",
        deadline_us=2**60,
        earliest_us=2**60,
        likely_us=2**60,
        spared=2,
        worn=3,
    )
    text = " ".join(kos("explain", "late")[1].split())
    assert "at risk: there is too much work before it" in text
    assert "2 agents of lower bands run and are left alone" in text
    assert "3 jobs of lower bands run that have given way as often as they may" in text


def test_explain_says_who_waits_for_its_time(world: World, kos: Kos) -> None:
    world.explanation = Explanation(key=JobKey(1), state="ready", order=6)
    assert "it is to start just in time" in " ".join(kos("explain", "late")[1].split())


def test_what_was_learnt_is_shown(world: World, kos: Kos) -> None:
    train = {"namespace": "team", "type": "train", "runs": 40, "low_us": 900_000, "mid_us": 1_000_000}
    world.learnt = [
        LearntKind(**train, high_us=2_000_000),
        LearntKind(**train, high_us=2_000_000, resources=(("GPU", 10_000),), arguments_from=1024, arguments_below=4096),
        LearntKind(namespace="default", type="other"),
    ]
    code, out, _ = kos("scheduler", "learnt", "--namespace", "team")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert "team train any any 40 900 ms 1.0 s 2.0 s" in rows
    assert "team train GPU 1 1.0 KiB, below 4.0 KiB 40 900 ms 1.0 s 2.0 s" in rows
    assert not any("other" in row for row in rows)
    code, out, _ = kos("scheduler", "learnt", "--json")
    assert [kind["type"] for kind in json.loads(out)] == ["train", "train", "other"]
    assert json.loads(out)[0]["resources"] is None


def test_nothing_learnt_is_said(world: World, kos: Kos) -> None:
    assert "nothing was learnt" in kos("scheduler", "learnt")[2]


@pytest.mark.parametrize(
    ("run_time", "text"),
    [
        (RunTime(low_us=9_000_000, mid_us=9_000_000, high_us=9_000_000, source="declared"), "9.0 s, as declared"),
        (RunTime(low_us=1_000_000, mid_us=2_000_000, high_us=3_000_000, source="type", runs=1),
         "about 2.0 s (1.0 s to 3.0 s), learnt from 1 run of its type"),
        (RunTime(high_us=3_000_000, source="limit"), "at most 3.0 s (its timeout)"),
    ],
)  # fmt: skip
def test_how_long_a_job_runs_is_explained(world: World, kos: Kos, run_time: RunTime, text: str) -> None:
    world.explanation = Explanation(key=JobKey(1), state="ready", run_time=run_time)
    assert text in " ".join(kos("explain", "late")[1].split())


def test_a_journal_that_cannot_write_is_an_exit_code(world: World, kos: Kos) -> None:
    world.scheduling = SchedulingView(trouble="/s/journal.db: database or disk is full", trouble_since_us=1_000_000)
    code, out, _ = kos("status")
    assert code == 1
    assert "database or disk is full" in " ".join(out.split())
    code, out, _ = kos("status", "--json")
    assert (code, json.loads(out)["scheduling"]["trouble_since_us"]) == (1, 1_000_000)
    world.scheduling = SchedulingView()
    assert kos("status")[0] == 0
