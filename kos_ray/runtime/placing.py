"""Actors that stay on the head."""

from typing import Any

from kos_ray.model.errors import ClusterUnreachable
from kos_ray.runtime.names import RAY_NAMESPACE, READER


def on_head(name: str) -> dict[str, Any]:
    """Options of an actor that stays on the head, under a name, and comes back when it dies."""
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    heads_alive = [
        node["NodeID"] for node in ray.nodes() if node["Alive"] and "node:__internal_head__" in node["Resources"]
    ]
    if not heads_alive:
        raise ClusterUnreachable("the Ray cluster has no living head node")
    return {
        "name": name,
        "namespace": RAY_NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(heads_alive[0], soft=False),
    }


def start_reader(state_dir: str) -> Any:
    """The reader actor, started where there is none."""
    import ray  # noqa: PLC0415

    from kos_ray.runtime.reader import ReaderActor  # noqa: PLC0415

    return ray.remote(ReaderActor).options(**on_head(READER), max_concurrency=8).remote(state_dir)
