"""One real Ray cluster of three nodes for each module of tests."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"

import pytest
import ray
from ray.cluster_utils import Cluster
from typer.main import get_command

from kos_ray.cli.main import app
from kos_ray.client import Client, connect
from kos_ray.runtime import connect as clusters

CODE = Path(__file__).parent / "code"
#: what is installed where the scheduler runs
HEAD = Path(__file__).parent / "head"
os.environ["PYTHONPATH"] = os.pathsep.join([str(HEAD), *filter(None, [os.environ.get("PYTHONPATH")])])
sys.path.insert(0, str(CODE))

#: a node that is gone refuses connections, and is seen after a second, not after thirteen; one that is only slow to
#: answer, on a machine with other work, has the time that it needs
FAST = {
    "health_check_initial_delay_ms": 1_000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 3,
}
NODE_CPUS = 2
#: the nodes beside the head, in a zone each
NAMED_NODES = ("east", "west")


@dataclass
class KosCluster:
    cluster: Cluster
    client: Client
    state_dir: Path

    def alive_nodes(self) -> int:
        return sum(node.alive for node in self.client.nodes())


@pytest.fixture(scope="module")
def kos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KosCluster]:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": NODE_CPUS, "include_dashboard": False, "_system_config": FAST},
    )
    state_dir = tmp_path_factory.mktemp("state")
    try:
        for name in NAMED_NODES:
            cluster.add_node(num_cpus=NODE_CPUS, labels={"kos/name": name, "zone": f"zone-{name}"})
        ray.init(address=cluster.address, namespace="kos_ray", log_to_driver=False)
        clusters.up(address=cluster.address, state_dir=state_dir)
        with connect(start=False) as client:
            found = KosCluster(cluster, client, state_dir)
            wait_until(lambda: found.alive_nodes() == 3)
            yield found
        clusters.down(address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def run(*words: str) -> Any:
    """What `kos` writes as JSON."""
    written = StringIO()
    with redirect_stdout(written), redirect_stderr(StringIO()):
        get_command(app).main([*words, "--json"], standalone_mode=False)
    return json.loads(written.getvalue())


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that nobody announces; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} seconds"
        time.sleep(0.02)


def proofs(folder: Path) -> list[dict[str, Any]]:
    """What attempts have proved, in the order of their entry."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda p: p["entry"])


def most_at_once(records: list[dict[str, Any]]) -> dict[str, float]:
    """For each node, the most CPUs that attempts held at one instant, by Ray's own word on what they held."""
    most: dict[str, float] = {}
    for node in {record["node"] for record in records}:
        edges = []
        for record in records:
            if record["node"] == node:
                cpus = record["resources"].get("CPU", 0)
                edges += [(record["entry"], cpus), (record["exit"], -cpus)]
        held = 0.0
        for _, change in sorted(edges):
            held += change
            most[node] = max(most.get(node, 0), held)
    return most
