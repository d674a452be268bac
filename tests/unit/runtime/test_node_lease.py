"""A node's lease: it is over there before the scheduler takes it as over, however long its answer was on its way."""

import asyncio

import pytest

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.protocol import Renew, Renewed
from kos_ray.runtime.agent import leases
from kos_ray.runtime.agent.leases import NodeLease


class World:
    """A clock, and a scheduler whose answers take their time."""

    #: of the highest scheduler that the agent has heard of
    epoch = 3

    def __init__(self, took_s: float = 0.0, answer: Renewed | None = None) -> None:
        self.now = 100.0
        self.asked = 0
        self._took_s = took_s
        self._answer = answer or Renewed(epoch=3, lease_ms=9_000)

    async def renew(self, _renew: Renew) -> Renewed:
        self.asked += 1
        self.now += self._took_s
        return self._answer


def left_ms(world: World, monkeypatch: pytest.MonkeyPatch, *, later_s: float = 0.0) -> list[int]:
    """What an attempt is told at once, and so much later."""
    monkeypatch.setattr(leases, "_now", lambda: world.now)

    async def ask() -> list[int]:
        lease = NodeLease(node=NodeId("n"), incarnation="i", uplink=world, reports=world, send_ms=1_000)  # type: ignore[arg-type]
        first = await lease.left_ms(JobKey(1), 1)
        world.now += later_s
        return [first, await lease.left_ms(JobKey(1), 1)]

    return asyncio.run(ask())


@pytest.mark.parametrize(("took_s", "found"), [(0.0, 9_000), (2.0, 7_000), (9.5, 0)])
def test_time_counts_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, took_s: float, found: int) -> None:
    assert left_ms(World(took_s), monkeypatch)[0] == found


def test_more_is_asked_for_when_a_third_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = World(), World()
    assert left_ms(early, monkeypatch, later_s=2.5)[1] == 6_500
    assert left_ms(late, monkeypatch, later_s=3.0)[1] == 9_000
    assert (early.asked, late.asked) == (1, 2)


@pytest.mark.parametrize("answer", [Renewed(epoch=2, lease_ms=9_000), Renewed(epoch=3, lease_ms=0)])
def test_a_scheduler_that_was_replaced_grants_nothing(monkeypatch: pytest.MonkeyPatch, answer: Renewed) -> None:
    assert left_ms(World(answer=answer), monkeypatch) == [0, 0]
