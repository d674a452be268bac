"""Jobs that say and ask something while they run. Where they wait, they wait for a file of the test's."""

import time
from pathlib import Path

import kos_ray as kos


def until(path: Path) -> None:
    """Wait for a file."""
    while not path.exists():
        time.sleep(0.01)


def half_way(folder: str) -> str:
    """Say half of it, and finish when the test has seen it."""
    kos.context().progress(0.5, "epoch 5 of 10")
    until(Path(folder) / "seen")
    return "done"
