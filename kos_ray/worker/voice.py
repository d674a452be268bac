"""What an attempt says and asks while it runs."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from kos_ray.model.errors import KosError
from kos_ray.model.job import Spec
from kos_ray.model.wire import to_plain
from kos_ray.worker.children import Child, Family, submission
from kos_ray.worker.delegate import Whom
from kos_ray.worker.packets import CHECKPOINT, SUBMIT
from kos_ray.worker.results import pack_result

#: in such parts of the whole progress travels
_WHOLE = 10_000
#: longer texts are cut: they are kept in the journal
_TEXT_MAX = 200
#: seconds between two messages of one process; what is said meanwhile replaces what was said before
_PAUSE_S = 0.1

#: see `Line.ask`
Ask = Callable[[int, int, str, tuple[Any, ...]], Any]
_Newest = tuple[int, int, int, str]


class Progress:
    """The newest word on how far an attempt is. A thread of its own sends it: whoever says it never waits."""

    def __init__(self, send: Callable[[int, int, int, str], None]) -> None:
        self._send = send
        self._newest: deque[_Newest] = deque(maxlen=1)
        self._said = threading.Event()
        self._closed = threading.Event()
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None

    def say(self, key: int, attempt: int, fraction: float, message: str) -> None:
        """Say how far attempt `attempt` of a job is.

        Raises:
            KosError: it is no number from 0 to 1.

        """
        self._newest.append((key, attempt, _share(fraction), str(message)[:_TEXT_MAX]))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kos-progress", daemon=True)
            self._thread.start()
        self._said.set()

    def flush(self) -> None:
        """Send what has not been sent; nothing is on its way when this returns."""
        if self._thread is None:
            return
        with self._sending:
            if self._newest:
                self._send(*self._newest.popleft())

    def close(self) -> None:
        """Let the thread end."""
        self._closed.set()
        self._said.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._said.wait()
            self._said.clear()
            self.flush()
            self._closed.wait(_PAUSE_S)


class Voice:
    """What one attempt can say until it is over."""

    def __init__(
        self,
        progress: Progress,
        ask: Ask,
        family: Family,
        directory: Path,
        spec: Spec,
        *,
        job_id: str,
        key: int,
        attempt: int,
    ) -> None:
        self._progress = progress
        self._ask = ask
        self._family = family
        self._directory = directory
        self._spec = spec
        self._checkpoints = count(1)
        self._children = count(1)
        self._negotiations = count(1)
        self._job_id = job_id
        self._key = key
        self._attempt = attempt
        #: set when its function has returned: a thread that it left behind is refused
        self.over = False

    def progress(self, fraction: float, message: str) -> None:
        """See `Context.progress`."""
        self._check("progress")
        self._progress.say(self._key, self._attempt, fraction, message)

    def checkpoint(self, state: Any) -> None:
        """See `Context.checkpoint`."""
        self._check("checkpoint")
        self.store(self.packed(state))

    def packed(self, state: Any) -> bytes:
        """See `Context.packed`."""
        return pack_result(state, self._directory, "state")

    def store(self, payload: bytes, why: str = "") -> None:
        """Have a state stored; of an agent, why."""
        self._check("checkpoint")
        self._ask(self._key, self._attempt, CHECKPOINT, (next(self._checkpoints), payload, *((why,) if why else ())))

    def submit(
        self,
        function: Callable[..., Any] | Whom,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        name: str,
        after: Iterable[Child | str],
        options: Mapping[str, Any],
    ) -> Child:
        """See `Context.submit`."""
        self._check("submit")
        number = next(self._children)
        submit = submission(
            self._job_id, number, self._spec, self._directory, function, args, kwargs, name, after, options
        )
        self._ask(self._key, self._attempt, SUBMIT, (to_plain(submit),))
        ((_, spec),) = submit.specs
        return Child(submit.arrays[0].id, partial(self._family.find, spec.namespace))

    def client(self, what: str) -> Any:
        """A client of the job's namespace, for what an attempt may do as clients do.

        Raises:
            KosError: the attempt is over, or its process is in no cluster.

        """
        self._check(what)
        return self._family.client(self._spec.namespace)

    def next_negotiation(self) -> int:
        """Counts from 1 in each attempt: the same call has the same number."""
        return next(self._negotiations)

    def _check(self, what: str) -> None:
        if self.over:
            raise KosError(
                f"{what}: attempt {self._attempt} of job {self._job_id} is over; expected the call while its function "
                "runs, found it in a thread that has outlived it"
            )


def _share(fraction: float) -> int:
    """The fraction in parts of the whole."""
    number = isinstance(fraction, int | float) or hasattr(fraction, "__float__")
    value = float(fraction) if number else math.nan
    if not 0.0 <= value <= 1.0:
        raise KosError(
            f"progress: expected a fraction from 0 to 1, found {fraction!r}; of counts, give done / total "
            "as the fraction, and what people are to read as the message"
        )
    return round(value * _WHOLE)
