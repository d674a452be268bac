"""One failpoint: a world of processes, a death, and what must hold after it, told from files outside the system."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kos_ray.journal.anchor import parse_anchor
from kos_ray.journal.verify import verify
from kos_ray.runtime.names import SCHEDULER, agent_name
from kos_ray.worker import failpoint
from tests.crash import load
from tests.crash.judge import crashed_beside, entered_again, judge_jobs, lines
from tests.crash.raylet import Process, Raylet

HEAD, OTHER = "a" * 56, "b" * 56
NODES = {HEAD: 3, OTHER: 3}
#: seconds until a world that does not end has failed
_WORLD_S = 90.0
#: a snapshot is due, and the log is copied into the database, much more often than in a life without crashes
_SNAPSHOT_CHANGES = 60
_WAL_BYTES = 100_000
_BASE = tempfile.gettempdir()


@dataclass
class Told:
    """What came of one failpoint."""

    point: str
    nth: int
    problems: list[str] = field(default_factory=list)
    #: which process died, "" where none did
    died: str = ""
    #: ms from the death to the next thing that was noted outside
    again_ms: float = -1.0
    jobs: int = 0
    entries: int = 0
    seconds: float = 0.0


class World:
    """The processes of one run, and the files that they leave."""

    def __init__(self, folder: Path, point: str, nth: int) -> None:
        self.folder = folder
        self.told = Told(point, nth)
        self.died_at = 0.0
        self._fired = folder / "fired"
        if point:
            os.environ[failpoint.VARIABLE] = f"{point}:{nth}:{self._fired}"
        self.raylet = Raylet(folder, NODES)
        self._loses_node = point == "nodes.before_lost"
        self._dead: Process | None = None
        self._seen_ends = 0
        self._failed: list[str] = []

    def run(self) -> None:
        """Until the client has all its answers, and the backup is made."""
        deadline = time.monotonic() + _WORLD_S
        client = self.raylet.fork("client", lambda: load.run(self.folder))
        over = self._watched(client, again=False)
        backed_up = self._watched(self.raylet.fork("backup", lambda: load.back_up(self.folder)), again=True)
        while not (over() and (backed_up() or self._failed) and self._noticed()):
            self.raylet.step(0.05)
            self._look()
            if time.monotonic() > deadline:
                self.told.problems.append(f"not over after {_WORLD_S:.0f} s")
                return
        self.told.problems += self._failed

    def _noticed(self) -> bool:
        """That a machine is gone is noticed at the next heartbeat, by when everything else may be over."""
        return self.told.point != "nodes.before_lost" or self._fired.exists()

    def _watched(self, process: Process, *, again: bool) -> Callable[[], bool]:
        """Whether a process has done its work; one that was killed is started again, if it may be."""
        done: list[int] = []

        def ended(status: int) -> None:
            if status == -signal.SIGKILL and again:
                work = lambda: load.back_up(self.folder)  # noqa: E731
                self.raylet.fork(process.name, work).ended = ended
                return
            if status:
                self._failed.append(f"the {process.name} ended with {status}: {self._last_words(process)}")
            done.append(status)

        process.ended = ended
        return lambda: bool(done)

    def _last_words(self, process: Process) -> str:
        logs = sorted((self.folder / "logs").glob(f"{process.name}-*"))
        return logs[-1].read_text()[-600:] if logs else ""

    def _look(self) -> None:
        """Notice the death, and let the second node die where that is what the failpoint is about."""
        for name, pid, status in self.raylet.ends[self._seen_ends :]:
            if status == -signal.SIGKILL and self._fired.exists() and self._fired.read_text() == str(pid):
                self.told.died, self.died_at = name, time.monotonic()
        self._seen_ends = len(self.raylet.ends)
        if self._loses_node and "ended" in self._text("told"):
            self._loses_node = False
            self.raylet.lose_node(OTHER)

    def _text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    # ---- what must hold

    def check(self) -> None:
        """Everything that is promised, on what was noted outside against what the journal has."""
        told, problems = self.told, self.told.problems
        if told.point and not self._fired.exists():
            problems.append(f"the failpoint {told.point} was not reached {told.nth} times")
        elif told.point and not told.died:
            problems.append(f"the process that reached {told.point} did not die")
        state = self.folder / "state"
        told.entries = sum(line["what"] == "entry" for line in lines(self.folder, "history"))
        after = [line["at"] for file in ("history", "told", "backups") for line in lines(self.folder, file)]
        later = [at for at in after if at > self.died_at]
        if told.died and later:
            told.again_ms = (min(later) - self.died_at) * 1000
        self._check_journal(state, problems)
        if problems and "not over" in problems[0]:
            return
        told.jobs, found = judge_jobs(self.folder, state)
        problems += found
        # where no agent, slot or node died, nothing has to be done again
        if told.died in {"kos-scheduler", "kos-reader", "backup"} and told.point != "nodes.before_lost":
            problems += entered_again(self.folder)
        if told.died == "slot":
            problems += crashed_beside(self.folder, state)

    def _check_journal(self, state: Path, problems: list[str]) -> None:
        report = verify(state)
        if not report.good:
            problems.append(f"the journal is not sound: {report}")
        for line in [line for line in lines(self.folder, "told") if line["what"] == "anchor"]:
            found = verify(state, parse_anchor(line["anchor"]))
            if not found.good:
                problems.append(f"what was audited is gone: {found}")
        backups = lines(self.folder, "backups")
        if not backups:
            problems.append("no backup was made")
        for line in backups:
            copy = verify(Path(line["path"]), parse_anchor(line["anchor"]))
            if not copy.good:
                problems.append(f"the backup {line['path']} is not sound: {copy}")

    def close(self) -> None:
        """End all processes."""
        self.raylet.close()


def crash_at(point: str, nth: int, *, keep: bool = False) -> Told:
    """Run one world in this process, which is its raylet."""
    from kos_ray.journal import store
    from kos_ray.runtime import snapshotting

    snapshotting.CHANGES = snapshotting.CHANGES_MAX = _SNAPSHOT_CHANGES
    store._WAL_BYTES = _WAL_BYTES
    began = time.monotonic()
    # short: a Unix socket's path is
    folder = Path(tempfile.mkdtemp(prefix="kc", dir=_BASE))
    world = World(folder, point, nth)
    try:
        world.run()
        world.check()
    finally:
        world.close()
        if keep and world.told.problems:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    world.told.seconds = time.monotonic() - began
    return world.told


__all__ = ["HEAD", "OTHER", "SCHEDULER", "Told", "World", "agent_name", "crash_at"]
