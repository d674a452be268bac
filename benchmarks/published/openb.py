"""Fragmentation of GPUs on openb, beside the policies of Weng et al., USENIX ATC 2023; one pod in each step.

The paper's protocol: pods only arrive, in an order by seed, more of them drawn from the list until they ask for 130 %
of all GPUs; a pod that finds no node is given up. Nodes stand in an order by seed. What counts is the share of all GPUs
that is given out when 100 % has been asked for.
"""

import os
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from random import Random

from benchmarks.published.data import table
from benchmarks.report import Row
from kos_ray.model import events as e
from kos_ray.model.decisions import Launch
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import changed
from kos_ray.model.resources import UNIT
from kos_ray.rehearsal.openb import read_nodes, read_pods
from kos_ray.rehearsal.read import read_policy
from kos_ray.rehearsal.workload import VirtualJob
from kos_ray.scheduler.fgd import gpus_of
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.state import State

#: the lists that have published figures and are here
LISTS = (
    "default",
    "cpu050",
    "cpu100",
    "gpushare40",
    "gpushare60",
    "gpuspec10",
    "gpuspec20",
    "multigpu20",
    "multigpu30",
)
SEEDS = tuple(range(42, 52))
POLICIES = ("fgd", "default")
#: how much is asked for in the end, of all GPUs
_RATIO = 1.3
#: pods take nothing back, and nobody keeps a node free for one that found none
_WORDS = "preemption=false claims=0"
_STEP_US = 1_000
_FOLDER = "fgd-openb"
_OTHERS = ("Random", "DotProd", "GpuClustering", "GpuPacking", "BestFit")


@dataclass(frozen=True)
class Run:
    """One list in one order."""

    data: Path
    name: str
    policy: str
    seed: int


@dataclass(frozen=True)
class Runs:
    """What is run: each policy on each list in each order."""

    lists: tuple[str, ...] = LISTS
    seeds: tuple[int, ...] = SEEDS
    policies: tuple[str, ...] = POLICIES


def rows(data: Path, runs: Runs = Runs(), workers: int | None = None) -> Iterator[Row]:
    """By list and policy: the mean over seeds beside the paper's own policies; FGD's is the goal of `fgd` alone."""
    published = {
        (row["workload"].removeprefix("openb_pod_list_"), row["policy"]): float(row["mean_alloc_at_100"])
        for row in table(data / _FOLDER / "published_alloc_summary.csv")
    }
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for name in runs.lists:
            others = ", ".join(f"{who} {published[name, who]:.2f}" for who in _OTHERS)
            theirs = published[name, "FGD"]
            for policy in runs.policies:
                mean = statistics.mean(pool.map(allocated, [Run(data, name, policy, seed) for seed in runs.seeds]))
                aims = policy == "fgd"
                yield Row(
                    name=f"openb_{name}_{policy}",
                    value=mean,
                    unit=f"% ({others})",
                    peer=theirs,
                    ratio=mean / theirs,
                    goal=">= FGD" if aims else "",
                    met=not aims or round(mean, 2) >= round(theirs, 2),
                )


def allocated(run: Run) -> float:
    """The mean share of all GPUs that is given out while as much as there is has been asked for, in percent."""
    folder = run.data / _FOLDER
    random = Random(run.seed)
    nodes = read_nodes(folder / "openb_node_list_gpu_node.csv.gz")
    capacity = sum(gpus_of(node.resources) for node in nodes)
    pods = arrivals(read_pods(folder / f"openb_pod_list_{run.name}.csv.gz"), capacity, random)
    steps = given_out(shuffled(nodes, random), pods, run.policy)
    until = takewhile(lambda found: round(100 * found[0] / capacity) <= 100, steps)
    return 100 * statistics.mean(given for asked, given in until if round(100 * asked / capacity) == 100) / capacity


def arrivals(listed: Sequence[VirtualJob], capacity: int, random: Random) -> list[Spec]:
    """The pods of a list in another order, and more of them until they ask for enough (the paper's, section 6.1)."""
    specs = [pod.spec for pod in sorted(listed, key=lambda pod: pod.name)]
    pods = specs.copy()
    random.shuffle(pods)
    asked = sum(gpus_of(pod.resources) for pod in pods)
    while asked > _RATIO * capacity:
        asked -= gpus_of(pods.pop(random.randrange(len(pods))).resources)
    while asked < _RATIO * capacity:
        pod = random.choice(specs)
        if asked + min(gpus_of(pod.resources), UNIT) > _RATIO * capacity:
            break
        pods.append(pod)
        asked += gpus_of(pod.resources)
    return pods


def shuffled(nodes: Sequence[Node], random: Random) -> list[Node]:
    """Nodes in another order: names tell it, since of equal nodes the first by name is taken."""
    mixed = random.sample(nodes, len(nodes))
    return [replace(node, id=NodeId(f"n{number:05}")) for number, node in enumerate(mixed)]


def given_out(nodes: Sequence[Node], pods: Sequence[Spec], policy: str) -> Iterator[tuple[int, int]]:
    """After each pod: GPUs that were asked for until then, and those that were given out, as amounts."""
    state, devices = State(), Devices(nodes)
    words = _WORDS if policy == "default" else f"{_WORDS} strategy={policy}"
    events: list[e.Event] = [
        e.SchedulerStarted(epoch=1, version="0", policy=changed(read_policy(words)[0], {"policy": {"burst_jobs": 0}})),
        e.NodesJoined(nodes=tuple(nodes)),
    ]
    specs: dict[Spec, SpecKey] = {}
    asked = given = 0
    for number, spec in enumerate(pods, start=1):
        key, spec_key = JobKey(number), specs.setdefault(spec, SpecKey(len(specs) + 1))
        new = () if spec_key in state.specs else ((spec_key, spec),)
        submitted = e.JobsSubmitted(
            request_id=str(number),
            first=key,
            ids=(str(number),),
            counts=(-1,),
            specs=(spec_key,),
            args=(b"",),
            new_specs=new,
        )
        launches = [
            found for found in step(state, [*events, submitted], number * _STEP_US) if isinstance(found, Launch)
        ]
        asked += gpus_of(spec.resources)
        for launch in launches:
            assert launch.keys == (key,), f"expected pod {key} to start, found {launch.keys}"
            devices.take(launch.node, launch.kind)
            given += gpus_of(spec.resources)
        events = [] if launches else [e.CancelRequested(request_id=f"c{number}", keys=(key,))]
        yield asked, given


class Devices:
    """The GPUs of each node, counted here once more: a start for which no device has room fails loudly."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._free = {node.id: [UNIT] * (gpus_of(node.resources) // UNIT) for node in nodes}

    def take(self, node: NodeId, kind: SlotKind) -> None:
        """One attempt has started: a part of the fullest GPU that has room, or whole ones."""
        wanted, there = gpus_of(kind.resources), self._free[node]
        for _ in range(max(1, wanted // UNIT) if wanted else 0):
            part = min(wanted, UNIT)
            rooms = [amount for amount in there if amount >= part]
            assert rooms, f"node {node}: expected a GPU with {part / UNIT:g} free, found {[x / UNIT for x in there]}"
            there[there.index(min(rooms))] -= part
