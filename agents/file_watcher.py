"""Watches files by pattern: what is created, changed and removed, in order, and once.

kos agent register agents.file_watcher:FileWatcher --name files --code .
kos agent call files watch '/data/in/**/*.csv'
kos agent call files changes 0

The patterns are paths of the node that it runs on: on several nodes say which one (`--where` of a document, or a
folder that all of them share).
"""

import glob
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kos_ray as kos
from kos_ray.intake.files import KEY_MAX, Stamp, occasion_id, printable, removal_id, stamp_of

#: more than so many changes, and the oldest are forgotten; of those that wait to be told, the oldest are dropped
KEPT_MAX = 10_000
_MAGIC = "*?["
Change = dict[str, Any]
Tell = Callable[[Change], None]


def root_of(pattern: str) -> Path:
    """The folder below which all files of a pattern lie."""
    parts = Path(pattern).parts
    fixed = next((number for number, part in enumerate(parts) if any(sign in part for sign in _MAGIC)), len(parts) - 1)
    return Path(*parts[:fixed])


@kos.agent(name="files", resources={"cpu": 0.1}, snapshot_every=1, capabilities=("files",), roles=("file_watcher",))
class FileWatcher:
    """Compares what is there with what it has told, every few seconds.

    A file counts when two looks in a row have seen it alike: what is still being written to is left until later. What
    it knows goes with its state, which is saved after each message: a change that `changes` has returned is never
    returned under another number. What it saw after its last save it sees again after a crash, under the same id, so
    that neither an event nor a message comes of it twice. A file that came and went between two looks, or between its
    last save and its next start, was never there.
    """

    def __init__(
        self,
        patterns: tuple[str, ...] | list[str] = (),
        *,
        every_s: float = 1.0,
        events: bool = False,
        tell: str = "",
        namespace: str = "default",
    ) -> None:
        """Watch these patterns; every so many seconds.

        With `events` each change is told as an event `file.created`, `file.changed` or `file.removed`, for which jobs
        can start (`kos event`). `tell` is AGENT.METHOD, which gets each change as a message. Both in this namespace.
        While nobody can be told changes wait, the newest 10 000 of them; `changes` says how many were `dropped`.
        """
        if every_s <= 0:
            raise ValueError(f"every_s: expected a time between looks, in seconds, found {every_s!r}")
        if tell and not all(tell.partition(".")):
            raise ValueError(f"tell: expected AGENT.METHOD, such as indexer.take, found {tell!r}")
        self._every_s = every_s
        self._events = events
        self._receiver = tell
        self._namespace = namespace
        self._lock = threading.Lock()
        #: by pattern, by path: what was told of it
        self._told: dict[str, dict[str, Stamp]] = {}
        #: the same as the last look saw it, where it was not told yet
        self._unsettled: dict[str, Stamp] = {}
        self._changes: deque[Change] = deque(maxlen=KEPT_MAX)
        self._count = 0
        #: changes of which somebody is still to be told
        self._untold: deque[Change] = deque()
        #: changes of which nobody was told, since too many waited for that
        self._dropped = 0
        self._client: Any = None
        self._stop = threading.Event()
        for pattern in patterns:
            self.watch(pattern)

    # --- its life

    def post_start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="file-watcher", daemon=True).start()

    def on_suspend(self) -> None:
        """Watch no more."""
        self._stop.set()

    def on_shutdown(self) -> None:
        """Watch no more."""
        self._stop.set()

    def snapshot(self) -> dict[str, Any]:
        """What is watched, what was told of it, and what is still to be told."""
        with self._lock:
            told = {pattern: {path: tuple(stamp) for path, stamp in of.items()} for pattern, of in self._told.items()}
            kept = {"changes": list(self._changes), "count": self._count, "untold": list(self._untold)}
            return {"told": told, "dropped": self._dropped, **kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there: what has changed since is told by the first looks."""
        self._told = {pattern: {path: Stamp(*one) for path, one in of.items()} for pattern, of in state["told"].items()}
        self._changes.extend(state["changes"])
        self._count = state["count"]
        self._dropped = state.get("dropped", 0)
        for change in state["untold"]:
            self._owe(change)

    # --- what can be asked of it

    def watch(self, pattern: str, existing: bool = False) -> int:
        """Watch a pattern from now on; how many files are there. With `existing` these are told as created, too.

        `*` stands for anything in a name, `**` for any folders.
        """
        if not pattern.startswith("/"):
            raise ValueError(f"pattern: expected an absolute path such as /data/in/*.csv, found {pattern!r}")
        there = self._there(pattern)
        with self._lock:
            if pattern not in self._told:
                self._told[pattern] = {} if existing else dict(there)
        return len(there)

    def unwatch(self, pattern: str) -> bool:
        """Watch it no more; False when nobody did."""
        with self._lock:
            return self._told.pop(pattern, None) is not None

    def watched(self) -> list[dict[str, Any]]:
        """Each pattern, how many of its files are known, and whether the folder is there at all."""
        with self._lock:
            told = {pattern: len(of) for pattern, of in self._told.items()}
        return [{"pattern": one, "files": count, "there": root_of(one).is_dir()} for one, count in told.items()]

    def changes(self, since: int = 0, limit: int = 1_000) -> dict[str, Any]:
        """What has changed after the number `since`, the oldest first; ask again with `next`.

        `missed` is how many after `since` are forgotten already; `dropped` of how many in all nobody was told
        (`events`, `tell`), since too many waited. Each change has `number`, `id`, `change` (created, changed, removed),
        `path`, `size` in bytes, `modified` and `at` in seconds since the Unix epoch.
        """
        with self._lock:
            found = [one for one in self._changes if one["number"] > since][:limit]
            oldest = self._changes[0]["number"] if self._changes else self._count + 1
            dropped = self._dropped
        last = found[-1]["number"] if found else max(since, 0)
        return {"changes": found, "next": last, "missed": max(0, oldest - 1 - since), "dropped": dropped}

    def look(self) -> int:
        """Look now; how many changes were found. A file that is new is told by the second look that sees it alike."""
        with self._lock:
            before, unsettled = self._count, dict[str, Stamp]()
            #: what two patterns see is one change
            noted: set[tuple[str, str]] = set()
            for pattern, told in self._told.items():
                if not root_of(pattern).is_dir():
                    continue  # a disk that is not mounted now: its files are not gone
                there = self._there(pattern)
                for path, stamp in there.items():
                    if told.get(path) == stamp:
                        continue
                    if self._unsettled.get(path) != stamp:
                        unsettled[path] = stamp
                        continue
                    self._note("changed" if path in told else "created", path, stamp, noted)
                    told[path] = stamp
                for path in sorted(told.keys() - there.keys()):
                    self._note("removed", path, told.pop(path), noted)
            self._unsettled = unsettled
            return self._count - before

    # --- how it does it

    def _there(self, pattern: str) -> dict[str, Stamp]:
        found = {}
        for name in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - from the root
            path = Path(name)
            try:
                if path.is_file():
                    found[printable(path)] = stamp_of(path)
            except OSError:
                continue  # it has gone since
        return found

    def _note(self, what: str, path: str, stamp: Stamp, noted: set[tuple[str, str]]) -> None:
        seen = (path, "removed" if what == "removed" else "")
        if seen in noted:
            return
        noted.add(seen)
        self._count += 1
        id_ = removal_id(path, stamp) if what == "removed" else occasion_id(path, stamp)
        change: Change = {"number": self._count, "id": id_, "change": what, "path": path, "size": stamp.size}
        change |= {"modified": stamp.modified_ns / 1e9, "at": time.time()}
        self._changes.append(change)
        if self._events or self._receiver:
            self._owe(change)

    def _owe(self, change: Change) -> None:
        """Somebody is to be told of a change; where too many wait, nobody is told of the oldest."""
        if len(self._untold) == KEPT_MAX:
            self._untold.popleft()
            self._dropped += 1
        self._untold.append(change)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.look()
            try:
                self._tell(self._send)
            except Exception as error:  # noqa: BLE001 - whatever it is, the same is told again at the next look
                waits = f"{len(self._untold)} wait, {self._dropped} were dropped"
                print(f"cannot tell of changes yet ({waits}): {type(error).__name__}: {error}")

    def _tell(self, send: Tell) -> None:
        """Hand what nobody was told of to `send`, one after another; what raises is kept for the next time."""
        while self._untold:
            change = self._untold[0]
            send(change)
            with self._lock:
                if self._untold[0] is change:
                    self._untold.popleft()
                else:  # dropped meanwhile, for newer ones: somebody was told of it after all
                    self._dropped -= 1

    def _send(self, change: Change) -> None:
        if self._client is None:
            self._client = kos.connect(namespace=self._namespace, start=False)
        if self._events:
            data = {**change, "name": Path(change["path"]).name}
            name = f"file.{change['change']}"
            self._client.emit(name, data, key=change["path"][-KEY_MAX:], id=change["id"], source="files")
        if self._receiver:
            agent, _, method = self._receiver.partition(".")
            call = getattr(self._client.agent(agent), method)
            digest = hashlib.sha256(change["id"].encode()).hexdigest()
            call.options(idempotency_key=f"file:{digest}").submit(change)
