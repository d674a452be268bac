"""Agents of other versions: which are served, and in which order they are replaced."""

from dataclasses import replace

from kos_ray.model.events import NodeCondition
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.node import RETIRES, RETIRES_NOW, Node
from kos_ray.model.protocol import PROTOCOL, Holding
from kos_ray.model.resources import Resources
from kos_ray.runtime.versions import GRACE_S, Replacements, misfit
from kos_ray.scheduler.state import Lane, NodeState

KIND = SlotKind(resources=Resources.of({"CPU": 1}))


def node(name: str, version: str = "1.0", held: int = 0) -> NodeState:
    found = NodeState(Node(NodeId(name), name, Resources.of({"CPU": 9}), versions=(("kos_ray", version),)))
    lane = found.lanes[KIND] = Lane(KIND)
    lane.held = {JobKey(key): 1 for key in range(held)}
    return found


class Cluster:
    """What a scheduler of version 2.0 does with nodes."""

    def __init__(self, *nodes: NodeState) -> None:
        self.nodes = {one.node.id: one for one in nodes}
        self.now = 0.0
        self.replacements = Replacements("2.0", lambda: self.now)

    def look(self, after_s: float = 1.0) -> tuple[dict[str, int], tuple[str, ...]]:
        self.now += after_s
        step = self.replacements.look(self.nodes.values())
        for said in step.said:
            assert isinstance(said, NodeCondition)
            self.nodes[said.node].retires = said.retires
        return {said.node: said.retires for said in step.said}, step.over

    def replaced(self, name: str, version: str = "2.0") -> None:
        self.nodes[NodeId(name)] = node(name, version)


def test_one_after_another_the_least_loaded_first_and_only_when_nothing_runs_there() -> None:
    cluster = Cluster(node("a", held=2), node("b", held=1), node("new", "2.0", held=3))
    assert cluster.look() == ({"b": RETIRES}, ())
    assert cluster.look() == ({}, ())
    cluster.nodes[NodeId("b")].lanes[KIND].held.clear()
    assert cluster.look() == ({}, ("b",))
    cluster.replaced("b")
    assert cluster.look() == ({"a": RETIRES}, ())


def test_one_of_four_at_a_time() -> None:
    cluster = Cluster(*[node(f"n{i}", held=1) for i in range(8)])
    assert cluster.look() == ({"n0": RETIRES, "n1": RETIRES}, ())
    assert cluster.look() == ({}, ())


def test_what_runs_is_asked_to_give_way_when_its_time_is_over() -> None:
    cluster = Cluster(node("a", held=1))
    assert cluster.look() == ({"a": RETIRES}, ())
    assert cluster.look() == ({}, ())
    assert cluster.look(GRACE_S - 1) == ({}, ())
    assert cluster.look() == ({"a": RETIRES_NOW}, ())
    assert cluster.look() == ({}, ())


def test_a_node_with_nothing_newer_is_replaced_once_and_used_again() -> None:
    cluster = Cluster(node("a"))
    assert cluster.look() == ({"a": RETIRES}, ())
    assert cluster.look() == ({}, ("a",))
    cluster.replaced("a", "1.0")
    assert cluster.look() == ({}, ())
    # the agent did not end: it is not kept waiting
    cluster.nodes[NodeId("a")].retires = RETIRES
    assert cluster.look() == ({"a": 0}, ())


def test_protocols_next_to_ours_are_served_and_others_are_named() -> None:
    holding = Holding(node=NodeId("n"), incarnation="i", protocol=PROTOCOL, versions=(("kos_ray", "7.1"),))
    for protocol in (PROTOCOL - 1, PROTOCOL, PROTOCOL + 1):
        assert misfit(replace(holding, protocol=protocol), "2.0") == ""
    for protocol in (PROTOCOL - 2, PROTOCOL + 2):
        wrong = misfit(replace(holding, protocol=protocol), "2.0")
        assert f"kos_ray 7.1) speaks protocol {protocol}, this scheduler (kos_ray 2.0) speaks {PROTOCOL}" in wrong
