"""An old scheduler that wakes up when another one has its place writes nothing, and ends."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_scheduler_that_slept_through_its_successors_start_writes_nothing_and_ends() -> None:
    command = [sys.executable, "-m", "tests.crash.asleep"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert found.stdout, found.stderr
    seen = json.loads(found.stdout.splitlines()[-1])
    assert not seen["logs"], "\n".join(f"{name}: {log}" for name, log in seen["logs"].items())
    assert seen["epoch"] == 2
    assert seen["ended"], "it goes on"
    assert seen["epochs"] == [2], "an event of the old one stands among those of the new one"
    assert seen["sound"]
    assert seen["last_words"]
    assert (seen["new"], seen["after"], seen["said"]) == ("new", "after", "said")
    assert (seen["held"], seen["attempts"]) == (["held-0", "held-1", "held-2"], [1, 1, 1])
    assert seen["entries"] == sorted(["after", "held-0", "held-1", "held-2", "new", "said"]), "something was done twice"
