"""A hog fills a node's memory: the agent beside it goes on elsewhere, with its state; where all is calm nothing moves.

The nodes share one machine, so each declares a memory of its own, of which its own processes use a share.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hogs
import keepers
import pytest
import ray
from ray.cluster_utils import Cluster

import kos_ray
from kos_ray.client import Client
from kos_ray.model.reasons import Reason
from kos_ray.runtime import connect as clusters
from kos_ray.spec.policies import parse_words
from tests.ray.conftest import CODE, FAST, wait_until

pytestmark = pytest.mark.ray

MIB = 2**20
#: what a node declares, and what the hog takes of it: whatever else the machine does, that presses it
DECLARED, HOG = 1_500, 1_250
HEARTBEAT_S = 2.0
#: measurements of each node while nothing happens, and seconds between them
CALM_SAMPLES, CALM_S = 20, 0.2
SETTINGS = [
    "rebalance={memory: {high: 75%, low: 65%}, after: 1, rest: 10m, moves_per_minute: 1}",
    f"heartbeat_interval={HEARTBEAT_S}",
    "max_memory_usage=95%",
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": {**FAST, "memory_monitor_refresh_ms": 0}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for name in ("east", "west"):
            cluster.add_node(num_cpus=2, memory=DECLARED * MIB, labels={"kos/name": name})
        ray.init(address=cluster.address, namespace="kos_ray", log_to_driver=False)
        clusters.up(address=cluster.address, state_dir=tmp_path_factory.mktemp("state"))
        with kos_ray.connect(start=False) as found:
            wait_until(lambda: sum(node.alive for node in found.nodes()) == 3)
            yield found
        clusters.down(address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def told(client: Client) -> list[tuple[int, str, dict[str, Any]]]:
    """What the journal has of pressure and of what left for it."""
    kinds = ("NodePressed", "NodeCalm", "Stop", "LetBack")
    return [(event.at_us, event.kind, event.detail) for event in client.events(0, 10_000) if event.kind in kinds]


def test_a_hog_has_an_agent_moved_with_its_state(client: Client, tmp_path: Path) -> None:
    client.settings(parse_words(SETTINGS))
    east = {"labels": {"kos/name": "east"}}
    where = {"prefer": [{**east, "weight": 9}]}
    client.register_agent(keepers.Ballast, name="small", args=(1, 60), code=CODE, priority="background", where=where)
    small = client.agent("small")
    assert small.add() == 2
    names = {node.id: node.name for node in client.nodes()}
    before, _ = small.where()
    assert names[before] == "east"

    # while all is calm nothing is said of any measurement, and nothing moves
    client.settings(parse_words([f"heartbeat_interval={CALM_S}"]))
    heard: dict[str, dict[int, int]] = {"east": {}, "west": {}}

    def heard_enough() -> bool:
        for node in client.node_standings():
            if node.name in heard and node.measured_us:
                heard[node.name][node.measured_us] = dict(node.loads)["memory"]
        return all(len(loads) >= CALM_SAMPLES for loads in heard.values())

    wait_until(heard_enough)
    most = max(load for loads in heard.values() for load in loads.values())
    assert most < 750, "the machine itself is full: this proves nothing"
    assert not told(client)
    client.settings(parse_words([f"heartbeat_interval={HEARTBEAT_S}"]))

    asked = {"cpu": 1, "memory": (HOG + 100) * MIB}
    hog = client.submit(hogs.fill, HOG, str(tmp_path), priority="critical", resources=asked, where=east, code=CODE)
    wait_until((tmp_path / "full").exists, 120)
    full_us = int(float((tmp_path / "full").read_text()) * 1e6)
    wait_until(lambda: [kind for _, kind, _ in told(client)] == ["NodePressed", "Stop"])
    (pressed_us, _, pressed), (stopped_us, _, stop) = told(client)
    carrier = client.get_agent("small")["job"]
    assert pressed_us == stopped_us, "one frame"
    assert stopped_us - full_us <= 2 * HEARTBEAT_S * 1e6, "within two heartbeats"
    assert (pressed["node"], stop["node"], stop["keys"]) == (before, before, (carrier,))
    assert stop["reason"] == Reason.MOVED
    assert small.add(3) == 5, "its state went with it, and the handle is the same"
    assert names[small.where()[0]] == "west"
    assert small.history() == ["suspend", "resume"]

    standing = {node.name: node for node in client.node_standings()}
    assert (standing["east"].state, standing["west"].state) == ("pressed", "open")
    assert client.get(hog.id).state == "running", "it is of a high band, and no agent"
    waits = client.submit(math.sqrt, 4, where=east)
    wait_until(lambda: client.get(waits.id).reason == "node_pressed")
    # max_memory_usage holds on the node that the agent went to, as everywhere
    large = client.submit(math.sqrt, 9, resources={"memory": DECLARED * MIB * 97 // 100})
    wait_until(lambda: client.get(large.id).reason == "never_fits")

    (tmp_path / "release").touch()
    assert hog.result(60) == HOG
    assert waits.result(60) == 2, "the node is calm again, and takes what is new"
    assert names[small.where()[0]] == "west", "and nothing goes back and forth"
    assert [kind for _, kind, detail in told(client) if kind != "Stop" or detail["reason"] == Reason.MOVED] == [
        "NodePressed",
        "Stop",
        "NodeCalm",
    ]
    client.cancel([large.id])
    client.stop_agent("small")
