"""What a job can ask about itself while it runs: `context()`."""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kos_ray.model.errors import KosError
from kos_ray.worker.children import Child
from kos_ray.worker.gang import Gang
from kos_ray.worker.voice import Voice


class Context:
    """One running attempt, as its own code sees it."""

    def __init__(
        self,
        *,
        job_id: str,
        key: int,
        attempt: int,
        node: str,
        deadline: float | None,
        scratch: Path,
        stop_asked: Callable[[], bool],
        voice: Voice,
        restored: Callable[[], Any],
        gang: Callable[[], Gang | None],
    ) -> None:
        self.job_id = job_id
        self.key = key
        #: counts from 1
        self.attempt = attempt
        self.node = node
        #: when the attempt times out, seconds since the Unix epoch
        self.deadline = deadline
        self._scratch = scratch
        self._stop_asked = stop_asked
        self._voice = voice
        self._restore = restored
        self._gang = gang

    def should_stop(self) -> bool:
        """Whether the attempt has been asked to end; code that sees it saves what it needs and returns.

        Costs about a microsecond. What the code returns after it has seen True is dropped: the attempt ends as
        stopped (or timed out).
        """
        return self._stop_asked()

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is, from 0 to 1, and in a few words what it does: `kos get` and `kos ls` show it.

        Costs a microsecond or two and never waits, however often it is called: the newest word goes out a few times a
        second, and about one a second is kept.

        Raises:
            KosError: the fraction is no number from 0 to 1.

        """
        self._voice.progress(fraction, message)

    def checkpoint(self, state: Any) -> None:
        """Save what the job's next attempt needs to go on from here; `restored` gives it there.

        Returns when it is on disk at the head, however long that takes: some milliseconds, and longer while the
        scheduler is away. Only the last one of a job is kept, until the job ends. `state` is any value that can be
        pickled. Two threads that save at the same time must not care whose state is the last.

        Raises:
            KosError: it cannot be pickled, or was not stored, because the attempt is over for the scheduler (its node
                counts as lost, or another attempt has taken its place): then this one should end.

        """
        self._voice.checkpoint(state)

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        name: str = "",
        after: Iterable[Child | str] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Child:
        """Hand over a call as a job of its own, a child of this one. It is durable when this returns.

        The parameters are those of `Client.submit`; a child among the arguments stands for its result. Namespace and
        sender are this job's unless given, the code is this job's. When this job is tried again and makes the same
        calls in the same order, with arguments that pickle to the same bytes, it gets the same children: none is made
        twice.

        Raises:
            KosError: something is wrong with the call, the scheduler refuses it, or this attempt is over for it.

        """
        return self._voice.submit(function, args, kwargs, name, after, options)

    @property
    def gang(self) -> Gang | None:
        """What this attempt is to the others of its gang, as that is now; None where it belongs to none.

        Costs the reading of a small file. Ask again, say before each item, to see that a member was lost and what of
        its share is yours: `gang.owns(number)`, `gang.share(items)`.
        """
        return self._gang()

    @cached_property
    def restored(self) -> Any:
        """What the last `checkpoint` of the job's earlier attempts saved, None where there was none.

        Raises:
            KosError: it cannot be loaded here.

        """
        try:
            return self._restore()
        except Exception as error:
            raise KosError(f"the last checkpoint of job {self.job_id} cannot be loaded: {error}") from error

    @property
    def logger(self) -> logging.Logger:
        """The logger "kos", which writes to standard error and so into the attempt's log."""
        logger = logging.getLogger("kos")
        if not logger.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
        return logger

    @property
    def scratch(self) -> Path:
        """A folder of the attempt's own, removed when it ends."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch


class _Source:
    """Where the context of the attempt that runs now comes from; a process runs one slot at most."""

    current: Callable[[], Context | None] | None = None


def provide(source: Callable[[], Context | None] | None) -> None:
    """Let `context()` ask `source`, or nobody."""
    _Source.current = source


def context() -> Context:
    """The attempt in which this code runs.

    Raises:
        KosError: it does not run in a job of kos_ray.

    """
    found = _Source.current() if _Source.current else None
    if found is None:
        raise KosError(
            "kos.context() was called outside a job: expected code that kos_ray runs, found an ordinary process; "
            "call it inside the submitted function"
        )
    return found
