"""What is found once about nodes is found anew when it changes: on one state, which no snapshot ever refreshed."""

import pytest

from kos_ray.model.decisions import Launch
from kos_ray.model.job import SlotKind
from kos_ray.model.node import Node
from kos_ray.model.resources import UNIT, Resources
from kos_ray.scheduler import fgd
from kos_ray.scheduler.machine import next_due_us, step
from kos_ray.scheduler.state import Lane, NodeState
from tests.scenarios.language import Play

#: what keeps a job waiting, and what lets it start though no node has more room
CASES = {
    "a label": ("on=zone:x", [], "_label", ("a", "zone:x")),
    "uncordoned": ("", ["cordon a"], "_uncordon", ("a",)),
    "charged": ("battery=50", ["is a battery=20"], "_is", ("a", "battery=-1")),
    "GPU memory": ("gpu_memory=20", ["is a free=10"], "_is", ("a", "free=40")),
    "no windows": ("", ["open a 9s-10s"], "_open", ("a",)),
    "a neighbour ends": ("apart=tag:x", ["submit x cpu=1 tag=x single"], "_end", ("x",)),
    "a neighbour comes": ("near=tag:x", [], "_submit", ("x", "cpu=1", "tag=x", "single")),
}


@pytest.mark.parametrize("case", CASES)
def test_what_changed_is_seen(case: str) -> None:
    options, before, verb, words = CASES[case]
    play = Play()
    play.do(["node a cpu=4 gpu=1 gpu-memory:40"])
    for line in before:
        play.do([line])
    play.do([f"submit j cpu=1 {options}"])
    assert step(play.state, [], play.now_us) == []
    launches = [
        found for found in step(play.state, [getattr(play, verb)(*words)], play.now_us) if isinstance(found, Launch)
    ]
    assert play.keys["j"] in [key for launch in launches for key in launch.keys]


def test_a_window_that_opens_wakes_the_scheduler() -> None:
    play = Play()
    play.do(["node a cpu=4", "open a 0s-5s 30s-90s", "open ns:default 20s-90s"])
    play.do(["submit j cpu=1 run=10s"])
    step(play.state, [], play.now_us)
    # its node's present window is too short for it
    assert next_due_us(play.state, play.now_us) == 30_000_000


def _node(gpus: float, *held: tuple[float, int]) -> NodeState:
    node = NodeState(Node(id="a", name="a", resources=Resources.of({"CPU": 64, "GPU": gpus})))  # type: ignore[arg-type]
    for amount, slots in held:
        kind = SlotKind(resources=Resources.of({"GPU": amount}))
        node.lanes[kind] = Lane(kind)
        node.lanes[kind].slots = slots
        node.free["GPU"] -= round(amount * UNIT) * slots
    return node


@pytest.mark.parametrize(
    ("node", "found"),
    [
        (_node(2), [1, 1]),
        (_node(2, (1, 1)), [1, 0]),
        (_node(3, (0.5, 3)), [0, 0.5, 1]),
        (_node(3, (0.5, 1), (0.25, 2), (1, 1)), [0, 0, 1]),
        (_node(0.5), [0.5]),
    ],
)
def test_devices_as_ray_shares_them_out(node: NodeState, found: list[float]) -> None:
    assert sorted(fgd.devices(node)) == sorted(round(amount * UNIT) for amount in found)
