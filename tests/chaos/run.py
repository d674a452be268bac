"""One seed: a real cluster under load, with faults at random from the seed, then quiet, then the verdict.

`python -m tests.chaos.run SEED SECONDS FOLDER` prints one line of JSON.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kos_ray.journal.anchor import parse_anchor
from kos_ray.journal.verify import verify
from kos_ray.runtime import audit
from tests.chaos.cluster import LEASE_S, ChaosCluster
from tests.crash.code import crash_jobs
from tests.crash.judge import judge_jobs, lines, stored_results
from tests.crash.load import CODE, Noted

#: seconds in which all that was handed over ends once there are no faults any more
_QUIET_S = 120.0
#: on average one fault in so many seconds
_PAUSE_S = 1.2
#: jobs in one batch
_BATCH = 17
AGAIN: dict[str, Any] = {"retry": 30, "backoff": {"first": "20ms", "max": "200ms"}, "code": CODE}
HALF = {"resources": {"cpu": 0.5}}
#: of exclusive work that is stopped: its lease and what a loaded machine is late by
_LEASE_OVER_S = LEASE_S * 1.1 + 5
#: for another attempt to have made its effect, and then for the old one to be refused
_CHARGED_S, _REFUSED_S = 90.0, 10.0
#: so long a run waits for them at most
_OWED_S = 240.0
#: for work of that kind to run
_SOON_S = 5.0
_LONG_S = 30.0
#: what needs work of its own kind, and is seen through: in a run of so many seconds each lands at least once
OUTLIVED = "exclusive worker frozen past its lease, and ended by it"
REFUSED = "worker replaced while its effect was on its way, and that refused"
#: what strikes, and how often relative to the others; the head and a full disk have a time of their own
KINDS = {
    "scheduler killed": 4,
    "agent killed": 3,
    "slot killed": 5,
    "raylet killed": 2,
    "reader killed": 1,
    "slot frozen": 3,
    "agent frozen": 2,
    "scheduler frozen": 1,
}


@dataclass
class Verdict:
    """What came of a seed."""

    seed: int
    seconds: float
    jobs: int = 0
    entries: int = 0
    landed: Counter[str] = field(default_factory=Counter)
    skipped: str = ""
    problems: list[str] = field(default_factory=list)

    def enough(self, batches: int) -> bool:
        """Whether the faults have landed, and the batches been handed over, that a run must have to mean something."""
        return self.landed.total() >= self.seconds / 10 and batches * _BATCH >= self.seconds


class Chaos:
    """The faults of one seed."""

    def __init__(self, cluster: ChaosCluster, folder: Path, verdict: Verdict) -> None:
        self._cluster = cluster
        self._folder = folder
        self._verdict = verdict
        self._random = random.Random(verdict.seed)
        self._over = threading.Event()
        #: what is still to be seen, in an order of the seed's
        self._owed = self._random.sample([OUTLIVED, REFUSED], 2)
        #: exclusive attempts that were stopped, and until when each was still there
        self._stopped: list[tuple[dict[str, Any], float]] = []
        #: held by whoever makes or loses a whole cluster
        self.lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(strikes,), daemon=True)
            for strikes in (self._strike_on, self._see_through)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, strikes: Callable[[], None]) -> None:
        try:
            strikes()
        except Exception as error:  # noqa: BLE001 - without faults the run proves nothing
            self._verdict.problems.append(f"the faults broke: {type(error).__name__}: {error}")

    def _strike_on(self) -> None:
        names, weights = list(KINDS), list(KINDS.values())
        while not self._over.wait(self._random.expovariate(1 / _PAUSE_S)):
            kind = self._random.choices(names, weights)[0]
            number = self._random.randrange(1_000)
            with self.lock, contextlib.suppress(ProcessLookupError):
                if self._strike(kind, number):
                    self._verdict.landed[kind] += 1

    def owes(self) -> list[str]:
        """What a long run must have seen, and has not."""
        return self._owed if self._verdict.seconds >= _LONG_S else []

    def _see_through(self) -> None:
        """Beside the other faults: these take as long as it takes until another attempt is there."""
        ways = {OUTLIVED: self._outlive, REFUSED: self._replace_writer}
        number = 0
        while self._owed and not self._over.wait(0.5):
            number += 1
            with contextlib.suppress(ProcessLookupError):
                if ways[self._owed[number % len(self._owed)]](number):
                    self._verdict.landed[self._owed.pop(number % len(self._owed))] += 1

    def _outlive(self, number: int) -> bool:
        """Stop exclusive work for longer than its lease. It is never there to go on: the kernel has ended it."""
        found = self._inside_soon("exclusive", number)
        if found is None:
            return False
        pid = found["pid"]
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + _LEASE_OVER_S
        seen = 0.0
        while _runs(pid) and (now := time.monotonic()) < until and not self._over.wait(0.02):
            seen = now
        self._stopped.append((found, seen))
        if not _runs(pid):
            return True
        os.kill(pid, signal.SIGCONT)
        if self._over.is_set():
            return False
        self._verdict.problems.append(f"{found['name']} attempt {found['attempt']} outlives its lease, stopped")
        return False

    def overlaps(self) -> list[str]:
        """Exclusive work that another attempt had been entered of while a stopped one was still there."""
        entries = [line for line in lines(self._folder, "history") if line["what"] == "entry"]
        return [
            f"{line['name']}: attempt {line['attempt']} was entered while attempt {found['attempt']} was there"
            for found, seen in self._stopped
            for line in entries
            if line["name"] == found["name"] and line["attempt"] > found["attempt"] and line["at"] < seen
        ]

    def _replace_writer(self, number: int) -> bool:
        """Stop what makes an effect, kill the worker that it is for; when another has made it, let it go on."""
        found = self._inside_soon("charged", number)
        if found is None or not self._until(lambda: bool(self._writers(found)), _SOON_S):
            return False
        writer = self._writers(found)[-1]
        os.kill(writer, signal.SIGSTOP)
        os.kill(found["pid"], signal.SIGKILL)
        made = self._until(lambda: self._noted("charged", found["name"]), _CHARGED_S)
        os.kill(writer, signal.SIGCONT)
        return made and self._until(lambda: self._noted("refused", found["name"], found["attempt"]), _REFUSED_S)

    def _writers(self, found: dict[str, Any]) -> list[int]:
        """Processes that are about to make the effect of an attempt."""
        written = [line for line in lines(self._folder, "history") if line["what"] == "writer" and _same(line, found)]
        return [line["pid"] for line in written if _runs(line["pid"])]

    def _noted(self, what: str, name: str, attempt: int = 0) -> bool:
        return any(
            line["what"] == what and line["name"] == name and attempt in (0, line["attempt"])
            for line in lines(self._folder, "history")
        )

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it came to be in time, and before the faults are over."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until or self._over.wait(0.05):
                return False
        return True

    def _strike(self, kind: str, number: int) -> bool:
        """Whether it took effect."""
        who, what = kind.split()
        if who == "raylet":
            return self._cluster.lose_worker(number)
        pid = self._running_slot(number) if who == "slot" else self._cluster.pid_of(who, number)
        if not pid:
            return False
        if what == "killed":
            os.kill(pid, signal.SIGKILL)
            return True
        os.kill(pid, signal.SIGSTOP)
        self._over.wait(self._random.uniform(0.3, 2.5))
        os.kill(pid, signal.SIGCONT)
        return True

    def _running_slot(self, number: int) -> int:
        """A process that has noted an entry and no exit, and lives."""
        found = self._inside("", number)
        return int(found["pid"]) if found else 0

    def _inside_soon(self, kind: str, number: int) -> dict[str, Any] | None:
        """The same as `_inside`, waited for."""
        self._until(lambda: self._inside(kind, number) is not None, _SOON_S)
        return self._inside(kind, number)

    def _inside(self, kind: str, number: int) -> dict[str, Any] | None:
        """The entry of an attempt that has noted no exit, and whose process lives; of jobs whose name begins so."""
        inside: dict[tuple[str, int], dict[str, Any]] = {}
        for line in lines(self._folder, "history")[-300:]:
            attempt = (line["name"], line["attempt"])
            if line["what"] == "entry" and line["name"].startswith(kind):
                inside[attempt] = line
            elif line["what"] == "exit":
                inside.pop(attempt, None)
        living = [line for line in inside.values() if _runs(line["pid"])]
        return living[number % len(living)] if living else None

    def fill_disk(self, state: Path) -> None:
        """Leave no byte free where the journal is, for a while."""
        ballast = state.parent / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        self._over.wait(2.0)
        ballast.unlink()
        self._verdict.landed["disk full"] += 1


def _runs(pid: int) -> bool:
    """Whether there is such a process, and it is not about to be gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _same(line: dict[str, Any], other: dict[str, Any]) -> bool:
    return (line["name"], line["attempt"]) == (other["name"], other["attempt"])


def run(seed: int, seconds: float, folder: Path, disk: Path | None) -> Verdict:
    """The whole history of one seed. `disk` is a small file system for the state directory, where there is one."""
    verdict = Verdict(seed, seconds)
    chance = random.Random(-seed)
    state = (disk or folder) / "state"
    cluster = ChaosCluster(state, workers=2 + seed % 2)
    chaos = Chaos(cluster, folder, verdict)
    try:
        began = time.monotonic()
        head_at = began + seconds * chance.uniform(0.3, 0.7) if chance.random() < 0.5 else 0.0
        full_at = began + seconds * chance.uniform(0.1, 0.9) if disk else 0.0
        chaos.start()
        noted, number = Noted(folder / "told"), 0
        # on a machine with other work, until enough has happened
        while (
            (now := time.monotonic()) < began + seconds
            or (now < began + 3 * seconds and not verdict.enough(number))
            or (now < began + _OWED_S and chaos.owes())
        ):
            number += 1
            with chaos.lock:
                cluster.fill()
            with contextlib.suppress(Exception):  # what was not acknowledged may have happened or not
                _submit(cluster, folder, noted, number)
            if head_at and time.monotonic() > head_at:
                head_at, lost_at = 0.0, time.monotonic()
                with chaos.lock:
                    cluster.lose_head()
                began += time.monotonic() - lost_at  # meanwhile nothing else can strike
                verdict.landed["head lost"] += 1
            if full_at and time.monotonic() > full_at:
                full_at = 0.0
                chaos.fill_disk(state)
        chaos.stop()
        cluster.fill()
        _settle(cluster, folder, verdict)
        noted(what="anchor", anchor=audit.anchor(state))
    except Exception as error:  # noqa: BLE001 - whatever stopped the run is its verdict
        verdict.problems.append(f"the run broke: {type(error).__name__}: {error}")
    finally:
        chaos.stop()
        cluster.close()
    _judge(folder, state, verdict)
    verdict.problems += chaos.overlaps() + [f"it was never seen: {what}" for what in chaos.owes()]
    return verdict


def _submit(cluster: ChaosCluster, folder: Path, noted: Noted, number: int) -> None:
    """One more batch of all kinds."""
    client, where = cluster.client, str(folder)
    names = [f"item-{number}-{i}" for i in range(10)]
    for name, job in zip(
        names, client.map(crash_jobs.item, [(where, name) for name in names], **AGAIN, **HALF), strict=True
    ):
        noted(what="acked", name=name, id=job.id, kind="plain")
    kinds = {"saved": crash_jobs.saved, "slow": crash_jobs.slow}
    for kind, function in kinds.items():
        name = f"{kind}-{number}"
        job = client.submit(function, where, name, **AGAIN, **HALF)
        noted(what="acked", name=name, id=job.id, kind="saved" if kind == "saved" else "plain")
    name = f"once-{number}"
    once = client.submit(crash_jobs.slow, where, name, guarantee="at_most_once", code=CODE, **HALF)
    noted(what="acked", name=name, id=once.id, kind="once")
    exclusive = {"exclusive": crash_jobs.exclusive, "charged": crash_jobs.charged}
    for kind, function in exclusive.items():
        name, small = f"{kind}-{number}", {"resources": {"cpu": 0.1}}
        own = {"guarantee": "exactly_once"} if kind == "exclusive" else {}
        job = client.submit(function, where, name, **AGAIN, **small, **own)
        noted(what="acked", name=name, id=job.id, kind="plain")
    value = client.submit(crash_jobs.large, where, f"large-{number:04}", **AGAIN, **HALF)
    noted(what="acked", name=f"large-{number:04}", id=value.id, kind="large")
    last = client.submit(crash_jobs.length, where, f"length-{number}", value, **AGAIN, **HALF)
    noted(what="acked", name=f"length-{number}", id=last.id, kind="length of ten")
    noted(what="anchor", anchor=audit.anchor(cluster.state_dir))
    last.wait(2)


def _settle(cluster: ChaosCluster, folder: Path, verdict: Verdict) -> None:
    """No more faults: all that was acknowledged ends."""
    ids = [line["id"] for line in lines(folder, "told") if line["what"] == "acked"]
    views = cluster.client.wait(ids, _QUIET_S)
    open_ = [view.id for view in views if view.state not in {"succeeded", "failed", "lost", "skipped", "cancelled"}]
    if open_:
        verdict.problems.append(f"not over after {_QUIET_S:.0f} quiet seconds: {open_[:20]}")


def _judge(folder: Path, state: Path, verdict: Verdict) -> None:
    report = verify(state)
    if not report.good:
        verdict.problems.append(f"the journal is not sound: {report}")
    for line in [line for line in lines(folder, "told") if line["what"] == "anchor"][-5:]:
        found = verify(state, parse_anchor(line["anchor"]))
        if not found.good:
            verdict.problems.append(f"what was audited is gone: {found}")
    verdict.jobs, problems = judge_jobs(folder, state)
    verdict.problems += problems + stored_results(folder, state)
    verdict.problems += _charges(folder)
    verdict.entries = sum(line["what"] == "entry" for line in lines(folder, "history"))
    if verdict.jobs < verdict.seconds:
        verdict.problems.append(f"only {verdict.jobs} jobs in {verdict.seconds:.0f} s: it proves nothing")
    if verdict.landed.total() < verdict.seconds / 10:
        verdict.problems.append(f"only {verdict.landed.total()} faults landed in {verdict.seconds:.0f} s")


def _charges(folder: Path) -> list[str]:
    """What is wrong with the effects: each is there once, made by an attempt that none before it came after."""
    made = [line for line in lines(folder, "history") if line["what"] == "charged"]
    if not made:
        return []
    with closing(sqlite3.connect(folder / "bank.db")) as bank:
        rows = bank.execute("SELECT name, attempt FROM charges").fetchall()
    times = Counter(name for name, _ in rows)
    problems = [f"{name} was charged {count} times" for name, count in times.items() if count > 1]
    noted = {(line["name"], line["attempt"]) for line in made}
    return problems + [f"{name} was charged, and nothing of attempt {at} is there" for name, at in noted - set(rows)]


if __name__ == "__main__":
    seed_, seconds_, folder_ = sys.argv[1:4]
    disk_ = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    found_ = run(int(seed_), float(seconds_), Path(folder_), disk_)
    sys.stdout.write(json.dumps(vars(found_)) + "\n")
