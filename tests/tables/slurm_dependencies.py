"""Slurm's `sbatch --dependency`, case by case."""

import json
import re
from typing import Any

from kos_ray.model.errors import Refused
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.reasons import Reason
from tests.tables.counting import DATA, NOT_EXPRESSIBLE, Table, Verdict, compared
from tests.tables.world import World

_FOLDER = "slurm-dependency-semantics"
_CHILD, _GATE = "child", "gate"
#: how Slurm's final states come about here
_ENDS = {
    "COMPLETED": AttemptEnd.SUCCEEDED,
    "FAILED": AttemptEnd.FAILED,
    "TIMEOUT": AttemptEnd.TIMED_OUT,
    "OUT_OF_MEMORY": AttemptEnd.CRASHED,
    "BOOT_FAIL": AttemptEnd.UNPREPARED,
}
#: whether a cancelled job had started is not in the table: one that had not is the harder case
_NOT_STARTED = ("PENDING", "CANCELLED")
_KNOWN = {*_NOT_STARTED, "NODE_FAIL", "RUNNING", *_ENDS}
_ARRAY_TASK = re.compile(r" \(array task (\d+)\)$")


def judge() -> list[Verdict]:
    """All cases."""
    cases = json.loads((DATA / _FOLDER / "cases.json").read_text(encoding="utf-8"))
    return [_judge(case) for case in cases]


def _judge(case: dict[str, Any]) -> Verdict:
    text: str = case["dependency"]
    if "+" in text:
        why = "a delay after a parent's start: dependencies have no timers here; the text is refused, and says so"
        return Verdict(case["id"], NOT_EXPRESSIBLE, why)
    if any(state.partition(":")[0] not in _KNOWN for state in case["predecessor_states"].values()):
        return Verdict(case["id"], NOT_EXPRESSIBLE, "a state of the parent that no job here has")
    return compared(case["id"], case["expected"], found(text, case["predecessor_states"]))


def found(text: str, states: dict[str, str]) -> str:
    """What becomes of a job with this dependency, in Slurm's words, when its parents stand like this."""
    world = World()
    task = _ARRAY_TASK.search(text)
    text = _ARRAY_TASK.sub("", text)
    names = {name: name.replace(" ", "-") for name in states}
    world.submit(_GATE)
    arrays: dict[str, int] = {}
    for name, state in states.items():
        array, _, number = name.partition("_")
        if number:
            arrays[array] = max(arrays.get(array, 0), 1 + int(number))
        else:
            # what has not started waits for a job that runs
            after = {"any": [_GATE] if state in _NOT_STARTED else [], "singleton": text == "singleton"}
            world.submit(names[name], after=after)
    for array, size in arrays.items():
        world.submit(array, count=size)
    count = max(arrays.values(), default=-1)
    try:
        world.submit(_CHILD, after=text, count=count)
    except (ValueError, Refused):
        return "rejected_at_submit"
    for name, state in states.items():
        _bring(world, names[name], state)
    return _in_words(*world.stands(f"{_CHILD}_{task[1]}" if task else _CHILD))


def _bring(world: World, name: str, state: str) -> None:
    """Let a job come to a state."""
    word, _, code = state.partition(":")
    if word == "CANCELLED":
        world.cancel(name)
    elif word == "NODE_FAIL":
        world.lose_node_of(name)
        world.join("m")
    elif word != "PENDING":
        world.enter(name)
        if word != "RUNNING":
            end = AttemptEnd.FAILED if word == "COMPLETED" and code not in ("", "0") else _ENDS[word]
            world.end(name, end)


def _in_words(state: JobState, reason: Reason) -> str:
    if state is JobState.SKIPPED:
        assert reason is Reason.DEPENDENCY_NEVER_MET
        return "never_runs"
    return "pending" if state is JobState.BLOCKED else "eligible"


TABLE = Table(_FOLDER, "Slurm, `--dependency`", "rules of `sbatch.1`, SchedMD/slurm (facts; no text copied)", judge)
