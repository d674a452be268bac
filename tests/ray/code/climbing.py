"""Jobs that save where they are, and one that wants room."""

import json
import os
import time
from pathlib import Path

from proof import prove, proved

import kos_ray


def climb(folder: str, name: str) -> int:
    """Count up, saving each step, until the file `release` is there; asked to make room, it leaves at once."""
    context = kos_ray.context()
    path = prove(folder, name)
    step = int(context.restored or 0)
    _log(folder, name, "from", step)
    while not (Path(folder) / "release").exists():
        if context.should_stop():
            break
        step += 1
        context.checkpoint(step)
        _log(folder, name, "saved", step)
        time.sleep(0.02)
    proved(path)
    return step


def urgent(folder: str, name: str) -> float:
    """When its code was entered, by the machine's monotonic clock."""
    entered = time.monotonic()
    proved(prove(folder, name))
    return entered


def _log(folder: str, name: str, word: str, step: int) -> None:
    line = json.dumps({"word": word, "step": step, "attempt": kos_ray.context().attempt, "pid": os.getpid()})
    with (Path(folder) / f"{name}.steps").open("a") as file:
        file.write(line + "\n")
        file.flush()
