"""When a heartbeat is an event: past a threshold for long enough, and each change once."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.engine.pressure import OLD_AFTER, Pressures
from kos_ray.model.events import NodeCalm, NodePressed, NodesJoined
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.rebalance import Rebalance, Threshold
from kos_ray.model.resources import Resources
from kos_ray.model.sample import Sample, Use
from kos_ray.runtime.loads import Loads
from kos_ray.scheduler.apply import apply_event
from kos_ray.scheduler.pressure import Moved
from kos_ray.scheduler.state import State

N = NodeId("n")
SECOND_US = 1_000_000
USE = Use(7, 2, {"memory": 150, "cpu": 3}, 100, 1)


class Node1:
    """One node that beats once a second."""

    def __init__(self, **said: Any) -> None:
        thresholds = (Threshold(kind="memory", high=900, low=800), Threshold(kind="battery", high=850, low=750))
        self.state = State(policy=Policy(rebalance=Rebalance(thresholds=thresholds, **said)))
        joined = NodesJoined(nodes=(Node(N, "n", Resources.of({"CPU": 1}), incarnation="1"),))
        apply_event(self.state, joined, 1)
        self.pressures = Pressures()
        self.now_us = 1
        #: by a clock of its own
        self.sample = Sample(at_us=99)

    def beat(self, after_us: int = SECOND_US, **loads: int) -> NodePressed | NodeCalm | None:
        self.sample = Sample(loads=loads, uses=(USE,), at_us=self.sample.at_us + 7)
        return self.resend(after_us)

    def resend(self, after_us: int = SECOND_US) -> NodePressed | NodeCalm | None:
        """A heartbeat for which no new measurement was ready."""
        self.now_us += after_us
        found = self.pressures.heard(self.state, N, self.sample, self.now_us)
        if found is not None:
            apply_event(self.state, found, self.now_us)
        return found

    def beats(self, *memory: int) -> list[str]:
        return ["" if (found := self.beat(memory=load)) is None else type(found).__name__ for load in memory]


def test_it_takes_two_heartbeats_in_a_row_to_change_and_between_the_thresholds_nothing_changes() -> None:
    node = Node1()
    assert node.beats(899, 900, 899, 950, 950) == ["", "", "", "", "NodePressed"]
    assert node.beats(801, 850, 899, 800, 801, 800, 700) == ["", "", "", "", "", "", "NodeCalm"]
    assert node.beats(700, 890, 300) == ["", "", ""]
    assert Node1(after=1).beats(900, 800) == ["NodePressed", "NodeCalm"]


def test_a_measurement_that_comes_with_several_heartbeats_counts_once() -> None:
    node = Node1()
    node.beat(memory=950)
    assert not any(node.resend() for _ in range(5)), "one spike, and a node that is slow to measure itself"
    assert isinstance(node.beat(memory=950), NodePressed)
    node.beat(memory=700)
    assert not any(node.resend() for _ in range(5))
    assert isinstance(node.beat(memory=700), NodeCalm)


def test_a_node_that_measures_itself_no_more_is_calm_and_not_pressed_by_what_it_was() -> None:
    node = Node1()
    node.beats(950, 950)
    assert not any(node.resend() for _ in range(OLD_AFTER - 1))
    # nobody comes back to it for a load that it might have
    assert node.resend() == NodeCalm(node=N, kinds=("memory", "battery"), loads=(950, 0))
    assert node.state.nodes[N].pressed == ()
    node.state.pressure.moved[JobKey(7)] = Moved(N, 10**12, {"memory": 100})
    assert not any(node.resend() for _ in range(125))
    assert node.beats(950, 950) == ["NodeCalm", "NodePressed"], "it can again; the first is said for whoever waits"
    # by the interval that the settings say
    node.state.policy = replace(node.state.policy, heartbeat_us=10 * SECOND_US)
    assert not any(node.resend() for _ in range(10 * OLD_AFTER - 1))
    assert isinstance(node.resend(), NodeCalm)


def test_measurements_that_do_not_say_when_count_each() -> None:
    node = Node1()
    for expected in (None, NodePressed):
        node.sample = Sample(loads={"memory": 950})
        assert type(node.resend()) is (expected or type(None))


def test_what_is_said_of_a_node_that_is_pressed() -> None:
    node = Node1(after=1)
    assert node.beat(memory=950, battery=100, cpu=1_000) == NodePressed(
        node=N, kinds=("memory",), loads=(950,), keys=(JobKey(7),), attempts=(2,), uses=((150,),)
    )
    both = node.beat(memory=940, battery=900)
    assert both == NodePressed(
        node=N, kinds=("battery", "memory"), loads=(900, 940), keys=(JobKey(7),), attempts=(2,), uses=((-1, 150),)
    )
    assert node.beat(memory=300, battery=900).kinds == ("battery",)  # type: ignore[union-attr]
    # it is being charged: a battery that nobody measures does not press
    assert node.beat(memory=300) == NodeCalm(node=N, kinds=("memory", "battery"), loads=(300, 0))


def test_it_is_said_again_once_a_minute_while_it_lasts() -> None:
    node = Node1()
    node.beats(950, 950)
    said = [node.beat(memory=990) for _ in range(125)]
    assert [number for number, found in enumerate(said, 1) if found] == [60, 120]
    node.beats(100, 100)
    assert not any(node.beat(memory=100) for _ in range(125))
    node.state.pressure.moved[JobKey(7)] = Moved(N, 10**12, {"memory": 100})
    assert isinstance(node.beat(memory=50), NodeCalm), "somebody waits for this"
    assert not any(node.beat(memory=50) for _ in range(59))
    assert isinstance(node.beat(memory=50), NodeCalm)


def test_where_no_threshold_is_set_any_more_a_pressed_node_is_calm() -> None:
    node = Node1()
    node.beats(950, 950)
    node.state.policy = Policy()
    assert node.beat(memory=990) == NodeCalm(node=N)
    assert node.state.nodes[N].pressed == ()
    assert node.beat(memory=990) is None


def test_heartbeats_are_judged_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node1(after=1)
    posted: list[Any] = []
    engine: Any = SimpleNamespace(state=node.state, now_us=lambda: 5)
    loads = Loads(engine, posted.append)
    loads.heard(N, Sample(loads={"memory": 100}).to_wire())
    assert not posted
    loads.heard(N, Sample(loads={"memory": 900}).to_wire())
    assert [type(event) for event in posted] == [NodePressed]
    loads.heard(NodeId("gone"), Sample(loads={"memory": 900}).to_wire())
    assert len(posted) == 1
    monkeypatch.setattr(Sample, "from_wire", lambda _said: pytest.fail("nobody asked what it means"))
    node.state.policy = Policy()
    loads.heard(N, ({}, {}, ()))
