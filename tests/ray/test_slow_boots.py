"""A node agent and a slot that take long to be ready are waited for."""

import os
from collections.abc import Iterator
from pathlib import Path

import proof
import pytest
import ray

from kos_ray.runtime.names import RAY_NAMESPACE
from kos_ray.worker import failpoint
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until

pytestmark = pytest.mark.ray

#: seconds; of a slot more than Ray has for giving it room and a process
AGENT_S, SLOT_S = 6, 34


@pytest.fixture(scope="module", autouse=True)
def _slow() -> Iterator[None]:
    """Before the cluster starts: its processes have it from here."""
    os.environ[failpoint.SLOW] = f"agent.boots:{AGENT_S},slot.boots:{SLOT_S}"
    yield
    del os.environ[failpoint.SLOW]


def boots(kos: KosCluster) -> str:
    found = kos.client.status().scheduling
    return "\n".join(found.boots) if found else ""


def test_one_start_of_each_and_nobody_is_charged(kos: KosCluster, tmp_path: Path) -> None:
    kos.cluster.add_node(num_cpus=1, labels={"kos/name": "slow"})
    (tmp_path / "release").touch()
    job = kos.client.submit(proof.hold, str(tmp_path), "slow", where={"nodes": ["slow"]}, code=CODE)
    wait_until(lambda: "its agent has been starting for" in boots(kos))
    named = [
        one["name"] for one in ray.util.list_named_actors(all_namespaces=True) if one["namespace"] == RAY_NAMESPACE
    ]
    assert len(named) == len(set(named)) == 6, "scheduler, reader and an agent for each of four nodes"
    wait_until(lambda: "1 slots boot" in boots(kos))
    explained = kos.client.explain(job.id)
    assert explained is not None
    assert "1 slots boot" in explained.boots
    assert job.result(120) == "slow"
    (attempt,) = job.history()
    assert attempt.end == "succeeded"
    assert len(proofs(tmp_path)) == 1
    wait_until(lambda: not boots(kos))
    view = kos.client.get(job.id)
    assert view.entered_us - view.launched_us > SLOT_S * 1_000_000
