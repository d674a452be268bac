"""The herald: three threads beside the reader that carry out what the ends of jobs call for, at least once.

One reads the journal as any other reader, keeps its place and what is to be done on disk (`observe/outbox.py`), and
hands in the jobs that follow with request ids of their own, so that each is made once however often it is asked for.
The others tell people, and deliver results: to those who may be slow to hear.
"""

import json
import logging
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kos_ray.journal.reader import JournalReader
from kos_ray.model.job import Notify, Spec
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Accepted, Submit
from kos_ray.model.wire import from_plain
from kos_ray.observe.outbox import Entry, Outbox
from kos_ray.observe.results import KIND as RESULT
from kos_ray.observe.signals import Signals
from kos_ray.observe.webhook import NotDelivered, deliver, own_secret
from kos_ray.runtime.results import Post, Results

_log = logging.getLogger("kos_ray.herald")
FOLDER = "notify"
KINDS = ("hook", "notify", RESULT)
#: seconds between looks at the journal
_LOOK_S = 0.5
#: frames whose entries are kept in one transaction, and entries that are tried together
_FRAMES = 256
_BATCH = 32
_WORKERS = 4


class Herald:
    """See the module. `submit` hands in a job and gives the answer, `policy` has the settings, `post` puts messages."""

    def __init__(
        self, state_dir: Path, submit: Callable[[Submit], Accepted], policy: Callable[[], Policy], post: Post
    ) -> None:
        self._dir = state_dir
        self._submit = submit
        self._policy = policy
        self._outbox = Outbox(state_dir / FOLDER / "outbox.db")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._begun = self._stopped = False
        self._pools = {kind: ThreadPoolExecutor(_WORKERS, f"kos-herald-{kind}") for kind in KINDS}
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in (self._run, *map(self._teller, KINDS[1:]))
        ]
        self._results = Results(state_dir, lambda: policy().result_folders, self._secret_of, post)

    def start(self) -> None:
        """Begin; a second time is nothing."""
        with self._lock:
            if not self._begun:
                self._begun = True
                for thread in self._threads:
                    thread.start()

    def stop(self) -> None:
        """End, after what is being delivered."""
        self._stopped = True
        self._wake.set()
        for thread in self._threads if self._begun else []:
            thread.join()
        for pool in self._pools.values():
            pool.shutdown()
        self._outbox.close()

    @property
    def secret(self) -> str:
        """What signs where a target names no file of its own."""
        return own_secret(self._dir / FOLDER / "secret")

    def entries(self) -> list[dict[str, Any]]:
        """What waits and what was given up, without bodies."""
        with self._lock:
            found = self._outbox.entries()
        return [{name: value for name, value in asdict(one).items() if name != "body"} for one in found]

    def redrive(self, ids: list[str]) -> int:
        """Try again what was given up; how many."""
        with self._lock:
            count = self._outbox.redrive(ids, _now_us())
        self._wake.set()
        return count

    def test(self, url: str) -> list[dict[str, str]]:
        """Send an event that means nothing to a URL, or to all that the settings name: what came of each."""
        policy = self._policy()
        every = [*policy.notify, *(one for space in policy.namespaces for one in space.notify)]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        body = json.dumps({"type": "kos.test", "timestamp": when, "data": {}}).encode()
        found = []
        for target in [Notify(url=url)] if url else dict.fromkeys(every):
            try:
                deliver(target, f"msg_test_{time.time_ns()}", body, self._secret_of(target), int(time.time()))
                found.append({"target": target.name, "error": ""})
            except (NotDelivered, OSError, ValueError) as error:
                found.append({"target": target.name, "error": str(error)})
        return found

    def _run(self) -> None:
        reader: Asked | None = None
        signals: Signals | None = None
        while not self._stopped:
            busy = False
            try:
                if reader is None or signals is None:
                    reader = Asked(self._dir)
                    signals = Signals(reader, reader.status().cluster_id, self._policy())
                busy = self._read(reader, signals)
                busy = self._carry_out("hook") or busy
            except Exception:  # noqa: BLE001 - a disk that is full, a journal that is not there yet: it is tried again
                _log.exception("what the ends of jobs call for waits; trying again")
                reader = signals = None
            if not busy:
                self._rest()
        if reader is not None:
            reader.close()

    def _teller(self, kind: str) -> Callable[[], None]:
        return lambda: self._tell(kind)

    def _tell(self, kind: str) -> None:
        while not self._stopped:
            busy = False
            try:
                busy = self._carry_out(kind)
            except Exception:  # noqa: BLE001 - a disk that is full: it is tried again
                _log.exception("what is to be told (%s) waits; trying again", kind)
            if not busy:
                self._rest()

    def _rest(self) -> None:
        self._wake.wait(_LOOK_S)
        self._wake.clear()

    def _read(self, reader: "Asked", signals: Signals) -> bool:
        """Keep what further frames call for; whether there may be more."""
        with self._lock:
            after = self._outbox.seq
            if after is None:  # what ended before there was a herald is not told
                self._outbox.take([], reader.status().seq, _now_us())
                return True
        entries: list[Entry] = []
        count, seq = 0, after
        for frame in reader.remaining(after, signals.needs):
            entries += signals.read(frame)
            count, seq = count + 1, frame.last_seq
            if count >= _FRAMES:
                break
        if seq > after:
            with self._lock:
                self._outbox.take(entries, seq, _now_us())
        return count >= _FRAMES

    def _carry_out(self, kind: str) -> bool:
        """Try what of a kind is due; whether there was anything."""
        with self._lock:
            due = self._outbox.due(kind, _now_us(), _BATCH)
        for entry, error in zip(due, self._pools[kind].map(self._try, due), strict=True):
            with self._lock:
                if error is None:
                    self._outbox.done(entry)
                elif self._outbox.failed(entry, str(error), _now_us(), final=error.final):
                    _log.error("%s %s to %s is given up: %s", entry.kind, entry.id, entry.target, error)
        return bool(due)

    def _try(self, entry: Entry) -> NotDelivered | None:
        try:
            if entry.kind == "hook":
                answer = self._submit(pickle.loads(entry.body))  # of our own file
                return NotDelivered(answer.refused) if answer.refused else None
            if entry.kind == RESULT:
                self._results.deliver(entry.id, entry.body)
                return None
            told, _, body = entry.body.partition(b"\n")
            target = from_plain(Notify, _tuples(json.loads(told)))
            deliver(target, entry.id, body, self._secret_of(target), int(time.time()))
        except NotDelivered as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and shown
            return NotDelivered(f"{type(error).__name__}: {error}")
        return None

    def _secret_of(self, target: Notify) -> str:
        return Path(target.secret_file).read_text(encoding="utf-8") if target.secret_file else self.secret


class Asked(JournalReader):
    """The journal, as `Signals` asks it."""

    def spec_of(self, key: int) -> Spec:
        """A job's spec."""
        row = self._connection.execute("SELECT spec FROM jobs WHERE key = ?", (key,)).fetchone()
        return self.spec(row[0])

    def following(self, after: int) -> tuple[int, bool]:
        """See `signals.Reader`."""
        keys = [row[0] for row in self._connection.execute("SELECT spec FROM specs WHERE spec > ?", (after,))]
        specs = [self.spec(key) for key in keys]
        return max(keys, default=after), any(spec.hooks or spec.notify or spec.results_to for spec in specs)


def _tuples(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def _now_us() -> int:
    return time.time_ns() // 1_000
