"""Agents that pass messages on to each other, and know which they have handled; and ones that are killed."""

import os
import time
from collections import Counter

import kos_ray as kos


@kos.agent(resources={"cpu": 0.01})
class Ringer:
    """One of `count` agents: a message goes from each to the next one, until its hops are over."""

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self.count = count
        self.handled: Counter[tuple[int, int]] = Counter()

    def hop(self, token: int, left: int) -> int:
        """Handle one message, and send the next; how many are left."""
        self.handled[token, left] += 1
        if left:
            after = f"ringer-{(self.number + 1) % self.count}"
            kos.context().agent(after).hop.submit(token, left - 1)
        return left

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()

    def heard(self) -> list[tuple[int, int, int]]:
        """What it has handled, and how often."""
        return [(token, left, times) for (token, left), times in sorted(self.handled.items())]


@kos.agent(resources={"cpu": 0.01}, snapshot_every=1)
class Keeper:
    """Counts; what it has counted is saved with each message."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """One more; how many there are now."""
        self.count += 1
        return self.count

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()

    def nap(self, seconds: float) -> int:
        """Take so long; by which process it was done."""
        time.sleep(seconds)
        return os.getpid()
