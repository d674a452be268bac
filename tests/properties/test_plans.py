"""A plan of the command line is what then happens, when nothing else does: in random states, by another clock."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kos_ray.model.events import CancelRequested
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Namespace, Policy, Rate
from kos_ray.model.resources import UNIT, Resources
from tests.properties.clockwork import SECOND_US, Clockwork, RunUs, as_declared

#: worlds that are played, with so many plans each
WORLDS = 60
PLANS = 5
_CPUS = Namespace(name="team", limit=(("CPU", 5 * UNIT),))
_LENT = (Namespace(name="team", guaranteed=(("CPU", 4 * UNIT),)), Namespace(name="default", borrow=(("CPU", UNIT),)))
_RATE = Rate(name="r", amount=1, per_us=5 * SECOND_US, burst=2)
_BASE: dict[str, Any] = {"licences": (("l", 2 * UNIT),), "rates": (_RATE,)}
POLICIES = (
    Policy(**_BASE),
    Policy(**_BASE, exempt_us=0, patience_us=0),
    Policy(**_BASE, namespaces=(_CPUS,)),
    Policy(**_BASE, namespaces=_LENT, exempt_us=0),
    Policy(**_BASE, claims_max=1, preemption=False),
    Policy(**_BASE, aging_us=(20 * SECOND_US,) * 6),
)


def node(name: str, **units: float) -> Node:
    zone = "a" if int(name[1:]) % 2 else "b"
    return Node(NodeId(name), name, Resources.of(units), labels=(("host", name), ("zone", zone)), incarnation="1")


def document(chance: Random, count: int, now_us: int) -> list[dict[str, Any]]:
    """Jobs as people write them."""
    jobs: list[dict[str, Any]] = []
    for number in range(count):
        job: dict[str, Any] = {
            "id": f"j{chance.getrandbits(60)}",
            "run": "x",
            "run_time": chance.choice((1, 2, 3, 7, 12.5, 30)),
            "resources": chance.choice(({"cpu": 1}, {"cpu": 1}, {"cpu": 2}, {"cpu": 4}, {"cpu": 1, "gpu": 1})),
            "priority": chance.choice(("critical", "high", "normal", "normal", "low", "background")),
            "namespace": chance.choice(("default", "default", "team")),
        }
        more = chance.choice(
            ("", "", "", "count", "gang", "where", "licence", "rate", "after", "saves", "never", "late")
        )
        if more == "count":
            job["count"] = 3
        elif more == "gang":
            job["gang"] = 2
        elif more == "where":
            job["where"] = {"labels": {"zone": "a"}}
        elif more == "licence":
            job["licences"] = {"l": 1}
        elif more == "rate":
            job["rates"] = {"r": 1}
        elif more == "after" and number and jobs[-1]["namespace"] == job["namespace"] and "gang" not in jobs[-1]:
            job["after"] = [jobs[-1]["id"]]
        elif more == "saves":
            job["preemption"] = "checkpoint"
        elif more == "never":
            job["preemption"] = "never"
        elif more == "late":
            at_s = now_us // SECOND_US + chance.choice((2, 10, 100))
            job["deadline"] = f"1970-01-01T{at_s // 3600:02}:{at_s // 60 % 60:02}:{at_s % 60:02}Z"
        jobs.append(job)
    return jobs


class Planned:
    """A random cluster in which somebody plans, submits what was planned, and looks at what comes of it."""

    def __init__(self, folder: Path, seed: int, run_us: RunUs = as_declared) -> None:
        self.chance = Random(seed)
        folder.mkdir()
        self.clock = Clockwork(folder, self.chance.choice(POLICIES), run_us)
        self.file = folder / "jobs.json"
        for number in range(self.chance.randint(1, 4)):
            gpu = {"GPU": 1} if self.chance.random() < 0.3 else {}
            self.clock.join(node(f"n{number}", CPU=self.chance.choice((2, 4, 6)), **gpu))

    def crowd(self) -> None:
        """Others come, and time goes on, so that there is no instant at which nothing is under way."""
        for _ in range(self.chance.randint(0, 3)):
            self.write(document(self.chance, self.chance.randint(1, 4), self.clock.time_us))
            self.clock.kos("submit", str(self.file))
            self.clock.advance(self.clock.time_us + self.chance.randint(0, 6 * SECOND_US))

    def write(self, jobs: list[dict[str, Any]]) -> None:
        self.file.write_text(json.dumps(jobs))

    def plan_and_submit(self, *words: str) -> tuple[dict[str, Any], list[JobKey]]:
        """A plan, and the keys of the jobs that were submitted as it says."""
        self.write(document(self.chance, self.chance.randint(1, 3), self.clock.time_us))
        plan = self.clock.kos("plan", str(self.file), *words)
        first = self.clock.engine.state.next_key
        self.clock.kos("submit", str(self.file), "--if-plan", plan["hash"])
        return plan, [JobKey(first + number) for number in range(len(plan["jobs"]))]

    def await_all(self, keys: list[JobKey]) -> None:
        """Until these are over, or nothing moves any more."""
        jobs = self.clock.engine.state.jobs
        self.clock.advance(self.clock.time_us + 900 * SECOND_US, done=lambda: not jobs.keys() & set(keys))
        for key in jobs.keys() & set(keys):
            self.clock.post(CancelRequested(request_id="", keys=(key,)))


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Any]:
    made: list[Planned] = []

    def make(seed: int, run_us: RunUs = as_declared) -> Planned:
        made.append(Planned(tmp_path / str(seed), seed, run_us))
        return made[-1]

    yield make
    for one in made:
        one.clock.close()


def names_of(planned: Planned, keys: list[JobKey]) -> list[str]:
    return [view.name or view.id for view in planned.clock.reader.views(keys)]


def check_exact(planned: Planned, plan: dict[str, Any], keys: list[JobKey], seen: Counter[str]) -> None:
    clock = planned.clock
    for job, key in zip(plan["jobs"], keys, strict=True):
        where, start_us = clock.started.get(key, ("", 0))
        assert job["earliest_us"] <= start_us <= (job["latest_us"] or start_us), f"{job}: started {start_us}"
        seen[job["sure"]] += 1
        seen["waits"] += job["start_us"] > plan["now_us"]
        seen["preempts"] += bool(job["preempts"])
        seen["quota"] += bool(job["quota_left"])
        seen[f"deadline {job['deadline']}"] += 1
        if job["sure"] == "exact":
            assert (job["node_id"], job["start_us"]) == (where, start_us), f"{job}: {where} {start_us}"
            assert job["end_us"] == clock.ended.get(key, 0), f"{job}: ended {clock.ended.get(key)}"
            assert job["preempts"] == names_of(planned, clock.victims.get(key, [])), job


def test_what_is_planned_happens(worlds: Any) -> None:
    seen: Counter[str] = Counter()
    for seed in range(WORLDS):
        planned = worlds(seed)
        for _ in range(PLANS):
            planned.crowd()
            plan, keys = planned.plan_and_submit()
            planned.await_all(keys)
            check_exact(planned, plan, keys, seen)
    print(seen)
