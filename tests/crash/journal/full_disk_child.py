"""An engine on a disk of its own that gets full: prints, as JSON, what it saw. Run it in a mount namespace of its own.

full_disk_child.py DIRECTORY
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kos_ray.engine.engine import Engine
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model.errors import JournalUnwritable, Refused
from kos_ray.model.events import JournalResumed
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import NodeId
from kos_ray.model.job import Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.protocol import PROTOCOL, Array, Holding, Orders, Submit
from kos_ray.model.resources import Resources
from kos_ray.runtime.reader import ReaderActor

SPEC = Spec(entry="module:function", resources=Resources.of({"CPU": 1}), python="3.11")


class Hands:
    """Clock, links and snapshots of an engine, and the answers that it gave."""

    def __init__(self, journal: Journal, now_us: int = 1_000) -> None:
        self.time_us = now_us
        self.sent: list[Orders] = []
        self.answers: list[Any] = []
        self.engine = Engine(journal=journal, snapshots=self, clock=self, links=self, python="3.11", version="0")

    def now_us(self) -> int:
        return self.time_us

    def send(self, _: NodeId, orders: Orders) -> None:
        self.sent.append(orders)

    def load_newest(self) -> None:
        return None

    def tick(self) -> None:
        self.time_us += 1_000
        self.engine.tick()

    def submit(self, number: int) -> Any:
        array = Array(id=f"a{number}", count=-1, spec=spec_hash(SPEC), args=(inline(b"x" * 30_000),))
        submit = Submit(request_id=f"r{number}", arrays=(array,), specs=((spec_hash(SPEC), SPEC),))
        self.engine.submit(submit, self.answers.append)
        self.tick()
        return self.answers[-1]


def main(directory: Path) -> dict[str, Any]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(directory)], check=True)
    seen: dict[str, Any] = {}
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(3_000_000))  # whose room comes back later
    state = directory / "state"
    journal = Journal.open(state)
    hands = Hands(journal)
    hands.engine.boot()
    node = Node(NodeId("n"), "n", Resources.of({"CPU": 1}), incarnation="first")
    hands.engine.greeted(node, Holding(node=node.id, incarnation="first", protocol=PROTOCOL), 1)
    hands.tick()
    accepted = 0
    while not isinstance(answer := hands.submit(accepted + 1), Refused) and accepted < 1_000:
        accepted += 1
    fill(ballast)
    seen |= {"accepted": accepted, "refusal": str(answer), "since": hands.engine.trouble.since_us}
    sent = len(hands.sent)
    hands.tick()
    seen["still"] = hands.engine.stalled
    seen["refused_at_once"] = str(hands.submit(accepted + 1))
    seen["sent_meanwhile"] = len(hands.sent) - sent
    seen["blob"] = blob_refused(state)
    seen["left"] = [path.name for path in (state / "blobs").rglob("*") if path.is_file()]
    seen["uploads"] = [path.name for path in (state / "uploads").iterdir()]
    ballast.unlink()
    hands.tick()
    seen["after"] = hands.engine.stalled
    seen["again"] = type(hands.submit(accepted + 1)).__name__
    said = [event for frame in journal.frames() for event in frame.events if isinstance(event, JournalResumed)]
    seen["resumed"] = [(event.since_us, event.reason) for event in said]
    seen["blob_again"] = FileBlobStore(state / "blobs", 1 << 30).put([b"y" * 100_000]).size
    journal.close()
    seen |= boot_on_a_full_disk(state, ballast)
    return seen


def blob_refused(state: Path) -> list[str]:
    """What the reader says to blobs that find no room, in one message and in several."""
    said = []
    reader = ReaderActor(str(state))
    for store in (
        lambda: reader.blob_put(b"y" * 3_000_000),
        lambda: reader.blob_write("0" * 32, b"y" * 3_000_000),
    ):
        try:
            store()
        except Refused as error:
            said.append(str(error))
    return said


def boot_on_a_full_disk(state: Path, ballast: Path) -> dict[str, Any]:
    """A scheduler that starts while there is no room takes over as soon as there is."""
    ballast.touch()
    journal = Journal.open(state)
    fill(ballast)
    hands = Hands(journal, now_us=10**9)
    seen: dict[str, Any] = {"boot": ""}
    try:
        hands.engine.boot()
    except JournalUnwritable as error:
        seen["boot"] = str(error)
    hands.tick()
    seen["boot_still"] = hands.engine.stalled
    ballast.unlink()
    hands.tick()
    seen |= {"boot_after": hands.engine.stalled, "booted": hands.engine.booted, "epoch": journal.last_epoch}
    journal.close()
    seen["verified"] = str(verify(state).good)
    return seen


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (100_000, 4_096, 1):
            try:
                while True:
                    file.write(b"z" * size)
            except OSError:
                continue


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
