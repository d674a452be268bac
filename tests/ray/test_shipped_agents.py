"""The agents of `agents/`, on a real cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keepers
import proof
import pytest
import ray

from agents.data_quality import DataQualityChecker
from agents.file_watcher import FileWatcher
from agents.health_monitor import HealthMonitor
from agents.prompt_optimizer import PromptOptimizer
from agents.reminder import SchedulerUnit
from agents.text_summariser import TextSummariser
from kos_ray.model.errors import JobFailed
from kos_ray.runtime.names import RAY_NAMESPACE
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until

pytestmark = pytest.mark.ray

TOP = Path(__file__).parents[2]


@pytest.fixture
def begun(kos: KosCluster) -> Iterator[Any]:
    names: list[str] = []

    def begin(make: type, name: str, **said: Any) -> Any:
        kos.client.register_agent(make, name=name, **{"code": TOP, **said})
        names.append(name)
        return kos.client.agent(name)

    yield begin
    for name in names:
        kos.client.stop_agent(name)
        wait_until(lambda name=name: kos.client.get_agent(name)["phase"] in ("stopped", "failed"))
        kos.client.remove_agent(name, force=True)


def agent_pid(name: str) -> int:
    from ray._private.state import actors

    actor = ray.get_actor(f"agent:default/{name}", namespace=RAY_NAMESPACE)
    return int(actors(actor._actor_id.hex())["Pid"])


def test_those_that_answer(begun: Any, tmp_path: Path, kos: KosCluster) -> None:
    reminder = begun(SchedulerUnit, "reminder")
    assert reminder.trigger_reminder("meeting") == 1
    optimizer = begun(PromptOptimizer, "prompts")
    assert optimizer.tighten("Please write it.") == "Write it."
    job = kos.client.get_agent("reminder")["job"]
    wait_until(lambda: kos.client.agent_uses().get(job, {}).get("memory", 0) > 0)
    kos.client.schedule(print, "0 0 1 1 *", name="unrelated")
    assert kos.client.agent_timers("reminder") == []
    kos.client.remove_schedule("unrelated")
    queue = kos.client.agent_queue("reminder")
    assert (queue["phase"], queue["messages"], queue["bands"]) == ("running", 0, {})
    health = begun(HealthMonitor, "health", resources={"cpu": 0.1})
    assert health.report()["now"]["load"] >= 0
    begun(TextSummariser, "summariser", resources={"cpu": 0.1})
    text = "Cats sleep all day long. Cats hunt mice at night. Dogs bark."
    assert kos.client.role("summariser").keywords(text, 1) == ["cats"]
    quality = begun(DataQualityChecker, "quality", resources={"cpu": 0.1})
    good = tmp_path / "good.csv"
    good.write_text("id,age\n" + "".join(f"{at},{at % 50}\n" for at in range(60)))
    quality.learn(str(good))
    bad = tmp_path / "bad.csv"
    bad.write_text("id,age\n1,400\n")
    kos.client.restart_agent("quality")
    assert quality.check(str(bad))["verdict"] == "bad", "what it has learnt goes with it"
    with pytest.raises(JobFailed, match="expected a file"):
        quality.check("/nowhere.csv")


def test_files_are_told_to_an_agent_and_as_events_over_a_kill_once_each(
    begun: Any, tmp_path: Path, kos: KosCluster
) -> None:
    clerk = begun(keepers.Clerk, "clerk", code=CODE)
    said = {"every_s": 0.1, "events": True, "tell": "clerk.take"}
    watcher = begun(FileWatcher, "files", kwargs=said, resources={"cpu": 0.1})
    (tmp_path / "proofs").mkdir()
    options = {"code": CODE, "resources": {"cpu": 0}}
    kos.client.on(proof.told, "file.*", name="filed", args=(str(tmp_path / "proofs"),), options=options)
    assert watcher.watch(f"{tmp_path}/*.txt") == 0
    (tmp_path / "a.txt").write_text("1")
    wait_until(lambda: len(clerk.all()) == 1)
    assert len(watcher.changes()["changes"]) == 1, "and what it knows is saved"
    os.kill(agent_pid("files"), signal.SIGKILL)
    (tmp_path / "b.txt").write_text("1")
    (tmp_path / "a.txt").unlink()
    wait_until(lambda: len(clerk.all()) == 3)
    wait_until(lambda: len(proofs(tmp_path / "proofs")) == 3)
    told = [(one["change"], Path(one["path"]).name) for one in clerk.all()]
    assert told[0] == ("created", "a.txt")
    assert set(told) == {("created", "a.txt"), ("removed", "a.txt"), ("created", "b.txt")}
    assert len(watcher.changes()["changes"]) == 3
    kos.client.remove_schedule("filed")
