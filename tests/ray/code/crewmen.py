"""Agents of the tests that share a role."""

import os
import time

import kos_ray as kos


@kos.agent(resources={"cpu": 0.1}, roles=("clerk",), snapshot_every=1)
class Clerk:
    """Files papers, but for those that it does not take."""

    def __init__(self, name: str, declines: str = "") -> None:
        self.name = name
        self.declines = declines
        self.filed = 0

    def file(self, paper: str = "") -> tuple[str, int]:
        if self.declines:
            raise kos.Decline(self.declines, f"not {paper or 'this'}")
        self.filed += 1
        return self.name, self.filed

    def hold(self, seconds: float) -> tuple[str, int]:
        time.sleep(seconds)
        return self.name, os.getpid()

    def forward(self, paper: str) -> list[str]:
        found = kos.context().role("helper").file(paper)
        return [self.name, found[0]]

    def who(self) -> tuple[str, int]:
        return self.name, os.getpid()
