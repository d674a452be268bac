"""A real Ray cluster of several raylets on this machine, that can be lost as a whole and come again."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"

import psutil
import ray
from ray.cluster_utils import Cluster

from kos_ray.client import Client, connect
from kos_ray.runtime import connect as clusters
from kos_ray.runtime.names import RAY_NAMESPACE, READER, SCHEDULER, agent_name
from kos_ray.spec.policies import parse_words

#: a raylet that is gone is seen after a second or two
FAST = {
    "health_check_initial_delay_ms": 1_000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 3,
}
NODE_CPUS = 2
#: a node that hears nothing of its agent for a while gets no work
LEASE_S = 3
SETTINGS = parse_words(["idle_slot=500ms", "grace=300ms", "heartbeat_interval=300ms", f"lease={LEASE_S}s"])
_UP_S = 90.0


class ChaosCluster:
    """Head and workers; every process of it is a child of this one, or of such a child."""

    def __init__(self, state_dir: Path, workers: int) -> None:
        self.state_dir = state_dir
        self._workers = workers
        self._cluster: Any = None
        self.client: Client
        self.up()

    def up(self) -> None:
        """A fresh Ray cluster on the state directory."""
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": NODE_CPUS, "include_dashboard": False, "_system_config": FAST},
        )
        # while there is no other: the raylet that this driver belongs to is the head's, and is not taken away alone
        ray.init(address=self._cluster.address, namespace=RAY_NAMESPACE, log_to_driver=False)
        for _ in range(self._workers):
            self.add_node()
        clusters.up(address=self._cluster.address, state_dir=self.state_dir)
        self.client = connect(start=False)
        self.client.settings(SETTINGS)
        self.until(lambda: len(self.agents()) == 1 + self._workers, "agents on all nodes")

    def lose_head(self) -> None:
        """Kill every process of Ray at once, as a machine's end does, and start another cluster on what is on disk."""
        with contextlib.suppress(Exception):
            self.client._outbox.close()
        doomed = psutil.Process().children(recursive=True)
        for process in doomed:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(doomed, timeout=10)
        with contextlib.suppress(Exception):
            ray.shutdown()
        with contextlib.suppress(Exception):
            self._cluster.shutdown()
        self.up()

    def add_node(self) -> None:
        self._cluster.add_node(num_cpus=NODE_CPUS)

    def lose_worker(self, number: int) -> bool:
        """Kill a raylet that is not the head's; `fill` has another one come."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.unique_id))
        if not nodes:
            return False
        self._cluster.remove_node(nodes[number % len(nodes)], allow_graceful=False)
        return True

    def fill(self) -> None:
        """Start raylets for those that are gone. Ray does that in the main thread only."""
        while len(self._cluster.worker_nodes) < self._workers:
            self.add_node()

    def agents(self) -> list[Any]:
        """Handles of the agents that there are."""
        found = []
        for node in ray.nodes():
            if node["Alive"]:
                with contextlib.suppress(ValueError):
                    found.append(ray.get_actor(agent_name(node["NodeID"]), namespace=RAY_NAMESPACE))
        return found

    def pid_of(self, who: str, number: int) -> int:
        """The process of the scheduler, the reader or an agent; 0 where it does not answer."""
        try:
            if who == "scheduler":
                scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
                return int(ray.get(scheduler.greet.remote(), timeout=5)["pid"])
            if who == "agent":
                agents = self.agents()
                return int(ray.get(agents[number % len(agents)].beat.remote(), timeout=5)) if agents else 0
        except (ValueError, ray.exceptions.RayError):
            return 0
        # the reader says nothing of its process: Ray names it by its class
        title = "ray::ReaderActor"
        ours = psutil.Process().children(recursive=True)
        return next((process.pid for process in ours if title in _title(process)), 0)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _UP_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {_UP_S:.0f} s for {what}")
            time.sleep(0.05)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close()
        with contextlib.suppress(Exception):
            ray.shutdown()
        with contextlib.suppress(Exception):
            self._cluster.shutdown()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


__all__ = ["READER", "ChaosCluster"]
