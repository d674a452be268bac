"""Real processes killed at failpoints. A sample is here; `make crash` runs all of them."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.points import deaths, names

ROOT = Path(__file__).parents[2]
#: deaths of the sample, in so many parts
SAMPLE, PARTS = 12, 2


def crash(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "tests.crash", "--json", "--jobs", "1", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert found.stdout, found.stderr
    return found.returncode, [json.loads(line) for line in found.stdout.splitlines()]


def sample() -> list[tuple[str, int]]:
    """Some of each room, always the same."""
    drawn = random.Random(1).sample(deaths(), SAMPLE)
    return sorted(drawn)


def test_there_are_failpoints_before_and_after_each_step() -> None:
    assert len(names()) >= 40
    rooms = {"agent", "backup", "blobs", "engine", "journal", "links", "nodes", "reader", "scheduler", "slot"}
    assert {name.partition(".")[0] for name in names()} == rooms | {"snapshots"}


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_dies_what_was_acknowledged_is_carried_out(part: int) -> None:
    wanted = sample()[part::PARTS]
    code, found = crash(*(word for name, nth in wanted for word in ("--point", f"{name}:{nth}")))
    problems = [f"make crash ONLY={told['point']}: {problem}" for told in found for problem in told["problems"]]
    assert not problems, "\n".join(problems)
    assert [(told["point"], told["nth"]) for told in found if told["died"]] == wanted
    assert code == 0


def test_a_failpoint_that_is_not_reached_is_a_failure() -> None:
    code, (told,) = crash("--point", "backup.named:7")
    assert code == 1
    assert told["problems"] == ["the failpoint backup.named was not reached 7 times"]


@pytest.mark.parametrize("wrong", ["journal.opened", "journal.opened:0:/tmp/x", "journal.opened:1:", ":1:/tmp/x"])
def test_a_variable_that_says_something_else_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kos_ray.worker import failpoint

    monkeypatch.setenv(failpoint.VARIABLE, wrong)
    with pytest.raises(ValueError, match="expected NAME:NTH:FILE, found"):
        failpoint.arm()
