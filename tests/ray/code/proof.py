"""What jobs of the tests run. Each attempt proves itself by a synced file of its own, not by our ledger."""

import json
import os
import signal
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import ray

from kos_ray import context, effects
from kos_ray.spec.replay import replay_task


def prove(folder: str, name: str) -> Path:
    """Write that an attempt of `name` has been entered: node, pid, entry and Ray's assigned resources."""
    context = ray.get_runtime_context()
    record = {
        "name": name,
        "node": context.get_node_id(),
        "pid": os.getpid(),
        "entry": time.monotonic(),
        "resources": context.get_assigned_resources(),
    }
    path = Path(folder) / f"{uuid.uuid4().hex}.json"
    _write(path, record)
    return path


def proved(path: Path) -> None:
    """Add the exit to an attempt's file."""
    _write(path, json.loads(path.read_text()) | {"exit": time.monotonic()})


def _write(path: Path, record: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def small(item: tuple[str, int]) -> int:
    """One of many short jobs."""
    folder, number = item
    path = prove(folder, str(number))
    proved(path)
    return number * number


def short_sleep(item: tuple[str, int]) -> int:
    """A job of 20 ms."""
    folder, number = item
    path = prove(folder, str(number))
    time.sleep(0.02)
    proved(path)
    return number * number


def replay(folder: str, task: dict[str, Any], *parents: dict[str, Any]) -> dict[str, Any]:
    """A task of a recorded workflow."""
    path = prove(folder, task["id"])
    result = replay_task(task, *parents)
    proved(path)
    return result


def hold(folder: str, name: str) -> str:
    """Run until the file `release` is there."""
    path = prove(folder, name)
    while not (Path(folder) / "release").exists():
        time.sleep(0.01)
    proved(path)
    return name


def small_or_hold(item: tuple[str, int, bool]) -> int:
    """One of many short jobs, or one that runs until the file `release` is there."""
    folder, number, holds = item
    path = prove(folder, str(number))
    while holds and not (Path(folder) / "release").exists():
        time.sleep(0.01)
    proved(path)
    return number


def charge(bank: str, die: str) -> int:
    """Make one row, and kill the process of the first attempt before that or behind it; which attempt made it."""
    mine = context()
    with closing(sqlite3.connect(bank, timeout=30)) as connection:
        if die == "before" and mine.fence == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        with effects.sql(connection) as once:
            if not once.done:
                connection.execute("INSERT INTO charges VALUES (?, ?)", (mine.token, mine.fence))
                once.result = mine.fence
        if die == "after" and mine.fence == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return int(once.result)


def die_once(item: tuple[str, int]) -> int:
    """The item 0 kills its process at its first attempt; the others only prove that they ran."""
    folder, number = item
    prove(folder, str(number))
    if number == 0 and len([p for p in Path(folder).glob("*.json") if json.loads(p.read_text())["name"] == "0"]) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def pid(_item: int) -> int:
    """The process."""
    return os.getpid()


def large(size: int) -> bytes:
    """A result of that many bytes."""
    return b"x" * size


def length(*values: bytes) -> int:
    """How many bytes came in."""
    return sum(map(len, values))


def speak(text: str) -> None:
    """Print."""
    print(text)


def fail(times: int, folder: str) -> int:
    """Fail so many times, then say at which attempt it succeeded."""
    prove(folder, "fail")
    attempts = len(list(Path(folder).glob("*.json")))
    if attempts <= times:
        raise ValueError(f"attempt {attempts}")
    return attempts


def due(folder: str) -> str:
    """Prove itself under the instant at which its schedule had it due."""
    at = context().scheduled_at
    assert at is not None, "a schedule made it"
    prove(folder, at.isoformat())
    return at.isoformat()


def count_on(folder: str) -> int:
    """One more than the run before it returned, which is proved."""
    number = (context().last_result or 0) + 1
    prove(folder, str(number))
    return number


def told(folder: str) -> str:
    """Prove itself under the id of the event that it was made for."""
    event = context().event
    assert event is not None, "a reaction made it"
    prove(folder, " ".join(one.id for one in event.events) or event.id)
    return event.id
