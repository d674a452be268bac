"""One job for each fire of schedules, through deaths of the scheduler; `make crash` has a hundred of them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fire_has_its_one_job_through_kills() -> None:
    command = [sys.executable, "-m", "tests.crash.kills", "--kills", "8", "--seed", "7"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert found.stdout, found.stderr
    told = json.loads(found.stdout.splitlines()[-1])
    assert told["problems"] == []
    assert told["kills"] >= 8, "and more, until schedules have fired"
    assert told["fires"] >= 5
