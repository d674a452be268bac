"""Recovers from the states that a power cut may leave of a recorded life of the journal, and checks each."""

import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model.errors import KosError
from kos_ray.model.events import SchedulerStarted
from tests.crash.storage.disk import Disk
from tests.crash.storage.recorder import Kind, calls

CHILD = Path(__file__).parents[1] / "journal" / "journal_child.py"
#: what is there of the calls since the last sync, and of four states how many come about so; "some" differs each time
HOWS = {"nothing": 1, "everything": 1, "some": 2}


@dataclass
class Found:
    """States that were looked at, by how they came about, and what was wrong with some."""

    states: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    syncs: int = 0
    problems: list[str] = field(default_factory=list)


def life(point: str, times: int, root: Path, *plant: str) -> list[str]:
    """The command that lives in `root/state`, and notes in `root/notes` what it was promised, until it dies."""
    return [sys.executable, str(CHILD), str(root / "state"), str(root / "notes"), point, str(times), *plant]


def explore(trace: Path, *, seed: int, states: int, problems_max: int = 3) -> Found:
    """Recover from up to so many states, spread over all calls, and from each in which a promise was just made."""
    found, chance = Found(), random.Random(seed)
    recorded = list(calls(trace))
    found.calls, found.syncs = len(recorded), sum(call.kind is Kind.SYNC for call in recorded)
    each = states / len(recorded)
    whole = min(each / 4, 1.0)
    shares = {"nothing": whole, "everything": whole, "some": each - 2 * whole}
    disk = Disk()
    for number, call in enumerate(recorded):
        disk.follow(call)
        promised = call.path == "notes" and call.kind is Kind.WRITE
        for how in _drawn(chance, shares, promised):
            found.states[how] += 1
            folder = Path(tempfile.mkdtemp(prefix="kd", dir="/dev/shm"))
            try:
                disk.crashed(chance, how, folder)
                wrong = recovered(folder, disk.text("notes"))
            finally:
                shutil.rmtree(folder)
            if wrong:
                found.problems.append(f"after call {number} ({call.kind.name} {call.path}), {how} of the rest: {wrong}")
                if len(found.problems) >= problems_max:
                    return found
    return found


def _drawn(chance: random.Random, shares: dict[str, float], promised: bool) -> Iterator[str]:
    """The states after one call; each kind at least as often as in HOWS where a promise was just made."""
    for how, share in shares.items():
        times = int(share) + (chance.random() < share % 1)
        yield from repeat(how, max(times, HOWS[how]) if promised else times)


def recovered(folder: Path, notes: str) -> str:
    """What is wrong with what is there after a crash, when `notes` says what was promised; "" where nothing is."""
    lines = notes.splitlines() if notes.endswith("\n") else notes.splitlines()[:-1]
    promised = {word: [line.split(" ", 1)[1] for line in lines if line.startswith(word)] for word in _WORDS}
    acked = max(map(int, promised["acked"]), default=0)
    state = folder / "state"
    if not state.is_dir():
        return f"the state directory is gone, frame {acked} was acknowledged" if acked else ""
    try:
        journal = Journal.open(state)
    except (KosError, sqlite3.Error) as error:
        return f"the journal does not open: {error!r}"
    try:
        if journal.last_seq < acked:
            return f"frame {acked} was acknowledged, the journal ends with {journal.last_seq}"
        journal.append(
            now_us=journal.last_now_us + 1,
            epoch=journal.last_epoch + 1,
            events=[SchedulerStarted(epoch=journal.last_epoch + 1, version="again")],
            decisions=[],
        )
        report = verify(journal)
        if not report.good:
            return f"the journal is not sound: {report}"
        return _files(state, journal, promised)
    finally:
        journal.close()


_WORDS = ("acked", "snapshot", "blob")


def _files(state: Path, journal: Journal, promised: dict[str, list[str]]) -> str:
    """What is wrong with snapshots and blobs."""
    snapshots = FileSnapshots(state / "snapshots")
    newest = max(map(int, promised["snapshot"]), default=0)
    loaded = snapshots.load_newest(journal)
    if newest and (loaded is None or loaded[0] < newest):
        return f"snapshot {newest} was kept, found {loaded and loaded[0]}: {snapshots.warnings}"
    if snapshots.warnings:
        return f"a snapshot has its name and is not whole: {snapshots.warnings}"
    blobs = FileBlobStore(state / "blobs", 1 << 30)
    try:
        for blob in promised["blob"]:
            blobs.open(blob, verify=True).close()
        for path in (state / "blobs").glob("??/??/*"):
            blobs.open(path.name, verify=True).close()
    except KosError as error:
        return str(error)
    return ""
