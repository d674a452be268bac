"""Node agents, and a scheduler, of another version of kos_ray: used, drained and replaced, or refused by name."""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import proof
import pytest
import ray

from kos_ray.model.protocol import PROTOCOL, Holding
from kos_ray.runtime import connect as clusters
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent_actor import AgentActor
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER, agent_name
from kos_ray.runtime.placing import on_head
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until

pytestmark = pytest.mark.ray
# what workers get of this module has to be whole: they need not find it
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OtherAgent(AgentActor):
    """An agent that says it is of another version."""

    def __init__(self, claims: int, *args: Any) -> None:
        super().__init__(*args)
        self._claims = claims

    async def hello(self, data: bytes) -> bytes:
        found = unpack(Holding, await super().hello(data))
        return pack(replace(found, protocol=self._claims, versions=(("kos_ray", "0.0.9"),)))

    async def claims(self) -> int:
        return self._claims


def put_in_place(kos: KosCluster, node_id: str, protocol: int, folder: Path) -> None:
    """Have a node's agent be one of that version: it takes the name when the one before has just died."""
    cluster_id = kos.client.status().cluster_id
    options = {**on_head(agent_name(node_id)), "max_restarts": 0, "max_concurrency": 100}
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
    made = ray.remote(OtherAgent).options(**{**options, "scheduling_strategy": strategy})

    def ours() -> bool:
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(agent_name(node_id), namespace=RAY_NAMESPACE))
        handle = made.remote(protocol, node_id, cluster_id, str(folder / "agent"), "", AgentLimits())
        try:
            found: int = ray.get(handle.claims.remote(), timeout=30)
        except (AttributeError, ray.exceptions.RayError) as error:
            print(type(error), str(error)[-600:])
            return False
        return found == protocol

    wait_until(ours)


def version_of(kos: KosCluster, node_id: str) -> str:
    return next(dict(node.versions).get("kos_ray", "") for node in kos.client.nodes() if node.id == node_id)


def standing(kos: KosCluster, node_id: str) -> str:
    return next(node.state for node in kos.client.node_standings() if node.id == node_id)


@pytest.fixture
def west(kos: KosCluster) -> str:
    return next(node.id for node in kos.client.nodes() if node.name == "west" and node.alive)


def test_an_agent_of_the_version_before_is_used_then_drained_and_replaced(
    kos: KosCluster, west: str, tmp_path: Path
) -> None:
    """What it runs goes on to its end under it; what comes meanwhile runs elsewhere, or under the new agent."""
    there: dict[str, Any] = {"where": {"nodes": ["west"]}, "code": CODE}
    kos.client.mark_nodes(["west"], cordoned=True)
    running = kos.client.submit(proof.hold, str(tmp_path), "running", **there)
    kos.client.mark_nodes(["west"], cordoned=False)
    put_in_place(kos, west, PROTOCOL - 1, tmp_path)
    wait_until(lambda: bool(proofs(tmp_path)))
    wait_until(lambda: standing(kos, west) == "retiring")
    assert version_of(kos, west) == "0.0.9"
    later = kos.client.submit(proof.hold, str(tmp_path), "later", **there)
    wait_until(lambda: kos.client.get(later.id).reason == "node_retires")
    assert "its agent is being replaced by one of another version" in repr(kos.client.explain(later.id))
    assert kos.client.submit(len, "abc", where={"nodes": ["east"]}).result(60) == 3
    assert len(proofs(tmp_path)) == 1, "nothing new starts there"
    (tmp_path / "release").touch()
    assert (running.result(60), later.result(60)) == ("running", "later")
    assert version_of(kos, west) != "0.0.9"
    assert standing(kos, west) == "open"
    ends = [attempt.end for job in (running, later) for attempt in job.history()]
    assert ends[-2:] == ["succeeded", "succeeded"], ends
    # the kill of the agent before may have cost the first one an attempt; the drained one cost none
    assert ends[:-2] in ([], ["lost"])


def test_an_agent_of_an_unknown_version_is_refused_by_name_and_replaced_when_told(
    kos: KosCluster, west: str, tmp_path: Path
) -> None:
    put_in_place(kos, west, PROTOCOL + 2, tmp_path)

    def refused() -> list[str]:
        return [leak.why for leak in clusters.leaks() if leak.name == agent_name(west) and not leak.ended]

    wait_until(lambda: bool(refused()))
    assert f"(kos_ray 0.0.9) speaks protocol {PROTOCOL + 2}, this scheduler" in refused()[0]
    assert f"speaks {PROTOCOL} and understands {PROTOCOL - 1} to {PROTOCOL + 1}" in refused()[0]
    job = kos.client.submit(len, "abcd", where={"nodes": ["west"]})
    assert kos.client.submit(len, "abc", where={"nodes": ["east"]}).result(60) == 3
    assert kos.client.get(job.id).state != "succeeded"
    clusters.leaks(end=True)
    assert job.result(60) == 4


def test_up_replaces_a_scheduler_of_another_version(
    kos: KosCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs goes on, and what was handed over is there."""
    job = kos.client.submit(proof.hold, str(tmp_path), "through", code=CODE)
    wait_until(lambda: len(proofs(tmp_path)) == 1)
    before = ray.get(ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE).greet.remote())
    assert before["installed"] == before["version"]
    answers = iter([{**before, "installed": "9.9.9"}])
    answer = clusters._answer
    monkeypatch.setattr(clusters, "_answer", lambda scheduler: next(answers, None) or answer(scheduler))
    report = clusters.up(address=kos.cluster.address, state_dir=kos.state_dir)
    assert report.started == (f"scheduler (kos_ray 9.9.9 in the place of {before['version']})",)
    after = ray.get(ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE).greet.remote())
    assert (after["epoch"], after["cluster_id"]) == (before["epoch"] + 1, before["cluster_id"])
    (tmp_path / "release").touch()
    assert job.result(60) == "through"
    assert [attempt.end for attempt in job.history()] == ["succeeded"]
