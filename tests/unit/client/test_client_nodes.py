"""Which node somebody means, and under which name what is said of it is kept."""

import pytest

from kos_ray.client.nodes import named_node
from kos_ray.model.errors import NotFound, Refused
from kos_ray.model.views import NodeStanding

ALONE = NodeStanding(id="aaaaaabb", name="one-aaaaaa", host="one")
TWINS = [NodeStanding(id=f"bbbbbb{i}", name=f"two-bbbbbb{i}"[:10], host="two") for i in range(2)]
NAMED = NodeStanding(id="cccccc00", name="gpu-7", host="three")
GONE = NodeStanding(id="", name="four", cordoned=True)
ALL = [ALONE, *TWINS, NAMED, GONE]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("one", "one"),
        ("one-aaaaaa", "one"),  # the id in its name passes, the host's name stays
        ("aaaaaabb", "one"),
        ("aaaaaa", "one"),
        ("two", "two"),
        ("gpu-7", "gpu-7"),
        ("cccccc00", "gpu-7"),
        ("four", "four"),
    ],
)
def test_a_name_that_stays(text: str, name: str) -> None:
    assert named_node(text, ALL) == name


def test_one_of_two_nodes_of_a_host_keeps_its_own_name() -> None:
    node = NodeStanding(id="dddddd00", name="two-dddddd", host="two")
    assert named_node("dddddd00", [*ALL, node]) == "two-dddddd"


def test_nobody_is_meant() -> None:
    with pytest.raises(NotFound, match=r"there is no node 'five'; expected .*four, gpu-7, one-aaaaaa"):
        named_node("five", ALL)
    with pytest.raises(NotFound):
        named_node("aaaa", ALL)


def test_two_are_meant() -> None:
    with pytest.raises(Refused, match="2 nodes begin with 'bbbbbb'"):
        named_node("bbbbbb", ALL)


def test_states() -> None:
    node = NodeStanding(id="a", name="a")
    assert node.state == "open"
    assert NodeStanding(id="a", name="a", cordoned=True).state == "cordoned"
    assert NodeStanding(id="a", name="a", cordoned=True, draining=True, attempts=2).state == "draining"
    assert NodeStanding(id="a", name="a", cordoned=True, draining=True).state == "drained"
    assert GONE.state == "absent"
