"""Agents on a real cluster: called, suspended, killed, moved; under one name with one state all the time."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import keepers
import pytest
import ray

import kos_ray
from kos_ray.journal.verify import verify
from kos_ray.model.errors import InvalidSpec, JobFailed, NotFound, Refused
from tests.ray.conftest import CODE, KosCluster, wait_until

pytestmark = pytest.mark.ray


@pytest.fixture
def begin(kos: KosCluster) -> Any:
    """Registers counters, and takes them away again."""
    begun: list[str] = []

    def register(name: str, *args: Any, **said: Any) -> Any:
        kos.client.register_agent(keepers.Counter, name=name, args=args, code=CODE, **said)
        begun.append(name)
        return kos.client.agent(name)

    yield register
    for name in begun:
        kos.client.stop_agent(name)
        wait_until(lambda name=name: phase(kos, name) in ("stopped", "failed", "registered"))
        kos.client.remove_agent(name, force=True)


def phase(kos: KosCluster, name: str) -> str:
    return str(kos.client.get_agent(name)["phase"])


def until(kos: KosCluster, name: str, wanted: str) -> None:
    wait_until(lambda: phase(kos, name) == wanted)


def test_it_is_called_by_name_and_keeps_its_state(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("plain", 10)
    assert counter.add() == 11
    assert counter.add_soon(number=2) == 13
    job = counter.add.submit(1)
    assert job.result(60) == 14
    assert job.status.type == "plain.add"
    with pytest.raises(JobFailed, match="not this one"):
        counter.fail()
    with pytest.raises(AttributeError, match="no method 'multiply'"):
        counter.multiply(2)
    node, pid = counter.where()
    assert counter.where() == (node, pid)
    (carrier,) = kos.client.views_of([kos.client.get_agent("plain")["job"]])
    assert (carrier.state, carrier.node, carrier.pid) == ("running", node, pid)
    names = [row["name"] for row in ray.util.list_named_actors(all_namespaces=True)]
    assert "agent:default/plain" in names


def test_results_of_jobs_go_to_it_and_its_results_to_jobs(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("amid")
    five = kos.client.submit(int, "5")
    added = counter.add.submit(five)
    text = kos.client.submit(str, added)
    assert text.result(60) == "5"


def test_suspended_it_holds_nothing_and_its_mail_is_handled_after(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("sleeper", 1)
    assert counter.add() == 2
    kos.client.suspend_agent("sleeper", "for the night")
    until(kos, "sleeper", "suspended")
    job = counter.add.submit()
    told = kos.client.explain(job.id)
    assert told.reason == "agent_away"
    assert {node.lacks for node in told.nodes} == {"agent sleeper is suspended"}
    assert kos.client.get_agent("sleeper")["messages"] == 1
    kos.client.resume_agent("sleeper")
    assert job.result(60) == 3
    assert counter.history() == ["suspend", "resume"]


def test_killed_it_is_back_with_its_state_and_callers_see_no_error(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("phoenix", 5)
    assert counter.add() == 6
    _, pid = counter.where()
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    assert counter.add() == 7
    print(f"called again {time.monotonic() - begun:.1f} s after it was killed")
    assert counter.where()[1] != pid
    one = kos.client.get_agent("phoenix")
    assert (one["phase"], one["crashes"], one["attempt"]) == ("running", 1, 2)


def test_it_goes_on_on_another_node(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("nomad", 1)
    assert counter.add() == 2
    node = counter.where()[0]
    name = next(found.name for found in kos.client.nodes() if found.id == node)
    kos.client.suspend_agent("nomad")
    until(kos, "nomad", "suspended")
    kos.client.mark_nodes([name], cordoned=True)
    try:
        kos.client.resume_agent("nomad")
        assert counter.add() == 3
        assert counter.where()[0] != node
    finally:
        kos.client.mark_nodes([name], cordoned=False)


def test_restarted_it_has_another_process_and_the_same_state(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("anew", 1)
    counter.add()
    _, pid = counter.where()
    kos.client.restart_agent("anew")
    assert counter.add() == 3
    assert counter.where()[1] != pid


def test_what_it_prints_is_in_its_log(kos: KosCluster, begin: Callable[..., Any]) -> None:
    begin("talker").say("good morning")
    assert "good morning" in kos.client.agent_logs("talker")


def test_many_messages_come_to_what_they_come_to(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("busy", snapshot_every=0)
    jobs = [counter.add.submit() for _ in range(200)]
    assert sorted(job.result(60) for job in jobs) == list(range(1, 201))


def test_from_an_event_loop_it_is_called_as_well(kos: KosCluster, begin: Callable[..., Any]) -> None:
    begin("looped")

    async def calls() -> tuple[int, int, list[dict[str, Any]]]:
        async with kos_ray.connect_async(start=False) as client:
            counter = await client.agent("looped")
            job = await counter.add.options(priority="high").submit(2)
            return await job, await counter.add(number=1), await client.agents()

    first, second, known = asyncio.run(calls())
    assert (first, second) == (2, 3)
    assert "looped" in {one["name"] for one in known}


def test_one_idempotency_key_is_one_message(kos: KosCluster, begin: Callable[..., Any]) -> None:
    counter = begin("once")
    keyed = counter.add.options(idempotency_key="order-7")
    assert keyed() == keyed() == 1


def test_what_cannot_be_is_refused(kos: KosCluster, begin: Callable[..., Any]) -> None:
    with pytest.raises(NotFound, match="kos agent ls"):
        kos.client.agent("nobody")
    counter = begin("one")
    with pytest.raises(Refused, match="is there already"):
        kos.client.register_agent(keepers.Counter, name="one", code=CODE, roles=("other",))
    with pytest.raises(InvalidSpec, match="where the agent one is registered"):
        counter.add.options(resources={"cpu": 1})()
    with pytest.raises(InvalidSpec, match="docker: it is not built yet"):
        kos.client.register_agent("/app/start.sh", name="boxed", exec_env="docker")


def test_a_program_lives_as_an_agent_and_has_no_methods(kos: KosCluster, tmp_path: Any) -> None:
    script = tmp_path / "start.sh"
    script.write_text("#!/bin/sh\necho begun\nexec sleep 1000\n")
    script.chmod(0o755)
    kos.client.register_agent(str(script), name="program", exec_env="subprocess", cpu=0.1)
    until(kos, "program", "running")
    assert "begun" in kos.client.agent_logs("program")
    with pytest.raises(InvalidSpec, match="is a program"):
        kos.client.agent("program").anything()
    kos.client.stop_agent("program")
    until(kos, "program", "stopped")
    kos.client.remove_agent("program")


def test_the_journal_is_whole(kos: KosCluster) -> None:
    report = verify(kos.state_dir)
    assert not report.damage
    assert not report.differences
