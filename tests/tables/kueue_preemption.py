"""Kueue's preemption tests, case by case.

A queue is a namespace below its cohorts, a flavour's resource is a resource `flavour/name`, and a workload is a job;
priorities become bands, the highest the lowest number. Kueue has no nodes: one node has just what all queues are
guaranteed together, so that quota alone decides. What was admitted runs already when the quotas come into force; where
that is more than all guarantees, the node has room for it, and a limit on the highest namespace says what there is.
"""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Against, Amounts, Namespace, Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import UNIT, Resources, add
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.state import State
from tests.tables.counting import DATA, NOT_EXPRESSIBLE, Table, Verdict, compared

_FOLDER = "kueue-preemption"
_BANDS = 6
_NODE = NodeId("n")
_SUFFIXES = {"m": Decimal("0.001"), "Mi": Decimal(2**20), "Gi": Decimal(2**30)}
_AGAINST = {
    "Never": Against.NEVER,
    "LowerPriority": Against.LOWER,
    "LowerOrNewerEqualPriority": Against.LOWER_OR_NEWER,
    "Any": Against.ANY,
}
_ACROSS = frozenset({Reason.RECLAIMED, Reason.PREEMPTED})
#: how our evictions are called there
_RIGHTS = {
    "InClusterQueue": frozenset({Reason.PREEMPTED}),
    "InCohortReclamation": _ACROSS,
    "InCohortReclaimWhileBorrowing": frozenset({Reason.PREEMPTED}),
    "InCohortFairSharing": _ACROSS,
}
#: cases that we decide otherwise, and by which rule
_DIFFERS = {
    "workloads under priority threshold not capriciously preempted": (
        "who borrows may evict lower bands that borrow as well (`preempt_while_borrowing`), whatever the shares; with "
        "fair sharing Kueue compares shares instead"
    ),
}
#: cases of which something has no name here
_NOT_EXPRESSIBLE = dict.fromkeys(
    (
        "reclaim borrowable quota from user using the most",
        "prefer to preempt workloads that don't make the target CQ have the biggest share",
        "preempt workload that doesn't transfer the imbalance, even if high priority",
        "can preempt anything borrowing from CQ with 0 weight",
        "hierarchical preemption",
        "non-zero weight borrowing preemptor preempts from a borrowing CQ",
    ),
    "no preemption by fair share between two that both borrow: shares decide whose turn it is, and evict nobody",
)


def judge() -> list[Verdict]:
    """All cases."""
    with gzip.open(DATA / _FOLDER / "cases.json.gz", "rt", encoding="utf-8") as lines:
        return [_judge(case) for case in json.load(lines)]


def _judge(case: dict[str, Any]) -> Verdict:
    name = case["case"]
    if len(_priorities(case)) > _BANDS:
        why = f"{len(_priorities(case))} priorities where order matters, and there are {_BANDS} bands"
        return Verdict(name, NOT_EXPRESSIBLE, why)
    if name in _NOT_EXPRESSIBLE:
        return Verdict(name, NOT_EXPRESSIBLE, _NOT_EXPRESSIBLE[name])
    wanted = case["want_evicted_workloads"] if "want_evicted_workloads" in case else case["want_preempted"]
    expected = {victim: right.removesuffix("Reason") for victim, right in wanted}
    found = Cluster(case).evicted()
    # which of our rights it was is told only where it is none that the expected name may stand for
    told = {
        victim: expected[victim] if reason in _RIGHTS.get(expected.get(victim, ""), ()) else reason.name
        for victim, reason in found.items()
    }
    return compared(name, expected, told, _DIFFERS.get(name, ""))


class Cluster:
    """One case brought about: its queues, what runs in them, and then what comes."""

    def __init__(self, case: dict[str, Any]) -> None:
        self._case = case
        self._state = State()
        self._names: dict[JobKey, str] = {}
        self._bands = {priority: band for band, priority in enumerate(sorted(_priorities(case), reverse=True))}
        self._paths = _paths(case)
        self._top = self._paths[case["target_cluster_queue"]].split("/")[0]
        self._now_us = 1

    def evicted(self) -> dict[str, Reason]:
        """Who is asked to make room for the incoming workload, by which right."""
        namespaces = {found.name: found for found in self._namespaces()}
        whole: dict[str, int] = {}
        for found in namespaces.values():
            _add(whole, found.guaranteed)
        admitted = [(workload, *_admitted(workload)) for workload in self._case["admitted"]]
        used: dict[str, int] = {}
        for *_, resources in admitted:
            _add(used, resources.amounts)
        room = {name: max(amount, used.get(name, 0)) for name, amount in whole.items()}
        if room != whole:
            top = namespaces.get(self._top, Namespace(name=self._top))
            namespaces[self._top] = replace(top, limit=tuple(sorted(whole.items())))
        # all were admitted at one instant, which is now: no work is lost with any of them
        self._step(e.SchedulerStarted(epoch=1, version="0", policy=_policy(preemption=False)))
        self._step(e.NodesJoined(nodes=(Node(_NODE, "n", Resources.from_amounts(room)),)))
        self._step(*(self._submit(*found) for found in admitted))
        assert all(job.state is JobState.LAUNCHED for job in self._state.jobs.values())
        self._ask_to_go()
        self._step(e.PolicyChanged(request_id="", policy=_policy(namespaces=tuple(namespaces.values()))))
        decisions = self._step(
            self._submit(self._case["incoming"], self._case["target_cluster_queue"], _incoming(self._case))
        )
        evictions = [decision for decision in decisions if isinstance(decision, d.Evict)]
        return {self._names[key]: Reason(found.reason) for found in evictions for key in found.keys}

    def _ask_to_go(self) -> None:
        """What was evicted before is on its way out."""
        going = {workload["name"] for workload in self._case["admitted"] if "conditions" in workload}
        keys = tuple(key for key, name in self._names.items() if name in going)
        if keys:
            self._step(e.HoldRequested(request_id="", keys=keys, stop=True))

    def _submit(self, workload: dict[str, Any], queue: str, resources: Resources) -> e.Event:
        key = SpecKey(len(self._names) + 1)
        self._names[JobKey(key)] = workload["name"]
        spec = Spec(
            type=workload["name"],
            entry="m:f",
            band=self._bands[workload["priority"]],
            resources=resources,
            namespace=self._paths[queue],
            single_use=True,
        )
        return e.JobsSubmitted(
            request_id=workload["name"],
            first=JobKey(key),
            ids=(workload["name"],),
            counts=(-1,),
            specs=(key,),
            args=(b"",),
            new_specs=((key, spec),),
        )

    def _step(self, *events: e.Event) -> list[d.Decision]:
        decisions = step(self._state, events, self._now_us)
        assert invariants.check(self._state) == []
        return decisions

    # --- queues

    def _namespaces(self) -> Iterable[Namespace]:
        """The queues and cohorts that stand below one root with the target."""
        for found in (*self._case["cohorts"], *self._case["cluster_queues"]):
            path = self._paths[found["name"]]
            if path.split("/")[0] == self._top:
                yield self._namespace(path, found)

    def _namespace(self, path: str, found: dict[str, Any]) -> Namespace:
        against = found.get("preemption") or {}
        borrowing = against.get("BorrowWithinCohort") or {}
        threshold = borrowing.get("MaxPriorityThreshold")
        may = [band for priority, band in self._bands.items() if threshold is None or priority <= threshold]
        return Namespace(
            name=path,
            weight=int(Decimal(found.get("fair_weight") or "1") * 1_000),
            guaranteed=_quotas(found, "nominal"),
            borrow=_quotas(found, "borrowing_limit"),
            lend=_quotas(found, "lending_limit"),
            within=_against(against.get("WithinClusterQueue")),
            reclaim=_against(against.get("ReclaimWithinCohort")),
            borrowing=_against(borrowing.get("Policy")),
            borrowing_band=min(may, default=_BANDS),
        )


def _policy(**fields: Any) -> Policy:
    """Nothing but quota and band decides: no grace for the young, no waiting for those about to end."""
    return Policy(exempt_us=0, patience_us=0, aging_us=(0,) * _BANDS, **fields)


def _priorities(case: dict[str, Any]) -> set[int]:
    return {workload["priority"] for workload in (*case["admitted"], case["incoming"])}


def _paths(case: dict[str, Any]) -> dict[str, str]:
    """The namespace of each queue and cohort."""
    parents = {cohort["name"]: cohort.get("parent") for cohort in case["cohorts"]}
    parents |= {queue["name"]: queue["cohort"] for queue in case["cluster_queues"]}

    def path(name: str) -> str:
        parent = parents.get(name)
        return f"{path(parent)}/{name}" if parent else name

    return {name: path(name) for name in parents}


def _quotas(found: dict[str, Any], field: str) -> Amounts:
    return tuple(
        sorted(
            (f"{flavor['flavor']}/{resource}", _amount(quota[field]))
            for group in found["resource_groups"]
            for flavor in group
            for resource, quota in flavor["quotas"].items()
            if quota[field] is not None
        )
    )


def _against(policy: str | None) -> Against:
    name = (policy or "Never").removeprefix("BorrowWithinCohortPolicy").removeprefix("PreemptionPolicy")
    return _AGAINST[name]


def _admitted(workload: dict[str, Any]) -> tuple[str, Resources]:
    """The queue that a workload was admitted to, and what it has there."""
    admitted = workload["admitted"]
    flavors = {name: found["flavor"] for name, found in admitted.get("assignments", {}).items()}
    return admitted["cluster_queue"], _resources(workload["requests"], flavors, admitted.get("flavor", "default"))


def _incoming(case: dict[str, Any]) -> Resources:
    """What the incoming workload wants, of the flavours that were chosen for it; all its pods run as one job."""
    assignment = case.get("assignment", {})
    if "PodSets" not in assignment:
        flavors = {name: found["Name"] for name, found in assignment.items()}
        return _resources(case["incoming"]["requests"], flavors, "default")
    ((_, *pod_sets),) = case["incoming"]["_other"]
    amounts: dict[str, int] = {}
    for pods, chosen in zip(pod_sets, assignment["PodSets"], strict=True):
        flavors = {name: found["Name"] for name, found in chosen["Flavors"].items()}
        requests = {name.removeprefix("Resource").lower(): quantity for _, name, quantity in pods["calls"]}
        add(amounts, _resources(requests, flavors, "default"), chosen["Count"])
    return Resources.from_amounts(amounts)


def _resources(requests: Mapping[str, str], flavors: Mapping[str, str], flavor: str) -> Resources:
    found = {f"{flavors.get(name, flavor)}/{name}": _amount(quantity) for name, quantity in requests.items()}
    return Resources.from_amounts(found)


def _add(pool: dict[str, int], amounts: Amounts) -> None:
    for name, amount in amounts:
        pool[name] = pool.get(name, 0) + amount


def _amount(quantity: str) -> int:
    """A quantity of Kubernetes as an amount."""
    for suffix, factor in _SUFFIXES.items():
        if quantity.endswith(suffix):
            return int(Decimal(quantity.removesuffix(suffix)) * factor * UNIT)
    return int(Decimal(quantity) * UNIT)


TABLE = Table(
    _FOLDER,
    "Kueue, preemption",
    "`preemption_test.go` and its siblings, kubernetes-sigs/kueue (Apache-2.0), converted",
    judge,
)
