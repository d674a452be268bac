"""`concurrent.futures.Executor` over a cluster: code that uses one runs unchanged."""

import ast
import builtins
import itertools
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Unpack

from kos_ray.client.calls import Call
from kos_ray.client.client import Client
from kos_ray.client.current import current_client
from kos_ray.client.job import Job
from kos_ray.client.options import Options
from kos_ray.client.outcomes import Outcome
from kos_ray.client.remote import run_chunk
from kos_ray.model.errors import JobCancelled, JobFailed
from kos_ray.model.ids import JobKey
from kos_ray.model.payload import raised_by

#: behind the last call, in the queue of ends; keys are not negative
_ALL_SENT = JobKey(-1)
_STARTED = frozenset({"running", "stopping"})


class KosFuture(Future[Any]):
    """A future whose job runs in the cluster; `job` is its handle once it has been handed over."""

    job: Job | None = None

    def cancel(self) -> bool:
        """End the job where it has not begun to run; False where it has, or is over."""
        if self.done():
            return self.cancelled()
        if self.job is not None and (self.running() or not self.job.cancel()):
            return False
        return super().cancel()

    def running(self) -> bool:
        """Whether the job's code runs now, by the cluster's own word."""
        return not self.done() and self.job is not None and self.job.state in _STARTED


class KosExecutor(Executor):
    """Runs calls as jobs of a client (the current one), with `options` as in `Client.submit`.

    Calls that are submitted while a request is on its way travel together in the next one. A future's exception is
    the one that the code raised, with the job's error and traceback as its `__cause__`. It travels as it is; where it
    cannot, it is made again from its type and message, and where that fails as well, it is the `JobFailed` itself.
    """

    def __init__(self, client: Client | None = None, **options: Unpack[Options]) -> None:
        self._client = client or current_client()
        self._options = options
        self._lock = threading.Lock()
        self._shut = False
        self._live: set[KosFuture] = set()
        self._calls: queue.SimpleQueue[tuple[KosFuture, Call] | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[JobKey | None] = queue.SimpleQueue()
        self._of_key: dict[JobKey, KosFuture] = {}
        self._threads = [
            threading.Thread(target=self._send, name="kos-executor-calls", daemon=True),
            threading.Thread(target=self._settle, name="kos-executor-ends", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> KosFuture:
        """Hand over a call.

        Raises:
            RuntimeError: the executor was shut down.

        """
        future = KosFuture()
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._live.add(future)
        self._calls.put((future, Call(fn, args, kwargs, **self._options)))
        return future

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """As `Executor.map`; `chunksize` calls go into one job."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        calls = zip(*iterables, strict=False)
        chunks = list(iter(lambda: list(itertools.islice(calls, chunksize)), []))
        results = super().map(run_chunk, [fn] * len(chunks), chunks, timeout=timeout)
        return itertools.chain.from_iterable(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those handed over go on, unless `cancel_futures` ends what has not begun."""
        with self._lock:
            first, self._shut = not self._shut, True
            live = list(self._live)
        if first:
            self._calls.put(None)
        if cancel_futures:
            for future in live:
                future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    # --- the thread that hands over

    def _send(self) -> None:
        more = True
        while more:
            batch: list[tuple[KosFuture, Call]] = []
            item = self._calls.get()
            while item is not None:
                batch.append(item)
                try:
                    item = self._calls.get_nowait()
                except queue.Empty:
                    break
            more = item is not None
            self._hand_over(batch)
        self._ends.put(_ALL_SENT)

    def _hand_over(self, batch: list[tuple[KosFuture, Call]]) -> None:
        """Submit together what was not cancelled; where that is refused, one by one, to tell whose fault it is."""
        batch = [(future, call) for future, call in batch if not self._dropped(future)]
        if not batch:
            return
        try:
            jobs = self._client.submit_many([call for _, call in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever holds the future
            if len(batch) > 1:
                for one in batch:
                    self._hand_over([one])
            else:
                self._finish(batch[0][0], error=error)
            return
        for (future, _), job in zip(batch, jobs, strict=True):
            with self._lock:
                self._of_key[job._key] = future
            future.job = job
            if future.cancelled():  # between the look above and now
                job.cancel()
        self._client._outbox.listen([job._key for job in jobs], self._ends.put)

    def _dropped(self, future: KosFuture) -> bool:
        if future.cancelled():
            self._finish(future)
            return True
        return False

    # --- the thread that sets results

    def _settle(self) -> None:
        """One thread for all futures: results may have to be fetched, and callbacks are the user's code."""
        sending = True
        while sending or self._of_key:
            end = self._ends.get()
            if end == _ALL_SENT:
                sending = False
                continue
            with self._lock:
                ended = [self._of_key.pop(end)] if end is not None else list(self._of_key.values())
                if end is None:
                    self._of_key.clear()
            for future in ended:
                self._take(future)

    def _take(self, future: KosFuture) -> None:
        """Set what a job ended with; where the client was closed before, that."""
        job = future.job
        if job is None or future.cancelled():
            self._finish(future)
            return
        try:
            value = job.result()
        except JobCancelled:
            Future.cancel(future)
            self._finish(future)
        except JobFailed as error:
            (outcome,) = self._client._outcomes([job._key], None) or (None,)
            self._finish(future, error=original(error, outcome) if outcome else error)
        except Exception as error:  # noqa: BLE001 - a result that cannot be unpickled belongs to its future
            self._finish(future, error=error)
        else:
            self._finish(future, value)

    def _finish(self, future: KosFuture, value: Any = None, error: BaseException | None = None) -> None:
        with self._lock:
            self._live.discard(future)
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)


def original(failed: JobFailed, outcome: Outcome) -> Exception:
    """The exception that a job's code raised, with `failed` as its cause; `failed` where it cannot be made again."""
    error = _unpickled(raised_by(outcome.result)) or _rebuilt(outcome.error)
    if error is None:
        return failed
    error.__cause__ = failed
    return error


def _unpickled(data: bytes) -> Exception | None:
    """The exception itself: its class may be one that only its sender knows."""
    if not data:
        return None
    try:
        error = pickle.loads(data)
    except Exception:  # noqa: BLE001 - modules that are not here, a constructor that takes what it likes
        return None
    return error if isinstance(error, Exception) else None


def _rebuilt(described: tuple[str, str, str] | None) -> Exception | None:
    """An exception of the same type with the same text, where that type takes one."""
    if described is None:
        return None
    kind, message, _ = described
    module, _, _ = kind.rpartition(".")
    while module and module not in sys.modules:
        module = module.rpartition(".")[0]
    found: Any = sys.modules[module] if module else builtins
    for name in kind[len(module) :].strip(".").split("."):
        found = getattr(found, name, None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return None
    try:
        # the text of a KeyError is the repr of its key
        return found(ast.literal_eval(message) if found is KeyError else message)
    except Exception:  # noqa: BLE001 - its constructor is the user's, and takes what it likes
        return None
