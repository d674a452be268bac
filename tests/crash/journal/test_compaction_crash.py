"""Killed at each step of a compaction: either all is there as before, or it goes on to its end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kos_ray.journal.base import anchored
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, JobState, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.payload import inline
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.runtime import compaction

CHILD = Path(__file__).with_name("compaction_child.py")
CPU = Resources.of({"CPU": 1})
JOBS = 600
NOW_US = 1_000_000


def live_through(state_dir: Path) -> int:
    """Jobs that ended, and one that did not; the instant after the former."""
    journal = Journal.open(state_dir)
    now_us = NOW_US

    def add(events: list[e.Event], decisions: list[d.Decision]) -> None:
        nonlocal now_us
        now_us += 1
        journal.append(now_us=now_us, epoch=1, events=events, decisions=decisions)

    add([e.SchedulerStarted(epoch=1, version="x"), e.NodesJoined(nodes=(Node(NodeId("a"), "a", CPU),))], [])
    for first, count in ((1, JOBS), (JOBS + 1, 1)):
        add([submitted(first, count)], [])
    keys = tuple(JobKey(key) for key in range(1, JOBS + 1))
    add([], [d.Launch(node=NodeId("a"), kind=SlotKind(CPU), slots=1, keys=keys, attempts=(1,) * JOBS)])
    add([ended(keys, now_us)], [d.Finish(keys=keys, state=JobState.SUCCEEDED, reason=Reason.SUCCEEDED)])
    add([e.SchedulerStarted(epoch=1, version="y")], [])
    journal.close()
    return now_us


def submitted(first: int, count: int) -> e.JobsSubmitted:
    return e.JobsSubmitted(
        request_id=f"request-{first}",
        first=JobKey(first),
        ids=(f"array-{first}",),
        counts=(count,),
        specs=(SpecKey(1),),
        args=(inline(b"x"),) * count,
        new_specs=((SpecKey(1), Spec(resources=CPU)),) if first == 1 else (),
    )


def ended(keys: tuple[JobKey, ...], at_us: int) -> e.AttemptsEnded:
    n = len(keys)
    return e.AttemptsEnded(
        node=NodeId("a"),
        keys=keys,
        attempts=(1,) * n,
        ends=(AttemptEnd.SUCCEEDED,) * n,
        entered_us=(at_us,) * n,
        ended_us=(at_us,) * n,
        pids=(3,) * n,
        results=(inline(b"y"),) * n,
    )


@pytest.mark.parametrize(
    ("point", "times", "begun"),
    [
        ("base.saved", 1, False),
        ("journal.before_begin", 1, False),
        ("journal.before_commit", 1, False),
        ("journal.after_commit", 1, True),
        *((f"pruning.{step}", times, True) for step in ("before_commit", "after_commit") for times in (1, 3, 4, 5)),
    ],
)
def test_it_is_done_or_not_begun(tmp_path: Path, point: str, times: int, begun: bool) -> None:
    cutoff_us = live_through(tmp_path)
    command = [sys.executable, str(CHILD), str(tmp_path), str(cutoff_us), point, str(times)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert verify(tmp_path).good
    journal = Journal.open(tmp_path)
    assert (anchored(journal.connection) is not None) == begun
    there = journal.connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    assert there <= JOBS if begun and point != "journal.after_commit" and times > 1 else there == JOBS + 1 or begun
    journal.close()
    compaction.compact_file(tmp_path, dict.fromkeys(compaction.FINALS, cutoff_us), grace_s=0, now_s=0)
    journal = Journal.open(tmp_path)
    assert journal.connection.execute("SELECT key FROM jobs").fetchall() == [(JOBS + 1,)]
    assert journal.args([JobKey(JOBS + 1)]) == {JobKey(JOBS + 1): inline(b"x")}
    found = anchored(journal.connection)
    assert found is not None
    assert found.done
    assert len(list((tmp_path / "base").iterdir())) == 2
    journal.close()
    assert verify(tmp_path).good
