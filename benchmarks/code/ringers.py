"""Agents that pass messages on to each other, and know which they have handled."""

import os
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
