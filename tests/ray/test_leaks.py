"""What is left of ours in a Ray cluster is found and ended, and nobody else's is touched."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from kos_ray.client import Job
from kos_ray.runtime import connect as clusters
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent_actor import AgentActor
from kos_ray.runtime.names import RAY_NAMESPACE, READER, agent_name
from kos_ray.runtime.placing import on_head
from kos_ray.runtime.reader import ReaderActor
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower
from tests.ray.conftest import KosCluster, wait_until

pytestmark = pytest.mark.ray

#: no node has these ids
NOWHERE, NOWHERE_ELSE = "e" * 56, "d" * 56


@ray.remote(num_cpus=0)
class Stranger:
    """Somebody else's; it counts who asks it anything."""

    def __init__(self) -> None:
        self.asked = 0

    def hello(self, *_: Any) -> None:
        self.asked += 1

    def whose(self, *_: Any) -> None:
        self.asked += 1

    def told(self) -> int:
        return self.asked


@ray.remote(num_cpus=0)
def busy(file: str) -> str:
    while not Path(file).exists():
        pass
    return "to its end"


@pytest.fixture
def strangers(kos: KosCluster, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Things of other people's, some with names that look like ours; what is called says that all of them are well."""
    named = [
        (agent_name("c" * 56), RAY_NAMESPACE),
        ("kos-agents", RAY_NAMESPACE),
        ("kos-reader-2", RAY_NAMESPACE),
        (agent_name(NOWHERE), "theirs"),
        (READER, "theirs"),
    ]
    actors = [Stranger.options(name=name, namespace=space, lifetime="detached").remote() for name, space in named]
    actors.append(Stranger.remote())
    group = placement_group([{"CPU": 1}], name="kos-gang")
    waits = placement_group([{"CPU": 1_000}], name="kos-slot:default")
    ray.get(group.ready(), timeout=60)
    release = tmp_path / "release-strangers"
    task = busy.options(name="kos-slot:default").remote(str(release))

    def well() -> None:
        assert ray.get([actor.told.remote() for actor in actors], timeout=60) == [0] * len(actors), "one was asked"
        states = [placement_group_table(one)["state"] for one in (group, waits)]
        assert states == ["CREATED", "PENDING"]
        assert not ray.wait([task], timeout=0)[0], "the task was ended"

    well()
    yield well
    well()
    release.touch()
    assert ray.get(task, timeout=60) == "to its end"
    remove_placement_group(group)
    remove_placement_group(waits)
    for actor in actors:
        ray.kill(actor)


def agent_of(cluster_id: str, node_id: str, folder: Path) -> Any:
    """An agent on the head, under the name of a node that is not there."""
    options = {**on_head(agent_name(node_id)), "max_restarts": 0}
    handle = ray.remote(AgentActor).options(**options).remote(node_id, cluster_id, str(folder), "", AgentLimits())
    ray.get(handle.beat.remote(), timeout=60)
    return handle


def lives(name: str) -> bool:
    return {"name": name, "namespace": RAY_NAMESPACE} in ray.util.list_named_actors(all_namespaces=True)


def test_agents_that_nobody_answers_for_are_ended_and_strangers_are_not(
    kos: KosCluster, strangers: Callable[[], None], tmp_path: Path
) -> None:
    own = kos.client.status().cluster_id
    pids = {node.id: beat(node.id) for node in kos.client.nodes() if node.alive}
    agent_of("another", NOWHERE, tmp_path / "a")
    agent_of(own, NOWHERE_ELSE, tmp_path / "b")
    found = {leak.name: leak for leak in clusters.leaks()}
    assert found[agent_name(NOWHERE)].ended, "it says itself that its cluster is not here"
    assert found[agent_name(NOWHERE)].belongs == "another"
    assert not found[agent_name(NOWHERE_ELSE)].ended, "it is of this cluster: an operator is to say so"
    status = kos.client.status().scheduling
    assert status is not None
    assert (status.leaks, status.leaks_ended) == (1, 1)
    wait_until(lambda: not lives(agent_name(NOWHERE)))
    strangers()
    fixed = {leak.name: leak.ended for leak in clusters.leaks(end=True)}
    assert fixed == {agent_name(NOWHERE): True, agent_name(NOWHERE_ELSE): True}
    wait_until(lambda: not lives(agent_name(NOWHERE_ELSE)))
    assert {node.id: beat(node.id) for node in kos.client.nodes() if node.alive} == pids, "our own go on"
    assert kos.client.submit(len, "abc").result(60) == 3


def test_a_reader_of_another_journal_is_replaced(
    kos: KosCluster, strangers: Callable[[], None], tmp_path: Path
) -> None:
    """Whoever asks it would be told of another cluster's jobs."""
    job = kos.client.submit(len, "abcd")
    assert job.result(60) == 4
    other = tmp_path / "other"
    other.mkdir()

    def planted() -> bool:
        """Ours is started anew at once by whoever needs it: the name is to be had in between."""
        if lives(READER):
            ray.kill(ray.get_actor(READER, namespace=RAY_NAMESPACE))
        handle = ray.remote(ReaderActor).options(**on_head(READER), max_concurrency=8).remote(str(other))
        try:
            found: bool = ray.get(handle.whose.remote(), timeout=30)["state_dir"] == str(other)
        except ray.exceptions.RayActorError:
            return False
        return found

    wait_until(planted)
    found = [leak for leak in clusters.leaks() if leak.kind == "reader"]
    assert [(leak.belongs, leak.ended) for leak in found] == [(str(other), True)]
    wait_until(lambda: kos_reads(kos))
    assert kos.client.get(job.id).state == "succeeded", "a client that had asked the other one asks ours"


def kos_reads(kos: KosCluster) -> bool:
    try:
        reader = ray.get_actor(READER, namespace=RAY_NAMESPACE)
        found: bool = ray.get(reader.whose.remote(), timeout=30)["state_dir"] == str(kos.state_dir)
    except (ValueError, ray.exceptions.RayError):
        return False
    return found


def test_what_an_agent_left_running_ends_and_its_job_runs_again(
    kos: KosCluster, strangers: Callable[[], None], tmp_path: Path
) -> None:
    """Agent and slot are killed at once: nobody is left to end the slot's command, but the next agent."""
    west = next(node.id for node in kos.client.nodes() if node.name == "west" and node.alive)
    pids = tmp_path / "pids"
    text = f'{{"run": ["sh", "-c", "echo $$ >> {pids}; exec sleep 1000"], "where": {{"nodes": ["west"]}}}}'
    job = kos.client.submit_drafts(lower([load_text(text, "leaks")]))[0]
    assert isinstance(job, Job)
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 1)
    first = psutil.Process(int(pids.read_text()))
    wait_until(lambda: kos.client.get(job.id).state == "running")
    slot, agent = first.parent(), beat(west)
    assert slot is not None
    os.kill(agent, signal.SIGSTOP)
    for pid in (slot.pid, agent):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(pids.read_text().split()) == 2)
    assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, "two of it run at once"
    second = psutil.Process(int(pids.read_text().split()[1]))
    assert second.is_running()
    assert f"command (process {first.pid})" in {leak.name for leak in clusters.leaks()}
    kos.client.cancel([job.id])
    wait_until(lambda: not second.is_running())
    job.wait(60)
    assert [attempt.end for attempt in job.history()] == ["lost", "stopped"]


def beat(node_id: str) -> int:
    """The process of a node's agent."""
    found: int = ray.get(ray.get_actor(agent_name(node_id), namespace=RAY_NAMESPACE).beat.remote(), timeout=60)
    return found
