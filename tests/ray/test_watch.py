"""Attempts that say nothing, and nodes whose agents say nothing."""

import os
import shutil
import signal
from pathlib import Path

import proof
import pytest
import ray
import said

from kos_ray.model.errors import Refused
from kos_ray.runtime import connect as clusters
from kos_ray.runtime.names import RAY_NAMESPACE, agent_name
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until

pytestmark = pytest.mark.ray


def test_an_attempt_that_says_nothing_any_more_is_ended_and_tried_again(kos: KosCluster, tmp_path: Path) -> None:
    """The second attempt goes on saying how far it is for longer than the timeout, and ends well."""
    job = kos.client.submit(
        said.stalls_once, str(tmp_path), heartbeat_timeout=1, retry=1, backoff={"first": "10ms"}, code=CODE
    )
    assert job.result(60) == "went on"
    story = job.history()
    assert [attempt.end for attempt in story] == ["stopped", "succeeded"]
    assert story[1].entered_us < story[1].ended_us - 2_500_000


def test_a_node_whose_agent_is_stopped_gets_nothing_new_and_is_used_again(kos: KosCluster, tmp_path: Path) -> None:
    nodes = {node.name: node for node in kos.client.nodes()}
    west = nodes["west"].id
    pid = ray.get(ray.get_actor(agent_name(west), namespace=RAY_NAMESPACE).beat.remote(), timeout=30)
    before = kos.client.submit(proof.hold, str(tmp_path), "before", where={"nodes": ["west"]}, code=CODE)
    wait_until(lambda: len(proofs(tmp_path)) == 1)
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: standing(kos, west) == "silent", 10)
        (tmp_path / "release").touch()
        here = [kos.client.submit(proof.hold, str(tmp_path), f"here{i}", code=CODE) for i in range(5)]
        assert [job.result(60) for job in here] == [f"here{i}" for i in range(5)]
        there = kos.client.submit(proof.hold, str(tmp_path), "there", where={"nodes": ["west"]}, code=CODE)
        wait_until(lambda: "its agent does not answer" in repr(kos.client.explain(there.id)))
        assert {record["node"] for record in proofs(tmp_path) if record["name"] != "before"}.isdisjoint({west})
    finally:
        os.kill(pid, signal.SIGCONT)
    assert there.result(60) == "there"
    assert before.result(60) == "before"
    assert [len(job.history()) for job in (before, there)] == [1, 1], "nothing was sent elsewhere, or twice"


def test_a_copy_of_the_state_directory_is_refused_while_the_first_lives(kos: KosCluster, tmp_path: Path) -> None:
    """Nobody is told that a scheduler runs on the copy, and the first one goes on."""
    copy = tmp_path / "copy"
    shutil.copytree(kos.state_dir, copy, ignore=shutil.ignore_patterns("*.sock"))
    with pytest.raises(Refused, match=f"expected the state directory .*{kos.state_dir}.*found {copy}"):
        clusters.up(address=kos.cluster.address, state_dir=copy)
    again = clusters.up(address=kos.cluster.address, state_dir=kos.state_dir)
    assert again.already_running
    (tmp_path / "release").touch()
    assert kos.client.submit(proof.hold, str(tmp_path), "after", code=CODE).result(60) == "after"


def standing(kos: KosCluster, node_id: str) -> str:
    """How a node stands in the ledger."""
    return next(node.state for node in kos.client.node_standings() if node.id == node_id)
