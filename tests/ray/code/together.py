"""Jobs that want the same things."""

import json
import os
import time
from pathlib import Path
from typing import Any

import kos_ray as kos


def note(folder: str, name: str, **found: Any) -> None:
    """Write down a fact, whole or not at all."""
    path = Path(folder) / f"{name}.json"
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").rename(path)


def holds(folder: str, lock: str) -> int:
    """Hold a lock until the file `release` is there; its first attempt waits to be killed."""
    context = kos.context()
    with context.lock(lock, ttl="60s") as held:
        note(folder, f"held-{context.attempt}", pid=os.getpid(), fence=held.fence)
        while not (Path(folder) / "release").exists():
            time.sleep(0.02)
    return int(held.fence)


def handles(folder: str, box: str) -> str:
    """Take a message; the first attempt waits to be killed."""
    context = kos.context()
    message = context.mailbox(box).take(wait="30s", ttl="60s")
    note(folder, f"taken-{context.attempt}", pid=os.getpid(), id=message.id, deliveries=message.deliveries)
    while context.attempt == 1:
        time.sleep(0.02)
    message.ack()
    return f"{message.value} {context.signal('go', wait='30s')}"


def meets(told: tuple[str, str]) -> str:
    """Meet the other once; then one of the two waits to be killed, and the other to meet it again."""
    folder, name = told
    with kos.context().barrier("epoch", parties=2, timeout="60s") as barrier:
        barrier.wait()
        note(folder, name, pid=os.getpid(), job=kos.context().job_id)
        while name == "killed":
            time.sleep(0.02)
        try:
            barrier.wait()
        except kos.BrokenBarrier as error:
            return str(error)
    return "not broken"


class Bidder:
    """Would do anything for its price, None: nothing."""

    def __init__(self, price: int | None) -> None:
        self.price = price
        self.rejected = 0

    def bid(self, task: str) -> int | None:
        return self.price

    def award(self, task: str, bid: int) -> str:
        return f"{task} for {bid}"

    def reject(self, task: str, bid: int) -> None:
        self.rejected += 1

    def sent_away(self) -> int:
        return self.rejected

    def arbitrate(self, task: str, bids: list[dict[str, Any]]) -> str:
        return max(bids, key=lambda bid: bid["cost"])["agent"]
