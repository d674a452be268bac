"""Schedules on a real cluster: one job for each instant, through a kill of the scheduler."""

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import proof
import pytest
import recurring

from kos_ray.journal.reader import JournalReader
from kos_ray.journal.verify import verify
from kos_ray.model.job import JobState
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until
from tests.ray.test_deaths import scheduler_pid

pytestmark = pytest.mark.ray

FIRES = 12


def test_every_second_through_a_kill(kos: KosCluster, tmp_path: Path) -> None:
    """The schedule fires each second, so often as it may; every instant has one job, which knows it."""
    kos.client.schedule(
        proof.due,
        "every second",
        name="tick",
        args=(str(tmp_path),),
        options={"code": CODE},
        overlap="allow_all",
        catch_up="all",
        max_fires=FIRES,
    )
    wait_until(lambda: len(proofs(tmp_path)) >= FIRES // 3)
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    wait_until(lambda: len(proofs(tmp_path)) >= FIRES)
    one = kos.client.get_schedule("tick")
    assert (one["fires"], one["next_us"]) == (FIRES, 0)

    views = kos.client.jobs(prefix="tick@", limit=100)
    kos.client.wait([view.id for view in views], 60)
    names = sorted(view.name for view in views)
    begin = datetime.fromisoformat(names[0].removeprefix("tick@"))
    nominals = [begin + timedelta(seconds=second) for second in range(FIRES)]
    assert names == [f"tick@{at.isoformat().replace('+00:00', 'Z')}" for at in nominals]
    assert sorted(record["name"] for record in proofs(tmp_path)) == [at.isoformat() for at in nominals]
    states = JournalReader(kos.state_dir).states([view.key for view in views])
    assert set(states.values()) == {JobState.SUCCEEDED}
    report = verify(kos.state_dir)
    assert not report.damage
    assert not report.differences


def test_paused_triggered_filled_in_and_gone(kos: KosCluster, tmp_path: Path) -> None:
    """What people do with a schedule, by a command that is told when it was due."""
    client = kos.client
    client.schedule(proof.due, "every day at noon", name="noon", args=(str(tmp_path),), options={"code": CODE})
    client.pause_schedule("noon", "holidays")
    assert (client.get_schedule("noon")["paused"], client.get_schedule("noon")["note"]) == (True, "holidays")
    name = client.trigger_schedule("noon")["name"]
    assert client.job(name).result(60) == proofs(tmp_path)[0]["name"]
    now_us = round(datetime.now(UTC).timestamp() * 1e6)
    filled = client.backfill_schedule("noon", now_us - 3 * 86_400_000_000, now_us)["fires"]
    assert len(filled) == 3
    wait_until(lambda: len(proofs(tmp_path)) == 4)
    assert client.jobs(prefix="noon@")[0].band == 5
    client.resume_schedule("noon")
    assert not client.get_schedule("noon")["paused"]
    client.remove_schedule("noon")
    assert "noon" not in [one["name"] for one in client.schedules()]


def test_a_function_with_a_schedule_of_its_own(kos: KosCluster) -> None:
    """The module is imported where it runs; set again as it is, it changes nothing."""
    recurring.tick.start(kos.client)
    wait_until(lambda: kos.client.get_schedule("ticks")["fires"] == 2)
    views = kos.client.jobs(prefix="ticks@", limit=10)
    results = [kos.client.job(view.id).result(60) for view in views]
    told = [view.name.removeprefix("ticks@").replace("Z", "+00:00") for view in views]
    assert sorted(result.replace(" ", "T") for result in results) == sorted(told)
    recurring.tick.start(kos.client)
    assert kos.client.get_schedule("ticks")["fires"] == 2


DOCUMENT = """
kind: schedule
name: counted
when: every second
overlap: buffer_all
max_fires: 6
job: {entry: "proof:count_on", args: [%s], resources: {cpu: 0}}
"""


def test_a_document_whose_runs_go_on_from_each_other_through_a_kill(kos: KosCluster, tmp_path: Path) -> None:
    """One run after another, each handed what the one before returned."""
    drafts = lower([load_text(DOCUMENT % tmp_path)])
    kos.client.apply_drafts(drafts, code=[CODE])
    wait_until(lambda: len(proofs(tmp_path)) >= 2)
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    wait_until(lambda: len(proofs(tmp_path)) >= 6)
    assert [int(record["name"]) for record in proofs(tmp_path)] == [*range(1, 7)]


def test_a_rule_of_ones_own_through_a_kill(kos: KosCluster, tmp_path: Path) -> None:
    """It is asked on the head, in a process of its own; one that fails pauses its schedule and says why."""
    options = {"code": CODE, "resources": {"cpu": 0}}
    terms = {"overlap": "allow_all", "catch_up": "all", "max_fires": 8}
    for name, function in (("own", "every_second"), ("broken", "never_answers")):
        rule = f"python:head_rules:{function}"
        kos.client.schedule(proof.due, rule, name=name, args=(str(tmp_path),), options=options, **terms)
    wait_until(lambda: len(proofs(tmp_path)) >= 3)
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    wait_until(lambda: len(proofs(tmp_path)) >= 8)
    names = [record["name"] for record in proofs(tmp_path)]
    begin = datetime.fromisoformat(min(names))
    assert sorted(names) == [(begin + timedelta(seconds=second)).isoformat() for second in range(8)]
    assert kos.client.get_schedule("own")["fires"] == 8
    note = kos.client.get_schedule("broken")["note"]
    assert note == "its rule: it raised RuntimeError('no calendar')"
