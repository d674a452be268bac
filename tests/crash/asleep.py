"""A scheduler that sleeps through its successor's start, in a miniature Ray: `python -m tests.crash.asleep`.

It is stopped (SIGSTOP). Another one takes its journal over: its lock is taken away, as if the directory were another
machine's by now. Then it goes on (SIGCONT), with requests in its ears and timers that are due. Prints what was seen.
"""

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.crash import miniature
from tests.crash.raylet import Raylet

NODES = {"a" * 56: 3, "b" * 56: 3}
#: seconds for the whole, and for the old scheduler to end when it goes on
_WORLD_S, _END_S = 90.0, 20.0


def _story(folder: Path) -> None:
    """What a client does; it writes what it saw to `seen`."""
    import kos_ray
    from kos_ray.journal.reader import JournalReader
    from kos_ray.runtime import connect
    from tests.crash.code import crash_jobs
    from tests.crash.load import AGAIN, HALF, SETTINGS

    state, where = folder / "state", str(folder)
    old = connect._scheduler(state)[0]
    told: dict[str, Any] = {}
    with kos_ray.connect(start=False) as client:
        client.settings(SETTINGS)
        held = [client.submit(crash_jobs.until_released, where, f"held-{i}", **AGAIN, **HALF) for i in range(3)]
        while not (folder / "history").exists() or (folder / "history").read_text().count("entry") < 3:
            time.sleep(0.01)
        pid = miniature.get(old.greet.remote())["pid"]
        os.kill(pid, signal.SIGSTOP)
        # said to the one that sleeps: it will hear it when it goes on
        said = threading.Thread(
            target=lambda: told.update(said=client.submit(crash_jobs.plain, where, "said").result(60))
        )
        said.start()
        (state / "lock").rename(state / "lock.of_another_machine")
        (folder / "free").touch()
        while (folder / "kos-scheduler.actor").exists():
            time.sleep(0.01)
        new = connect._scheduler(state)[0]
        told["epoch"] = miniature.get(new.greet.remote())["epoch"]
        with kos_ray.connect(start=False) as later:
            told["new"] = later.submit(crash_jobs.plain, where, "new", **AGAIN, **HALF).result(60)
            (folder / "release").touch()
            told["held"] = [later.job(job.id).result(60) for job in held]
            before = JournalReader(state).status()
            os.kill(pid, signal.SIGCONT)
            deadline = time.monotonic() + _END_S
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            told["ended"] = not Path(f"/proc/{pid}").exists()
            said.join(60)
            told["after"] = later.submit(crash_jobs.plain, where, "after", **AGAIN, **HALF).result(60)
            told["attempts"] = [len(later.job(job.id).history()) for job in held]
    with_epochs = JournalReader(state).events(before.seq, 10_000)
    told["epochs"] = sorted({event.epoch for event in with_epochs})
    (folder / "seen").write_text(json.dumps(told))


def main() -> None:
    """Run it, and print one line of JSON."""
    folder = Path(tempfile.mkdtemp(prefix="ka"))
    miniature.install(folder)
    from kos_ray.journal.verify import verify
    from kos_ray.runtime import agent_actor, reader, scheduler  # noqa: F401 - what is forked later has them

    raylet = Raylet(folder, NODES)
    done: list[int] = []
    try:
        raylet.fork("client", lambda: _story(folder)).ended = done.append
        deadline = time.monotonic() + _WORLD_S
        while not done and time.monotonic() < deadline:
            raylet.step(0.05)
            if (folder / "free").exists():
                (folder / "free").unlink()
                raylet.free_name("kos-scheduler")
        logs = {path.name: path.read_text()[-3000:] for path in (folder / "logs").glob("*")}
        seen = json.loads((folder / "seen").read_text()) if (folder / "seen").exists() else {}
        history = [json.loads(line) for line in (folder / "history").read_text().splitlines()]
        entries = sorted(line["name"] for line in history if line["what"] == "entry")
        words = [line for name, log in logs.items() if name.startswith("kos-scheduler") for line in log.splitlines()]
        last = [line for line in words if "has the place of this one" in line]
        sound = verify(folder / "state").good
        print(
            json.dumps({**seen, "entries": entries, "last_words": last, "sound": sound, "logs": {} if seen else logs})
        )
    finally:
        raylet.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
