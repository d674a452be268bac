"""How often nodes are looked at."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.model.policy import Policy
from kos_ray.runtime import nodes as nodes_module
from kos_ray.runtime.nodes import NodeWatch


class Enough(BaseException):
    """The watch has said how long it waits."""


@pytest.mark.parametrize("heartbeat_us", [200_000, 5_000_000])
def test_nodes_are_looked_at_as_often_as_is_set(monkeypatch: pytest.MonkeyPatch, heartbeat_us: int) -> None:
    waited: list[float] = []

    async def wait_for(what: Any, timeout_s: float) -> None:
        what.close()
        waited.append(timeout_s)
        raise Enough

    engine: Any = SimpleNamespace(state=SimpleNamespace(policy=Policy(heartbeat_us=heartbeat_us), nodes={}))
    links: Any = SimpleNamespace(by_node={})
    monkeypatch.setattr(nodes_module.ray, "nodes", list)
    monkeypatch.setattr(nodes_module.asyncio, "wait_for", wait_for)

    async def watch() -> None:
        with pytest.raises(Enough):
            await NodeWatch(engine, links, "c", "0", "").run()

    asyncio.run(watch())
    assert waited == [heartbeat_us / 1e6]
