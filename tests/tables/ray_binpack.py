"""Ray's autoscaler: what fits on which node, and which nodes to add for what waits.

Demands are jobs, free nodes are nodes: the scheduler starts what fits, and what it leaves waiting is compared
(`bin_pack_residual`, the only cases that are wholly the scheduler's placement). The others test the node advice
(`scheduler.node_advice`), which follows Ray's own formula: what waits is handed to it, and it says which kinds of nodes
to add (`nodes_for`, `launch`); `utilization_score` is its score of a kind of node. A strict spread is a tag from which
its jobs are apart.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from kos_ray.model.where import ANYWHERE, Neighbours, Where
from kos_ray.scheduler import invariants, node_advice
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.state import State
from tests.tables.counting import DATA, NOT_EXPRESSIBLE, Table, Verdict, compared

_FOLDER = "ray-autoscaler-binpack"
_APART = Where(jobs=(Neighbours(("tag:spread",), apart=True),))
_ENDS_NODES = "kos_ray advises which nodes to add, and ends none: that is left to whoever started them"
_STANDING = "no standing request for room (`request_resources`): what waits are jobs"


def judge() -> list[Verdict]:
    """All cases."""
    v1, v2 = (json.loads((DATA / _FOLDER / f"{name}_cases.json").read_text(encoding="utf-8")) for name in ("v1", "v2"))
    found = [_score(f"score {number}", case) for number, case in enumerate(v1["utilization_score"])]
    found += [_residual(f"residual {number}", case) for number, case in enumerate(v1["bin_pack_residual"])]
    found += [_nodes_for(f"nodes {number}", case, v1["TYPES_A"]) for number, case in enumerate(v1["nodes_for"])]
    found += [_launch(case) for case in v2["launch"]]
    return found + [Verdict(case["case"], NOT_EXPRESSIBLE, _ENDS_NODES) for case in v2["terminate"]]


class Cluster:
    """Nodes and jobs, and what the scheduler makes of them."""

    def __init__(
        self, nodes: Iterable[Mapping[str, float]], demands: Iterable[Mapping[str, float]], *, spread: bool
    ) -> None:
        self.state = State()
        joined = tuple(
            Node(NodeId(f"n{number}"), f"n{number}", Resources.of(units)) for number, units in enumerate(nodes)
        )
        jobs = sorted(demands, key=_largest_first)
        specs = tuple((SpecKey(number), _spec(units, spread=spread)) for number, units in enumerate(jobs, start=1))
        count = len(jobs)
        submitted = e.JobsSubmitted(
            request_id="r",
            first=JobKey(1),
            ids=tuple(f"j{number}" for number in range(count)),
            counts=(-1,) * count,
            specs=tuple(key for key, _ in specs),
            args=(b"",) * count,
            new_specs=specs,
        )
        started = e.SchedulerStarted(epoch=1, version="0", policy=Policy(slots_per_node_max=1_000))
        step(self.state, [started, e.NodesJoined(nodes=joined), *([submitted] if count else [])], 1)
        assert invariants.check(self.state) == []

    def waiting(self) -> list[dict[str, float]]:
        """What waits."""
        jobs = self.state.jobs.values()
        return [job.entry.spec.resources.as_units() for job in jobs if job.state is JobState.READY]

    def free(self) -> list[dict[str, float]]:
        """What each node has left."""
        return [Resources.from_amounts(node.free).as_units() for node in self.state.nodes.values()]


def _spec(units: Mapping[str, float], *, spread: bool) -> Spec:
    return Spec(
        entry="m:f",
        resources=Resources.of(units),
        tags=("spread",) if spread else (),
        where=_APART if spread else ANYWHERE,
        single_use=True,
    )


def _largest_first(units: Mapping[str, float]) -> Any:
    return (-len(units), -sum(units.values()), sorted(units))


def _score(name: str, case: dict[str, Any]) -> Verdict:
    demands = [node_advice.Demand(Resources.of(units)) for units in case["demands"]]
    found = node_advice.utilisation(Resources.of(case["node_resources"]), demands)
    # theirs has not said yet whether the node's GPUs are wanted
    return compared(name, case["expected_score"], None if found is None else list(found[1:]))


def _residual(name: str, case: dict[str, Any]) -> Verdict:
    cluster = Cluster(case["node_free_resources"], case["demands"], spread=case["strict_spread"])
    expected: list[Any] = [_counted(case["expected_unfulfilled"])]
    found: list[Any] = [_counted(cluster.waiting())]
    if case["expected_residual"] is not None:
        expected.append(case["expected_residual"])
        found.append(cluster.free())
    return compared(name, expected, found)


def _nodes_for(name: str, case: dict[str, Any], types: dict[str, Any]) -> Verdict:
    assert case["node_types"] == "TYPES_A"
    assert not case["existing_nodes"]
    demands = [demand["resources"] for demand in case["demands"] for _ in range(demand["count"])]
    cluster = Cluster([], demands, spread=case["strict_spread"])
    kinds = [_kind(kind, found["resources"], found["max_workers"]) for kind, found in types.items()]
    found, _ = node_advice.advise(node_advice.waiting(cluster.state), kinds, at_most=case["max_to_add"])
    return compared(name, case["expected_nodes_to_add"], found)


def _launch(case: dict[str, Any]) -> Verdict:
    name = case["case"]
    if case["cluster_constraints"]:
        return Verdict(name, NOT_EXPRESSIBLE, _STANDING)
    there: Counter[str] = Counter(instance["type"] for instance in case["instances"])
    running = [instance for instance in case["instances"] if instance["status"] == "RAY_RUNNING"]
    cluster = Cluster([instance["available"] for instance in running], case["requests"], spread=False)
    types = case["node_types"]
    coming = [Resources.of(types[one["type"]]["resources"]) for one in case["instances"] if one not in running]
    kinds = [_kind(kind, found["resources"], found["max"] - there[kind]) for kind, found in types.items()]
    found, left = node_advice.advise(node_advice.waiting(cluster.state), kinds, coming=coming)
    expected = {"kinds": sorted(case["expected_to_launch"]), "left": case.get("expected_infeasible", 0)}
    return compared(name, expected, {"kinds": sorted(found), "left": len(left)})


def _kind(name: str, units: Mapping[str, float], at_most: int) -> node_advice.NodeKind:
    return node_advice.NodeKind(name=name, resources=Resources.of(units), at_most=at_most)


def _counted(vectors: Iterable[Mapping[str, float]]) -> Counter[tuple[tuple[str, float], ...]]:
    return Counter(tuple(sorted(units.items())) for units in vectors)


TABLE = Table(
    _FOLDER,
    "Ray's autoscaler, bin packing",
    "`test_resource_demand_scheduler.py` and `v2/tests/test_scheduler.py`, ray-project/ray (Apache-2.0), converted",
    judge,
    "Only the 7 cases of `bin_pack_residual` are wholly the scheduler's placement. The others test which nodes "
    "`kos node advise` would add; it follows Ray's own formula.",
)
