"""Agents of the tests."""

import os
import time
from pathlib import Path
from typing import Any

import ray

import kos_ray as kos


@kos.agent(resources={"cpu": 0.5}, snapshot_every=1, roles=("counter",))
class Counter:
    """Counts, and tells where it lives."""

    def __init__(self, start: int = 0) -> None:
        self.count = start
        self.told: list[str] = []

    def on_suspend(self) -> None:
        self.told.append("suspend")

    def on_resume(self) -> None:
        self.told.append("resume")

    def add(self, number: int = 1) -> int:
        self.count += number
        return self.count

    async def add_soon(self, number: int) -> int:
        return self.add(number)

    def fail(self) -> None:
        raise ValueError("not this one")

    def where(self) -> tuple[str, int]:
        return kos.context().node, os.getpid()

    def history(self) -> list[str]:
        return self.told

    def say(self, text: str) -> None:
        print(text)


@kos.agent(resources={"cpu": 0.1}, snapshot_every=1)
class Clerk:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    def take(self, paper: dict[str, Any]) -> int:
        self.taken.append(paper)
        return len(self.taken)

    def all(self) -> list[dict[str, Any]]:
        return self.taken


def hold(gate: str) -> int:
    """Run until a file is there; how many GPUs it has."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return len(ray.get_gpu_ids())


class Ballast(Counter):
    """The same, with so many MiB that it holds."""

    def __init__(self, start: int = 0, mib: int = 0) -> None:
        super().__init__(start)
        self.ballast = os.urandom(1 << 20) * mib

    def __getstate__(self) -> dict[str, object]:
        return {"count": self.count, "told": self.told, "mib": len(self.ballast) >> 20}

    def __setstate__(self, state: dict[str, object]) -> None:
        mib = state.pop("mib")
        assert isinstance(mib, int)
        self.__dict__.update(state)
        self.ballast = os.urandom(1 << 20) * mib
