"""The agents of `agents/`: what each is for, without a cluster."""

from pathlib import Path

import pytest

from agents.health_monitor import HealthMonitor, sample
from agents.prompt_optimizer import PromptOptimizer
from agents.reminder import KEPT_MAX, SchedulerUnit
from kos_ray.spec.agents import load_agents, methods_of

TOP = Path(__file__).parents[2]


def test_a_reminder_is_kept_until_it_is_seen_to(capsys: pytest.CaptureFixture[str]) -> None:
    unit = SchedulerUnit()
    number = unit.trigger_reminder("meeting with team")
    assert "reminder 1: meeting with team" in capsys.readouterr().out
    assert [one["text"] for one in unit.pending()] == ["meeting with team"]
    assert unit.done(number)
    assert not unit.done(number)
    assert unit.pending() == []
    with pytest.raises(ValueError, match="empty text"):
        unit.trigger_reminder(" ")


def test_of_too_many_reminders_the_oldest_go() -> None:
    unit = SchedulerUnit()
    for number in range(KEPT_MAX + 1):
        unit.trigger_reminder(str(number))
    assert [unit.pending()[0]["number"], len(unit.pending())] == [2, KEPT_MAX]


def test_a_prompt_is_made_shorter_and_found_wanting() -> None:
    optimizer = PromptOptimizer()
    poor = optimizer.analyse(
        "Please could you maybe write something about cats? Please could you maybe write something about cats?"
    )
    assert poor["shorter"] == "Write something about cats?"
    assert [line.split()[0] for line in poor["advice"]] == ["leave", "say", "say", "give"]
    good = optimizer.analyse("Write 3 bullet points about cats, for example: cats sleep 13 hours a day.")
    assert (good["score"], good["advice"]) == (100, [])
    assert poor["score"] < good["score"]


def test_of_several_variants_the_best_is_found() -> None:
    optimizer = PromptOptimizer()
    for variant in ("long", "short", "odd"):
        optimizer.add("cats", variant)
    worth = {"long": 0.2, "short": 0.9, "odd": 0.1}
    chosen = []
    for _ in range(200):
        variant = optimizer.choose("cats")
        chosen.append(variant)
        optimizer.reward("cats", variant, worth[variant])
    assert set(chosen[:3]) == set(worth), "each once"
    assert optimizer.best("cats")["variant"] == "short"
    assert chosen.count("short") > 100
    with pytest.raises(ValueError, match="add some first"):
        optimizer.choose("dogs")
    with pytest.raises(ValueError, match="from 0 to 1"):
        optimizer.reward("cats", "odd", 2)


def test_health_is_watched_with_alerts_that_do_not_flicker(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = HealthMonitor(memory=0.9)
    calm = {"load": 0.1, "memory": 0.5, "disk": 0.1}
    for memory in (0.5, 0.95, 0.89, 0.91, 0.5):
        monitor.look({**calm, "memory": memory})
    assert capsys.readouterr().out == "memory is 0.95, past 0.90\nmemory is 0.50 again\n"
    report = monitor.report()
    assert (report["worst"]["memory"], report["alerts"], report["samples"]) == (0.95, {}, 5)
    later = HealthMonitor()
    later.restore(monitor.snapshot())
    assert later.report()["worst"] == report["worst"]


def test_this_machine_has_health() -> None:
    found = sample()
    assert found["load"] >= 0
    assert 0 < found["memory"] < 1
    assert 0 < found["disk"] <= 1


def test_they_can_be_registered_as_they_are() -> None:
    assert methods_of(SchedulerUnit) == ("done", "pending", "trigger_reminder")
    assert "report" in methods_of(HealthMonitor)
    (form,) = load_agents(TOP / "agents" / "optimizer.yaml")
    assert (form.agent_id, form.capabilities) == ("optimizer", ("prompt_analysis", "optimization"))
