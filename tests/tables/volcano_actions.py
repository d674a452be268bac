"""Volcano's tests of its actions (allocate, preempt, reclaim, enqueue), case by case.

A queue is a namespace, its capability a limit; where room is reclaimed, what it deserves by its weight (the proportion
plugin's water filling) is guaranteed to it. A pod is a job, a pod group a gang that needs `min_member` at once; the
number of pods that a node takes, and labels that pods select, are resources of the node. Priorities become bands.
What runs already runs when the queues' settings come into force; then what is pending comes.
"""

import gzip
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.gang import GangMode
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import Eviction, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Against, Amounts, Namespace, Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import UNIT, Resources
from kos_ray.scheduler import invariants
from kos_ray.scheduler.explain import why
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.state import State
from tests.tables.counting import DATA, NOT_EXPRESSIBLE, Table, Verdict, compared

_FOLDER = "volcano-actions"
_BANDS = 6
_PRIORITIES = {"high-priority": 100_000, "mid-priority": 500, "low-priority": 10, None: 0}
#: the value that the tests give a pod itself
_POD_PRIORITY = 100_000
_PLENTY = 1_000
_SUFFIXES = {"Gi": 2**30, "G": 10**9, "m": Decimal("0.001")}
#: cases of which something has no name here
_NOT_EXPRESSIBLE = dict.fromkeys(
    (
        "sort reclaimees when reclaiming from overusing queues with different queue priority",
        "Node available resources should be included in reclaimed resources",
    ),
    "queues have priorities there, and the victims of the lowest go first; a namespace has none here, its jobs have",
)


def judge() -> list[Verdict]:
    """All cases."""
    with gzip.open(DATA / _FOLDER / "cases.json.gz", "rt", encoding="utf-8") as lines:
        return [_judge(case) for case in json.load(lines)]


def _judge(case: dict[str, Any]) -> Verdict:
    name = case["case"]
    if name in _NOT_EXPRESSIBLE:
        return Verdict(name, NOT_EXPRESSIBLE, _NOT_EXPRESSIBLE[name])
    cluster = Cluster(case)
    decisions = cluster.come()
    if case["action"] == "allocate":
        return compared(name, case["expect_bind"], cluster.bound(decisions))
    if case["action"] == "enqueue":
        return compared(name, case["expect_status"], cluster.statuses())
    wanted = case.get("expect_evicted", [])
    assert len(wanted) == case["expect_evict_num"]
    return compared(name, sorted(wanted), cluster.evicted(decisions))


class Cluster:
    """One case brought about: its nodes and queues, what runs, and then what is pending."""

    def __init__(self, case: dict[str, Any]) -> None:
        self._case = case
        self._state = State()
        self._names: dict[JobKey, str] = {}
        self._groups = {group["name"]: group for group in case["pod_groups"]}
        priorities = {self._priority(pod) for pod in case.get("pods", ())} | {0}
        self._bands = {priority: band for band, priority in enumerate(sorted(priorities, reverse=True))}

    def come(self) -> list[d.Decision]:
        """What is decided when the pending pods come; those that run do so already."""
        nodes = self._case.get("nodes") or [{"name": "n1", "allocatable": {"cpu": str(_PLENTY), "memory": "1000G"}}]
        self._step(e.SchedulerStarted(epoch=1, version="0", policy=_policy(preemption=False)))
        self._step(e.NodesJoined(nodes=tuple(self._node(node) for node in nodes)))
        submissions = [self._submit(group) for group in self._pods_by_group().values()]
        pending = [key for key, name in self._names.items() if self._pod(name)["node"] is None and self._waits(name)]
        self._step(*submissions, e.HoldRequested(request_id="", keys=tuple(pending)))
        running = [job for job in self._state.jobs.values() if job.key not in pending]
        assert all(job.state is JobState.LAUNCHED for job in running)
        self._step(e.PolicyChanged(request_id="", policy=_policy(namespaces=tuple(self._namespaces()))))
        return self._step(e.ReleaseRequested(request_id="", keys=tuple(pending)))

    def evicted(self, decisions: Iterable[d.Decision]) -> list[str]:
        return sorted(self._names[key] for found in decisions if isinstance(found, d.Evict) for key in found.keys)

    def bound(self, decisions: Iterable[d.Decision]) -> dict[str, str]:
        launches = [found for found in decisions if isinstance(found, d.Launch)]
        return {self._names[key]: launch.node for launch in launches for key in launch.keys}

    def statuses(self) -> dict[str, str]:
        """Running where it was; waiting for its queue's quota, or let in to wait for room."""
        found: dict[str, str] = {}
        for key, job in self._state.jobs.items():
            group = self._groups[self._pod(self._names[key])["pod_group"]]
            held = why(self._state, job) in (Reason.QUOTA, Reason.ABOVE_QUOTA)
            ran = group["phase"] == "PodGroupRunning" and job.node is not None
            status = "PodGroupRunning" if ran else "PodGroupPending" if held else "PodGroupInqueue"
            found[f"{group['namespace']}/{group['name']}"] = status
        return found

    # --- pods

    def _all_pods(self) -> list[dict[str, Any]]:
        """The pods; of a group that only says how much it needs, one that needs that."""
        known = {pod["pod_group"] for pod in self._case.get("pods", ())}
        bare = [group for group in self._groups.values() if group["name"] not in known]
        return [
            *self._case.get("pods", ()),
            *(
                {
                    "namespace": group["namespace"],
                    "name": group["name"],
                    "node": None,
                    "requests": group["min_resources"],
                    "pod_group": group["name"],
                }
                for group in bare
            ),
        ]

    def _pods_by_group(self) -> dict[str, list[dict[str, Any]]]:
        groups: dict[str, list[dict[str, Any]]] = {}
        for pod in self._all_pods():
            groups.setdefault(pod["pod_group"], []).append(pod)
        return groups

    def _pod(self, name: str) -> dict[str, Any]:
        return next(pod for pod in self._all_pods() if f"{pod['namespace']}/{pod['name']}" == name)

    def _waits(self, name: str) -> bool:
        """Whether a pending pod comes later than those of its group that run: not where these need it to run at all."""
        group = self._groups[self._pod(name)["pod_group"]]
        running = [pod for pod in self._all_pods() if pod["pod_group"] == group["name"] and pod["node"]]
        return not running or len(running) >= group["min_member"]

    def _submit(self, pods: list[dict[str, Any]]) -> e.Event:
        group = self._groups[pods[0]["pod_group"]]
        first = len(self._names) + 1
        specs = [(SpecKey(first + index), self._spec(group, pod)) for index, pod in enumerate(pods)]
        self._names |= {
            JobKey(key): f"{pod['namespace']}/{pod['name']}" for (key, _), pod in zip(specs, pods, strict=True)
        }
        gang = e.NewGang(
            name=group["name"], ranges=((first, len(pods)),), least=group["min_member"], mode=GangMode.QUORUM
        )
        return e.JobsSubmitted(
            request_id=group["name"],
            first=JobKey(first),
            ids=tuple(self._names[JobKey(key)] for key, _ in specs),
            counts=(-1,) * len(pods),
            specs=tuple(key for key, _ in specs),
            args=(b"",) * len(pods),
            new_specs=tuple(specs),
            gangs=(gang,),
        )

    def _spec(self, group: Mapping[str, Any], pod: dict[str, Any]) -> Spec:
        preemptable = pod.get("labels", {}).get("PodPreemptable") == "true"
        return Spec(
            type=pod["name"],
            entry="m:f",
            namespace=group["queue"],
            band=self._bands[self._priority(pod)],
            resources=_resources(pod),
            single_use=True,
            eviction=Eviction.REQUEUE if preemptable else Eviction.NEVER,
        )

    def _priority(self, pod: Mapping[str, Any]) -> int:
        if "priority" in pod:
            return _POD_PRIORITY
        return _PRIORITIES[self._groups[pod["pod_group"]].get("priority_class")]

    # --- nodes and queues

    def _node(self, node: dict[str, Any]) -> Node:
        amounts = {name: _amount(text) for name, text in node["allocatable"].items()}
        amounts.setdefault("pods", _PLENTY * UNIT)
        amounts |= {f"{name}={value}": _PLENTY * UNIT for name, value in node.get("labels", {}).items()}
        return Node(NodeId(node["name"]), node["name"], Resources.from_amounts(amounts))

    def _namespaces(self) -> Iterable[Namespace]:
        reclaims = self._case["action"] == "reclaim"
        never = any(pod.get("preemption_policy") == "PreemptNever" for pod in self._all_pods())
        for queue in self._case["queues"]:
            yield Namespace(
                name=queue["name"],
                weight=queue.get("weight", 1) * 1_000,
                limit=self._limit(queue),
                guaranteed=self._deserved(queue["name"]) if reclaims else (),
                within=Against.NEVER if never else Against.LOWER,
                reclaim=Against.ANY if reclaims else Against.NEVER,
                borrowing=Against.NEVER,
            )

    def _limit(self, queue: Mapping[str, Any]) -> Amounts:
        """Its capability; a closed queue may use nothing more."""
        if queue.get("state") == "QueueStateClosed":
            return (("cpu", 0), ("memory", 0))
        return tuple(sorted((name, _amount(text)) for name, text in (queue["capability"] or {}).items()))

    def _deserved(self, queue: str) -> Amounts:
        """Of each resource, the queue's part by weight, but no more than it asks for; the others get what is left."""
        whole: dict[str, int] = {}
        for node in self._case["nodes"]:
            for name, amount in self._node(node).resources.amounts:
                whole[name] = whole.get(name, 0) + amount
        weights = {found["name"]: found.get("weight", 1) for found in self._case["queues"]}
        return tuple(
            sorted((name, _filled(amount, self._asked(name), weights)[queue]) for name, amount in whole.items())
        )

    def _asked(self, resource: str) -> dict[str, int]:
        asked = dict.fromkeys((queue["name"] for queue in self._case["queues"]), 0)
        for pod in self._all_pods():
            asked[self._groups[pod["pod_group"]]["queue"]] += dict(_resources(pod).amounts).get(resource, 0)
        return asked

    def _step(self, *events: e.Event) -> list[d.Decision]:
        decisions = step(self._state, events, 1)
        assert invariants.check(self._state) == []
        return decisions


def _policy(**fields: Any) -> Policy:
    """Nothing but quota and band decides: no grace for the young, no waiting for those about to end."""
    return Policy(exempt_us=0, patience_us=0, aging_us=(0,) * _BANDS, **fields)


def _filled(whole: int, asked: Mapping[str, int], weights: Mapping[str, int]) -> dict[str, int]:
    """What each queue deserves of a resource."""
    found = dict.fromkeys(asked, 0)
    open_ = [name for name in asked if asked[name]]
    while open_ and whole > 0:
        total = sum(weights[name] for name in open_)
        parts = {name: min(asked[name] - found[name], whole * weights[name] // total) for name in open_}
        for name, part in parts.items():
            found[name] += part
        left = [name for name in open_ if found[name] < asked[name]]
        whole -= sum(parts.values())
        if left == open_:
            break
        open_ = left
    return found


def _resources(pod: Mapping[str, Any]) -> Resources:
    amounts = {name: _amount(text) for name, text in pod["requests"].items()}
    amounts |= {f"{name}={value}": UNIT for name, value in pod.get("node_selector", {}).items()}
    return Resources.from_amounts({**amounts, "pods": UNIT})


def _amount(quantity: str) -> int:
    """A quantity of Kubernetes as an amount."""
    for suffix, factor in _SUFFIXES.items():
        if quantity.endswith(suffix):
            return int(Decimal(quantity.removesuffix(suffix)) * factor * UNIT)
    return int(Decimal(quantity) * UNIT)


TABLE = Table(
    _FOLDER,
    "Volcano, actions",
    "`pkg/scheduler/actions/*/*_test.go`, volcano-sh/volcano (Apache-2.0), converted",
    judge,
)
