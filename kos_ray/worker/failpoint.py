"""Death, sleep or a clock at named failpoints, asked for by environment variables: how real processes are tested.

The clock is what `python -m benchmarks.budget` reads.
"""

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from kos_ray.model import failpoints

#: `NAME:NTH:FILE`, for example `journal.before_commit:3:/tmp/died`
VARIABLE = "KOS_RAY_FAILPOINT"
#: `NAME:SECONDS` with commas between several: whoever gets there sleeps so long
SLOW = "KOS_RAY_SLOW"
#: a folder: each process writes there, as `PID.json`, the processor time between the failpoints that it reaches
TIMES = "KOS_RAY_TIMES"
#: seconds between two writings
_TIMES_S = 0.25


def arm() -> None:
    """Have this process die where `$KOS_RAY_FAILPOINT` says, by SIGKILL, when it gets there for the NTH time.

    One process dies, once: the one that makes FILE, which gets its process id. Where FILE is there already, nobody
    dies, so that what is started again goes on. And have it sleep where `$KOS_RAY_SLOW` says so, and write
    down where its time goes where `$KOS_RAY_TIMES` names a folder.

    Raises:
        ValueError: a variable says something else.

    """
    asked = _deadly(os.environ.get(VARIABLE, "")), _slow(os.environ.get(SLOW, "")), _timed(os.environ.get(TIMES, ""))
    hooks = [hook for hook in asked if hook]

    def reached(name: str) -> None:
        for hook in hooks:
            hook(name)

    if hooks:
        failpoints.install(reached)


def _slow(wanted: str) -> Callable[[str], None] | None:
    if not wanted:
        return None
    pauses = {}
    for one in wanted.split(","):
        name, _, seconds = one.partition(":")
        if not name or not seconds.replace(".", "", 1).isdigit():
            raise ValueError(f"{SLOW}: expected NAME:SECONDS, found {one!r}")
        pauses[name] = float(seconds)
    return lambda reached: time.sleep(pauses.get(reached, 0.0)) if reached in pauses else None


@cache  # a slot's process is armed twice
def _timed(folder: str) -> Callable[[str], None] | None:
    if not folder:
        return None
    spent: dict[str, list[int]] = {}
    before = threading.local()

    def write() -> None:
        path = Path(folder) / f"{os.getpid()}.json"
        while True:
            time.sleep(_TIMES_S)
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps(dict(spent)))
            partial.replace(path)

    threading.Thread(target=write, daemon=True).start()

    def hook(reached: str) -> None:
        now = time.thread_time_ns()
        found = spent.setdefault(f"{getattr(before, 'name', '')} -> {reached}", [0, 0])
        found[0] += 1
        found[1] += now - getattr(before, "at", now)
        before.name, before.at = reached, now

    return hook


def _deadly(wanted: str) -> Callable[[str], None] | None:
    if not wanted:
        return None
    name, nth, file = [*wanted.split(":", 2), "", ""][:3]
    if not name or not nth.isdigit() or not int(nth) or not file:
        raise ValueError(f"{VARIABLE}: expected NAME:NTH:FILE, found {wanted!r}")
    count = itertools.count(1)

    def hook(reached: str) -> None:
        if reached == name and next(count) == int(nth):
            _die(file)

    return hook


def _die(file: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.write(descriptor, b"%d" % os.getpid())
    os.fsync(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)
