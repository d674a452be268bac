"""Snapshots of agents on a real cluster: gone back to while messages come, and kept when the GPU is wanted."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keepers
import pytest

from kos_ray.model.errors import Refused
from tests.ray.conftest import CODE, KosCluster, wait_until

pytestmark = pytest.mark.ray


@pytest.fixture
def counter(kos: KosCluster, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A counter of the test's own name; what it is registered with stands in the test's `parametrize`."""
    name = request.node.name.partition("[")[0].removeprefix("test_")
    said = getattr(request, "param", {})
    kos.client.register_agent(keepers.Counter, name=name, code=CODE, **said)
    yield name, kos.client.agent(name)
    kos.client.stop_agent(name)
    wait_until(lambda: phase(kos, name) in ("stopped", "failed"))
    kos.client.remove_agent(name, force=True)


def phase(kos: KosCluster, name: str) -> str:
    return str(kos.client.get_agent(name)["phase"])


def test_gone_back_to_while_messages_come(kos: KosCluster, counter: Any) -> None:
    name, handle = counter
    assert handle.add(100) == 100
    (first,) = kos.client.agent_snapshots(name)
    results: list[int] = []
    sender = threading.Thread(target=lambda: results.extend(handle.add() for _ in range(14)), daemon=True)
    sender.start()
    wait_until(lambda: len(results) >= 5)
    said = kos.client.rollback_agent(name, first["id"][:6], "once more")
    assert said["snapshot"] == first["id"]
    sender.join(120)
    assert len(results) == 14, "callers saw a delay and no error"
    old = next(i for i, (one, two) in enumerate(itertools.pairwise(results), 1) if two < one)
    assert results == [*range(101, 101 + old), *range(101, 115 - old)]
    branches = [one for one in kos.client.agent_snapshots(name) if one["parent"] == first["id"]]
    assert branches, "it was saved from there on"
    one = kos.client.get_agent(name)
    assert (one["phase"], one["crashes"], one["note"]) == ("running", 0, "once more")


@pytest.mark.parametrize("counter", [{"snapshot_every": 0}], indirect=True)
def test_taken_and_back_and_forward_again(kos: KosCluster, counter: Any) -> None:
    name, handle = counter
    handle.add(1)
    one = kos.client.snapshot_agent(name)
    handle.add(10)
    kos.client.rollback_agent(name, one["id"])
    assert handle.add(0) == 1
    (left,) = [found for found in kos.client.agent_snapshots(name) if found["why"] == "suspend"]
    assert left["parent"] == one["id"]
    kos.client.rollback_agent(name, left["id"])
    assert handle.add(0) == 11
    kos.client.suspend_agent(name)
    wait_until(lambda: phase(kos, name) == "suspended")
    with pytest.raises(Refused, match="expected one that is running"):
        kos.client.snapshot_agent(name)
    with pytest.raises(Refused, match=one["id"]):
        kos.client.rollback_agent(name, "no such")
    kos.client.rollback_agent(name, one["id"])
    kos.client.resume_agent(name)
    assert handle.add(0) == 1


@pytest.mark.parametrize("counter", [{"resources": {"cpu": 0.1, "gpu": 1}, "snapshot_every": 0}], indirect=True)
def test_its_gpu_is_given_to_what_is_critical_and_it_comes_back(kos: KosCluster, counter: Any, tmp_path: Path) -> None:
    node = kos.cluster.add_node(num_cpus=1, num_gpus=1, labels={"kos/name": "painter"})
    try:
        name, handle = counter
        assert handle.add(5) == 5
        gate = tmp_path / "gate"
        urgent = kos.client.submit(
            keepers.hold, str(gate), priority="critical", resources={"cpu": 0.1, "gpu": 1}, code=CODE
        )
        wait_until(lambda: urgent.status.state == "running")
        waits = handle.add.submit(1)
        assert kos.client.explain(waits.id).reason == "agent_away"
        assert phase(kos, name) == "starting"
        gate.touch()
        assert urgent.result(60) == 1
        assert waits.result(60) == 6
        assert [one["why"] for one in kos.client.agent_snapshots(name)] == ["suspend"]
        assert kos.client.get_agent(name)["crashes"] == 0
    finally:
        kos.client.suspend_agent(name)
        wait_until(lambda: phase(kos, name) == "suspended")
        kos.cluster.remove_node(node)
