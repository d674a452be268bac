"""One job for each fire, however often the scheduler dies: `python -m tests.crash.kills --kills 100`.

Schedules fire each second, on a miniature Ray. The scheduler is killed at instants drawn from a seed, while it boots
among others. In the end every instant, from the first to the last, has had one job, which was entered once.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from tests.crash import miniature
from tests.crash.judge import lines
from tests.crash.raylet import Raylet

NODES = {"a" * 56: 3, "b" * 56: 3}
#: schedules by name, and how late each of their fires may be
SCHEDULES = {"exact": "0s", "loose": "300ms", "looser": "900ms"}
#: seconds that a life of the scheduler lasts at most; some end before they have booted
_LIFE_S = 1.5
#: kills to each instant of a schedule at most, by and large
_KILLS_PER_INSTANT = 5
#: seconds for what is open when nobody is killed any more
_END_S = 60.0
#: a snapshot is due much more often than in a life without kills
_SNAPSHOT_CHANGES = 20
_SCHEDULER = "kos-scheduler"


def _client(folder: Path) -> None:
    """Set the schedules; when there have been enough kills take their ends from them, and note what they made."""
    import kos_ray
    from kos_ray.runtime import connect
    from tests.crash.code import crash_jobs
    from tests.crash.load import CODE, SETTINGS, Noted

    connect._scheduler(folder / "state")
    with kos_ray.connect(start=False) as client:
        client.settings(SETTINGS)
        for name, jitter in SCHEDULES.items():
            args, options = (str(folder), name), {"code": CODE, "resources": {"cpu": 0}}
            terms = {"overlap": "allow_all", "catch_up": "all", "jitter": jitter}
            client.schedule(crash_jobs.fire, "every second", name=name, args=args, options=options, **terms)
        noted = Noted(folder / "told")
        noted(what="set")
        while not (folder / "enough").exists():
            time.sleep(0.05)
        for name in SCHEDULES:
            # one that has been missed while nobody was there is due at once
            client.pause_schedule(name)
        views = [view for name in SCHEDULES for view in client.jobs(prefix=f"{name}@", limit=100_000)]
        assert client.wait([view.id for view in views], _END_S)
        for view in views:
            noted(what="job", name=view.name, state=client.job(view.id).wait(_END_S).name)
    (folder / "done").touch()


class Kills:
    """One world, and what was seen in it."""

    def __init__(self, folder: Path, kills: int, seed: int) -> None:
        self.folder, self.kills = folder, kills
        self.killed = self.fires = 0
        self._random = Random(seed)
        self._raylet = Raylet(folder, NODES)

    def run(self) -> list[str]:
        """Until the last of the kills, and what was open then; what is wrong."""
        try:
            client = self._raylet.fork("client", lambda: _client(self.folder))
            failed: list[int] = []
            client.ended = lambda status: failed.append(status) if status else None
            self._until(lambda: bool(lines(self.folder, "told")) or bool(failed))
            deadline = time.monotonic() + _END_S + self.kills * _LIFE_S
            while (self.killed < self.kills or self._too_few()) and not failed and time.monotonic() < deadline:
                self._kill()
            (self.folder / "enough").touch()
            self._until((self.folder / "done").exists, failed)
            if failed:
                logs = sorted((self.folder / "logs").glob("client-*"))
                return [f"the client ended with {failed[0]}: {logs[-1].read_text()[-800:]}"]
        finally:
            self._raylet.close()
        return self.judge()

    def _too_few(self) -> bool:
        """Kills with hardly a fire among them show nothing: a fast machine is through with them in a moment."""
        entered = sum(line["what"] == "entry" for line in lines(self.folder, "history"))
        return entered * _KILLS_PER_INSTANT < self.kills * len(SCHEDULES)

    def _kill(self) -> None:
        life_s = self._random.uniform(0, _LIFE_S) * self._random.random()
        until = time.monotonic() + life_s
        while time.monotonic() < until:
            self._raylet.step(0.01)
        before = len(self._raylet.ends)
        self._raylet.kill_actor(_SCHEDULER)
        self._until(lambda: any(name == _SCHEDULER for name, _, _ in self._raylet.ends[before:]))
        self.killed += self._raylet.ends[-1][2] == -signal.SIGKILL
        self._until(lambda: self._raylet.alive(_SCHEDULER))

    def _until(self, done: Callable[[], bool], failed: "list[int] | tuple[()]" = ()) -> None:
        deadline = time.monotonic() + _END_S
        while not done() and not failed:
            self._raylet.step(0.02)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not over after {_END_S:.0f} s")

    def judge(self) -> list[str]:
        """What is wrong."""
        from kos_ray.journal.verify import verify

        problems = [] if verify(self.folder / "state").good else ["the journal is not sound"]
        entries = Counter(line["name"] for line in lines(self.folder, "history") if line["what"] == "entry")
        jobs = Counter(_instant(line["name"]) for line in lines(self.folder, "told") if line["what"] == "job")
        states = {line["state"] for line in lines(self.folder, "told") if line["what"] == "job"}
        if states != {"SUCCEEDED"}:
            problems.append(f"expected all jobs to have succeeded, found {states}")
        for name in SCHEDULES:
            instants = sorted(int(key.split()[1]) for key in jobs if key.startswith(f"{name} "))
            missing = set(range(instants[0], instants[-1] + 1)) - set(instants)
            problems += [f"{name}: no job for {at}" for at in sorted(missing)]
        problems += [f"{key}: {count} jobs" for key, count in jobs.items() if count > 1]
        problems += [f"{key}: entered {entries[key]} times" for key in jobs if entries[key] != 1]
        problems += [f"{key}: entered, and no job" for key in entries - jobs]
        self.fires = len(jobs)
        return problems


def _instant(name: str) -> str:
    """`NAME@INSTANT` of a job as its code notes it."""
    schedule, _, at = name.partition("@")
    return f"{schedule} {datetime.fromisoformat(at).astimezone(UTC).timestamp():.0f}"


def main(arguments: list[str] | None = None) -> int:
    """Run, and say what was seen; 1 where something is wrong, or too little happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the files")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="kf"))
    miniature.install(folder)
    from kos_ray.runtime import agent_actor, reader, scheduler, snapshotting  # noqa: F401 - what is forked has them

    snapshotting.CHANGES = snapshotting.CHANGES_MAX = _SNAPSHOT_CHANGES
    kills = Kills(folder, options.kills, options.seed)
    try:
        problems = kills.run()
        if not problems and kills.fires * _KILLS_PER_INSTANT < options.kills * len(SCHEDULES):
            problems = [f"only {kills.fires} fires among {options.kills} kills"]
        told = {"kills": kills.killed, "fires": kills.fires, "problems": problems}
        sys.stdout.write(json.dumps(told) + "\n")
    finally:
        if options.keep:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if problems or kills.killed < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
