"""A process that writes a journal until a failpoint kills it. What it was promised, it notes in a file of its own.

journal_child.py STATE_DIR NOTES FAILPOINT TIMES [PLANT]

PLANT is a call to sync that is left out, to prove that a test finds that: journal, blobs, snapshots, names.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

from kos_ray.journal import blobs as blob_files
from kos_ray.journal import schema, store
from kos_ray.journal import snapshots as snapshot_files
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model import failpoints
from kos_ray.model.errors import JournalUnwritable
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, JobState, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources

T = TypeVar("T")
CPU = Resources.of({"CPU": 1})
JOBS = 40


class Note:
    """A synced file of lines."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8")

    def __call__(self, line: str) -> None:
        self.file.write(line + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def die_at(name: str, times: int, note: Note) -> None:
    """Kill this process when the failpoint is reached for the nth time; say so before."""
    left = [times]

    def hook(reached: str) -> None:
        if reached == name:
            left[0] -= 1
            if not left[0]:
                note(f"reached {name}")
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.install(hook)


def life(state_dir: Path, note: Note) -> None:
    """Submit, launch, end and finish arrays of jobs for ever, with a snapshot and a blob in each round."""
    journal = Journal.open(state_dir)
    journal._checkpoint_at = store._WAL_BYTES = 200_000
    snapshots = FileSnapshots(state_dir / "snapshots")
    blobs = FileBlobStore(state_dir / "blobs", 1_000_000)

    def add(*records: object) -> None:
        frame = surely(
            lambda: journal.append(
                now_us=journal.last_now_us + 1,
                epoch=1,
                events=[x for x in records if isinstance(x, e.EVENT_TYPES)],
                decisions=[x for x in records if isinstance(x, d.DECISION_TYPES)],
            )
        )
        note(f"acked {frame.last_seq}")

    def surely(work: Callable[[], T]) -> T:
        """As often as it takes: what the disk refused has not happened, and can be done again."""
        while True:
            try:
                return work()
            except (JournalUnwritable, OSError) as error:
                note(f"refused {error}")

    add(e.NodesJoined(nodes=(Node(NodeId("a"), "a", CPU),)))
    while True:
        first = journal.next_job_key
        keys = tuple(JobKey(key) for key in range(first, first + JOBS))
        add(submitted(first, keys))
        add(d.Launch(node=NodeId("a"), kind=SlotKind(CPU), slots=1, keys=keys, attempts=(1,) * JOBS))
        add(finished(keys), d.Finish(keys=keys, state=JobState.SUCCEEDED, reason=Reason.SUCCEEDED))
        surely(lambda: snapshots.save(journal.last_seq, journal.last_hash, {"jobs": JOBS}))
        note(f"snapshot {journal.last_seq}")
        ref = surely(lambda first=first: blobs.put([b"%d" % first, b"x" * 100_000]))
        note(f"blob {ref.hash}")


def submitted(first: JobKey, keys: tuple[JobKey, ...]) -> e.JobsSubmitted:
    return e.JobsSubmitted(
        request_id=f"request-{first}",
        first=first,
        ids=(f"array-{first}",),
        counts=(JOBS,),
        specs=(SpecKey(1),),
        args=tuple(inline(b"arg %d" % key) for key in keys),
        new_specs=((SpecKey(1), Spec()),) if first == 1 else (),
    )


def finished(keys: tuple[JobKey, ...]) -> e.AttemptsEnded:
    return e.AttemptsEnded(
        node=NodeId("a"),
        keys=keys,
        attempts=(1,) * JOBS,
        ends=(AttemptEnd.SUCCEEDED,) * JOBS,
        entered_us=(1,) * JOBS,
        ended_us=(2,) * JOBS,
        pids=(3,) * JOBS,
        results=tuple(inline(b"result %d" % key) for key in keys),
    )


def migrate(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE jobs ADD COLUMN cost INTEGER")


def leave_out(plant: str) -> None:
    """Break a promise on purpose."""
    nothing = SimpleNamespace(**{**vars(os), "fsync": lambda _descriptor: None})
    if plant == "journal":
        real = store._connect

        def careless(path: Path | None) -> sqlite3.Connection:
            connection = real(path)
            connection.execute("PRAGMA synchronous = OFF")
            return connection

        store._connect = careless
    elif plant in {"blobs", "snapshots"}:
        vars(blob_files if plant == "blobs" else snapshot_files)["os"] = nothing
    elif plant == "names":
        for module in (blob_files, snapshot_files):
            vars(module)["sync_directory"] = lambda _directory: None


if __name__ == "__main__":
    state, notes, point, nth, *plants = sys.argv[1:]
    for plant in plants:
        leave_out(plant)
    noting = Note(Path(notes))
    die_at(point, int(nth), noting)
    if point == "journal.before_migrated":
        schema.MIGRATIONS[schema.SCHEMA_VERSION] = migrate
        schema.SCHEMA_VERSION += 1
    life(Path(state), noting)
