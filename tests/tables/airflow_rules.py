"""Airflow's trigger rules, case by case.

How its states come about here: `success` and `failed` are attempts that ended so; `skipped` is a job whose own rule did
not let it run (it waits with `one_failed` for a job that succeeded); `upstream_failed` is one whose dependency could
never be met; `removed` is one that was cancelled before it was ever sent to a node.
"""

import json
from typing import Any

from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.reasons import Reason
from tests.tables.counting import DATA, NOT_EXPRESSIBLE, Table, Verdict, compared
from tests.tables.world import World

_FOLDER = "airflow-trigger-rules"
_STATES = ("success", "failed", "skipped", "upstream_failed", "removed")
_WHY = {
    Reason.SKIPPED_BY_RULE: "skipped",
    Reason.DEPENDENCY_NEVER_MET: "upstream_failed",
}


def judge() -> list[Verdict]:
    """All cases."""
    cases = json.loads((DATA / _FOLDER / "trigger_rules.json").read_text(encoding="utf-8"))
    return [_judge(case) for case in cases]


def _judge(case: dict[str, Any]) -> Verdict:
    expected = case["expected_state_if_flag_upstream_failed"]
    if expected == "removed":
        why = "an item of a mapped task that goes because its parents became fewer: an array keeps its items"
        return Verdict(case["test"], NOT_EXPRESSIBLE, why)
    if expected is None:
        expected = "runs" if case["expected_pass"] else "waits"
    upstream = case["upstream"]
    counts = {state: upstream.get(state, 0) for state in _STATES}
    # some rows have counts that do not add up to `done`: the counts say how the parents ended, as upstream
    ended = sum(counts.values())
    total = max(ended, upstream["done"] if case["n_upstream"] is None else case["n_upstream"])
    return compared(case["test"], expected, found(case["rule"], counts, pending=total - ended))


def found(rule: str, counts: dict[str, int], *, pending: int = 0) -> str:
    """What becomes of a job with this rule when so many parents have ended like this, in Airflow's words."""
    world = World()
    world.submit("good")
    world.submit("bad")
    parents: list[str] = []
    for state, count in {**counts, "pending": pending}.items():
        for number in range(count):
            name = f"{state}-{number}"
            after = {"skipped": {"rule": "one_failed", "of": ["good"]}, "upstream_failed": ["bad"]}.get(state, [])
            # a removed one never starts: it waits for a job that runs
            world.submit(name, after=["good"] if state == "removed" else after)
            parents.append(name)
    world.submit("child", after={"rule": rule, "of": parents})
    for name in parents:
        if name.startswith("removed"):
            world.cancel(name)
    world.end("good", AttemptEnd.SUCCEEDED)
    world.end("bad", AttemptEnd.FAILED)
    for name in parents:
        if name.startswith("success-"):
            world.end(name, AttemptEnd.SUCCEEDED)
        elif name.startswith("failed-"):
            world.end(name, AttemptEnd.FAILED)
    state, reason = world.stands("child")
    if state is JobState.SKIPPED:
        return _WHY[reason]
    return "waits" if state is JobState.BLOCKED else "runs"


TABLE = Table(
    _FOLDER, "Airflow, trigger rules", "`test_trigger_rule_dep.py`, apache/airflow (Apache-2.0), converted", judge
)
