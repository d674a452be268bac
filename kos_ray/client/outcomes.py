"""Waiting for outcomes: one thread polls this client's outbox at the scheduler for all that is waited for.

What has arrived is kept up to `KEPT_BYTES`, the newest of it. Whoever waits has each outcome the moment that it
arrives; whoever comes later, when it has been dropped, makes the scheduler send it again, from the journal.
"""

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.protocol import Outcomes

_POLL_S = 30.0
#: seconds between attempts while the scheduler is away
_AWAY_S = 0.1
#: seconds in which it must be back for somebody who wants to wait
_BACK_S = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    state: JobState
    reason: int
    result: bytes
    error: tuple[str, str, str] | None

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return _OUTCOME_BYTES + len(self.result) + sum(map(len, self.error or ()))


#: bytes of outcomes that are kept, and what one has besides its result and its error
KEPT_BYTES = 64 * 2**20
_OUTCOME_BYTES = 500

#: called with the key of a job that has ended, or with None when no more outcomes will come; must not block
Listener = Callable[[JobKey | None], None]


class Outbox:
    """Outcomes of the jobs that this client has asked to watch."""

    def __init__(
        self,
        poll: Callable[[str, int, int, float], Outcomes],
        watch: Callable[[str, list[JobKey]], int],
        away: type[BaseException],
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.name = uuid.uuid4().hex
        self._poll = poll
        self._watch = watch
        self._away = away
        self._kept_bytes = kept_bytes
        self._arrived = threading.Condition()
        self._waiting: set[JobKey] = set()
        #: in the order of their arrival; the first of a plain dict takes the longer to find the more went before it
        self._outcomes: OrderedDict[JobKey, Outcome] = OrderedDict()
        self._bytes = 0
        #: requests that are on their way, and outcomes that were here before the answers; these are not dropped
        self._asking = 0
        self._early: dict[JobKey, Outcome] = {}
        #: what those who wait have of what they wait for
        self._collected: dict[JobKey, list[dict[JobKey, Outcome]]] = {}
        self._listeners: dict[JobKey, list[Listener]] = {}
        self._epoch = 0
        self._acked = 0
        self._broken: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While a request is on its way and until its jobs are expected: they may end before it is answered."""
        with self._arrived:
            self._asking += 1
        try:
            yield
        finally:
            with self._arrived:
                self._asking -= 1
                if not self._asking:
                    self._early.clear()

    def expect(self, keys: Iterable[JobKey], epoch: int) -> None:
        """Jobs that the scheduler of that epoch has been told to report here."""
        with self._arrived:
            new = [key for key in keys if key not in self._outcomes and not self._was_early(key)]
            self._waiting.update(new)
            # Its answer came late: another scheduler has been told what we wait for, and knows nothing of these.
            late = epoch < self._epoch
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kos-outcomes", daemon=True)
                self._thread.start()
        if late and new:
            self._surely_watch(new)

    def watch(self, keys: Iterable[JobKey]) -> list[JobKey]:
        """Have the scheduler report those jobs here of which nothing is known; which those are.

        They are jobs that this client has not submitted, and jobs whose outcomes have been dropped.
        """
        with self._arrived:
            new = [key for key in keys if key not in self._outcomes and key not in self._waiting]
        if new:
            with self.asking():
                self.expect(new, self._surely_watch(new))
        return new

    def _surely_watch(self, keys: list[JobKey]) -> int:
        """Tell the scheduler, again while it restarts; its epoch.

        Raises:
            ClusterUnreachable: it did not come back in time.

        """
        deadline = time.monotonic() + _BACK_S
        while True:
            try:
                return self._watch(self.name, keys)
            except self._away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_AWAY_S)

    def wait(self, keys: Iterable[JobKey], timeout: float | None = None) -> list[Outcome] | None:
        """The outcomes of jobs, when all have ended; None when the time is over before."""
        deadline = None if timeout is None else time.monotonic() + timeout
        keys = list(keys)
        count = len(set(keys))
        found: dict[JobKey, Outcome] = {}
        with self._arrived:
            missing = self._collect(keys, found)
        try:
            self.watch(missing)
            with self._arrived:
                while len(found) < count:
                    if self._broken is not None:
                        raise self._broken
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return None
                    self._arrived.wait(left)
        finally:
            self._stop_collecting(missing, found)
        return [found[key] for key in keys]

    def _collect(self, keys: list[JobKey], found: dict[JobKey, Outcome]) -> list[JobKey]:
        """Put outcomes into `found`, now or when they arrive; the keys of those that have not yet."""
        missing: list[JobKey] = []
        for key in keys:
            outcome = self._outcomes.get(key)
            if outcome is not None:
                found[key] = outcome
            else:
                self._collected.setdefault(key, []).append(found)
                missing.append(key)
        return missing

    def _stop_collecting(self, keys: list[JobKey], found: dict[JobKey, Outcome]) -> None:
        with self._arrived:
            for key in keys:
                if left := [other for other in self._collected.pop(key, ()) if other is not found]:
                    self._collected[key] = left

    def next_of(self, keys: set[JobKey], timeout: float | None = None) -> set[JobKey]:
        """Those of the jobs that have ended, waiting for the first one; empty when the time is over before."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._arrived:
            while not (ended := keys & self._outcomes.keys()):
                if self._broken is not None:
                    raise self._broken
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return set()
                self._arrived.wait(left)
            return ended

    def listen(self, keys: Iterable[JobKey], listener: Listener) -> None:
        """Have a function called once for each of the jobs when it has ended: at once, or by the polling thread."""
        with self._arrived:
            broken = self._broken is not None
            ended = []
            missing = []
            for key in keys:
                if key in self._outcomes:
                    ended.append(key)
                elif not broken:
                    self._listeners.setdefault(key, []).append(listener)
                    missing.append(key)
        self.watch(missing)
        for key in ended:
            listener(key)
        if broken:
            listener(None)

    def forget(self, keys: Iterable[JobKey], listener: Listener) -> None:
        """No longer call a listener."""
        with self._arrived:
            for key in keys:
                if listener in (listeners := self._listeners.get(key, [])):
                    listeners.remove(listener)
                if not listeners:
                    self._listeners.pop(key, None)

    def known(self, key: JobKey) -> Outcome | None:
        """A job's outcome if it is here already."""
        with self._arrived:
            return self._outcomes.get(key)

    def close(self) -> None:
        """Stop polling; whoever still waits is told."""
        self._closed = True
        self._break(RuntimeError("the client was closed"))

    def join(self, seconds: float) -> None:
        """Wait until the polling thread has ended: it must not be inside Ray when the process ends."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _break(self, error: BaseException) -> None:
        with self._arrived:
            self._broken = self._broken or error
            listeners = {id(one): one for some in self._listeners.values() for one in some}
            self._listeners.clear()
            self._arrived.notify_all()
        for listener in listeners.values():
            listener(None)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._round()
            except self._away:
                time.sleep(_AWAY_S)  # the scheduler restarts; nobody tells when it is back
            except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
                self._break(error)
                return

    def _round(self) -> None:
        outcomes = self._poll(self.name, self._epoch, self._acked, _POLL_S)
        if outcomes.epoch != self._epoch:
            # Another scheduler: its outbox of this name is new and empty. Say again what is waited for.
            self._say_again(outcomes.epoch)
            return
        if outcomes.number:
            self._take(outcomes)
            self._acked = outcomes.number

    def _say_again(self, epoch: int) -> None:
        """Tell a new scheduler what is waited for, until nothing has come on top: `expect` says what comes later."""
        said: set[JobKey] = set()
        while True:
            with self._arrived:
                keys = list(self._waiting - said)
                if not keys:
                    self._epoch, self._acked = epoch, 0
                    return
            self._watch(self.name, keys)
            said.update(keys)

    def _take(self, outcomes: Outcomes) -> None:
        errors: dict[int, Any] = {index: rest for index, *rest in outcomes.errors}
        calls: list[tuple[Listener, JobKey]] = []
        with self._arrived:
            for i, key in enumerate(outcomes.keys):
                error = errors.get(i)
                outcome = Outcome(
                    JobState(outcomes.states[i]),
                    outcomes.reasons[i],
                    outcomes.results[i],
                    (error[0], error[1], error[2]) if error else None,
                )
                if key in self._waiting:
                    self._waiting.remove(key)
                    self._keep(key, outcome)
                elif key not in self._outcomes and self._asking:
                    self._early[key] = outcome
                for found in self._collected.pop(key, ()):
                    found[key] = outcome
                calls += [(listener, key) for listener in self._listeners.pop(key, ())]
            self._arrived.notify_all()
        for listener, key in calls:
            listener(key)

    def _was_early(self, key: JobKey) -> bool:
        """Whether the outcome of a job came before it was known that it would; it is like the others from now on."""
        outcome = self._early.pop(key, None)
        if outcome is not None:
            self._keep(key, outcome)
        return outcome is not None

    def _keep(self, key: JobKey, outcome: Outcome) -> None:
        """Add an outcome; the oldest go where there are too many."""
        self._outcomes[key] = outcome
        self._bytes += outcome.size
        while self._bytes > self._kept_bytes and len(self._outcomes) > 1:
            _, oldest = self._outcomes.popitem(last=False)
            self._bytes -= oldest.size
