"""What the jobs of the crash tests do. Each attempt writes its entry and its exit to one synced file outside."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import kos_ray as kos
from kos_ray import effects

LARGE = 100_000
#: the first item of `uneven` that is long
UNEVEN_LONG = 24


def note(folder: str, what: str, name: str) -> None:
    """One line of the history."""
    context = kos.context()
    write(folder, {"what": what, "name": name, "attempt": context.attempt, "node": context.node, "pid": os.getpid()})


def write(folder: str, line: dict[str, object]) -> None:
    """A line, synced before anything else happens."""
    descriptor = os.open(Path(folder) / "history", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (json.dumps(line | {"at": time.monotonic()}) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain(folder: str, name: str) -> str:
    note(folder, "entry", name)
    print(f"this is {name}")
    note(folder, "exit", name)
    return name


def item(given: tuple[str, str]) -> str:
    return plain(*given)


def uneven(given: tuple[str, str]) -> str:
    """Short at first: more is sent ahead. Then long ones: what stands behind them is asked back."""
    folder, name = given
    note(folder, "entry", name)
    time.sleep(0.09 if int(name.rpartition("-")[2]) >= UNEVEN_LONG else 0)
    note(folder, "exit", name)
    return name


def slow(folder: str, name: str) -> str:
    note(folder, "entry", name)
    time.sleep(0.1)
    note(folder, "exit", name)
    return name


def flaky(folder: str, name: str) -> str:
    """Fails at its first two attempts."""
    note(folder, "entry", name)
    if kos.context().attempt <= 2:
        raise ValueError("not yet")
    note(folder, "exit", name)
    return name


def saved(folder: str, name: str) -> list[int]:
    """Three steps; what was saved is there for the next attempt, and nothing is done twice."""
    note(folder, "entry", name)
    done: list[int] = list(kos.context().restored or [])
    while len(done) < 3:
        done.append(len(done))
        kos.context().checkpoint(done)
        note(folder, f"saved {len(done)}", name)
    note(folder, "exit", name)
    return done


def large(folder: str, name: str) -> bytes:
    note(folder, "entry", name)
    note(folder, "exit", name)
    return name.encode() * (LARGE // len(name))


def length(folder: str, name: str, value: bytes) -> int:
    note(folder, "entry", name)
    note(folder, "exit", name)
    return len(value)


def parent(folder: str, name: str) -> list[str]:
    """Two children; their ids."""
    note(folder, "entry", name)
    context = kos.context()
    children = [
        context.submit(plain, folder, f"{name}-{i}", name=f"{name}-{i}", retry=5, backoff={"first": "10ms"})
        for i in (1, 2)
    ]
    note(folder, "exit", name)
    return [child.job_id for child in children]


def stubborn(folder: str, name: str) -> str:
    """Its first attempt does not end by itself."""
    note(folder, "entry", name)
    if kos.context().attempt == 1:
        time.sleep(60)
    note(folder, "exit", name)
    return name


def patient(folder: str, name: str) -> str:
    """Runs until it is asked to end."""
    note(folder, "entry", name)
    while not kos.context().should_stop():
        time.sleep(0.005)
    note(folder, "exit", name)
    return name


def until_released(folder: str, name: str) -> str:
    note(folder, "entry", name)
    while not (Path(folder) / "release").exists():
        time.sleep(0.01)
    note(folder, "exit", name)
    return name


def exclusive(folder: str, name: str) -> str:
    """Work under a lease, long enough to be stopped in it."""
    note(folder, "entry", name)
    time.sleep(2.0)
    note(folder, "exit", name)
    return name


def charged(folder: str, name: str) -> str:
    """Its effect is made by a process that is nobody's child, as a request does that is on its way somewhere."""
    note(folder, "entry", name)
    context = kos.context()
    given = [folder, name, context.token, str(context.fence)]
    command = [sys.executable, "-c", "import sys, crash_jobs; crash_jobs.charge(*sys.argv[1:])", *given]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(command, env=where, start_new_session=True, check=True)
    said = f'"name": "{name}", "attempt": {context.attempt}, "what": "'
    until = time.monotonic() + 20
    while not any(f'{said}{end}"' in (Path(folder) / "history").read_text() for end in ("charged", "found done")):
        if time.monotonic() > until:
            raise TimeoutError("nobody says that it was charged")
        time.sleep(0.05)
    note(folder, "exit", name)
    return name


def charge(folder: str, name: str, token: str, fence: str) -> None:
    """Thinks for a while, and then charges once. Refused where a later attempt has been there."""
    if os.fork():
        os._exit(0)
    told: dict[str, object] = {"name": name, "attempt": int(fence)}
    write(folder, told | {"what": "writer", "pid": os.getpid()})
    time.sleep(2.0)
    with closing(sqlite3.connect(Path(folder) / "bank.db", timeout=30)) as bank:
        try:
            with effects.sql(bank, token=token, fence=int(fence)) as once:
                bank.execute("CREATE TABLE IF NOT EXISTS charges (name TEXT, attempt INTEGER)")
                bank.execute("INSERT INTO charges VALUES (?, ?)", (name, int(fence)))
            write(folder, told | {"what": "found done" if once.done else "charged"})
        except effects.StaleFence:
            write(folder, told | {"what": "refused"})


def fire(folder: str, name: str) -> None:
    """Of a schedule: it notes for which instant it was made."""
    at = kos.context().scheduled_at
    assert at is not None
    note(folder, "entry", f"{name} {at.timestamp():.0f}")
