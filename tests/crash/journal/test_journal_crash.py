"""Killed with SIGKILL at every failpoint and at any other moment: after it, either the whole frame or nothing of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kos_ray.journal import schema
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model.events import SchedulerStarted

CHILD = Path(__file__).with_name("journal_child.py")


class Crashed:
    """What the child was promised before it died, and what it left."""

    def __init__(self, tmp_path: Path, point: str, times: int) -> None:
        self.state = tmp_path / "state"
        self.notes = tmp_path / "notes"
        command = [sys.executable, str(CHILD), str(self.state), str(self.notes), point, str(times)]
        self.child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def wait(self) -> None:
        _, errors = self.child.communicate()
        assert self.child.returncode == -signal.SIGKILL, errors

    def noted(self, word: str) -> list[str]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line.split(" ", 1)[1] for line in lines if line.startswith(word)]

    @property
    def acked(self) -> int:
        return max(map(int, self.noted("acked")), default=0)


def _check(crashed: Crashed) -> Journal:
    """Reopen, and hold what is there against what was promised."""
    before = verify(crashed.state)
    assert before.good, str(before)
    journal = Journal.open(crashed.state)
    assert verify(journal).good
    assert journal.last_seq >= crashed.acked
    snapshots = FileSnapshots(crashed.state / "snapshots")
    saved = [int(seq) for seq in crashed.noted("snapshot")]
    if saved:
        loaded = snapshots.load_newest(journal)
        assert loaded is not None
        assert loaded[0] >= max(saved)
        assert snapshots.warnings == []
    blobs = FileBlobStore(crashed.state / "blobs", 1_000_000)
    for blob in crashed.noted("blob"):
        blobs.open(blob, verify=True).close()
    blobs.sweep()
    left = [path for path in (crashed.state / "blobs").rglob("*") if path.is_file()]
    assert all(path.name == blobs.put([path.read_bytes()]).hash for path in left)
    return journal


@pytest.mark.parametrize("times", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("point", "whole"),
    [("journal.before_begin", False), ("journal.before_commit", False), ("journal.after_commit", True)],
)
def test_a_frame_is_there_as_a_whole_or_not_at_all(tmp_path, point, whole, times):
    crashed = Crashed(tmp_path, point, times)
    crashed.wait()
    assert crashed.noted("reached") == [point]
    journal = _check(crashed)
    frames = list(journal.frames())
    assert len(frames) == times - 1 + whole
    assert len(crashed.noted("acked")) == times - 1
    assert crashed.acked == (frames[times - 2].last_seq if times > 1 else 0)
    journal.append(now_us=10**9, epoch=2, events=[SchedulerStarted(epoch=2, version="again")], decisions=[])
    assert verify(journal).good
    journal.close()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "point",
    [
        "journal.before_checkpoint",
        "journal.after_checkpoint",
        "snapshots.written",
        "snapshots.named",
        "blobs.written",
        "blobs.named",
    ],
)
def test_nothing_that_was_promised_is_lost(tmp_path, point, times):
    crashed = Crashed(tmp_path, point, times)
    crashed.wait()
    assert crashed.noted("reached") == [point]
    assert crashed.acked > 0
    journal = _check(crashed)
    assert journal.last_seq == crashed.acked
    journal.close()


@pytest.mark.parametrize("acks", [1, 2, 3, 7, 12, 20])
def test_killed_from_outside_at_any_moment(tmp_path, acks):
    crashed = Crashed(tmp_path, "never", 1)
    while len(crashed.noted("acked")) < acks:
        assert crashed.child.poll() is None
    crashed.child.kill()
    crashed.wait()
    _check(crashed).close()


def test_a_migration_that_dies_is_begun_anew(tmp_path):
    first = Crashed(tmp_path, "journal.before_commit", 3)
    first.wait()
    seq = first.acked
    crashed = Crashed(tmp_path, "journal.before_migrated", 1)
    crashed.wait()
    assert "journal.before_migrated" in crashed.noted("reached")
    journal = _check(crashed)
    assert journal.last_seq == seq
    assert journal.connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    journal.close()
