"""What a job can ask about itself while it runs: `context()`."""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from kos_ray.model.errors import KosError
from kos_ray.worker.children import Child
from kos_ray.worker.delegate import Delegate, Whom
from kos_ray.worker.event import Event
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
        scheduled_us: int = 0,
        latest: Callable[[], Any] = lambda: None,
        told: str = "",
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
        self._scheduled_us = scheduled_us
        self._latest = latest
        self._told = told

    @property
    def scheduled_at(self) -> datetime | None:
        """When it was due (UTC), if a schedule made the job: what the rule says, without jitter and delay."""
        if not self._scheduled_us:
            return None
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._scheduled_us)

    @cached_property
    def last_result(self) -> Any:
        """What the last job of the same schedule returned that had succeeded when this one was made; None: none had.

        Raises:
            KosError: it cannot be loaded here.

        """
        try:
            return self._latest()
        except Exception as error:
            raise KosError(f"the last result of the schedule of job {self.job_id} cannot be loaded: {error}") from error

    @cached_property
    def event(self) -> Event | None:
        """The event that a reaction made it for, None where none did; a command has it as JSON in KOS_EVENT."""
        return Event.of(self._told) if self._told else None

    @property
    def token(self) -> str:
        """What stands for the job where its effects are made: the same in all of its attempts, and no other job's."""
        return self.job_id

    @property
    def fence(self) -> int:
        """Higher than that of every attempt before this one: a sink refuses whoever comes with a lower one.

        It was on disk before this attempt was sent here.
        """
        return self.attempt

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

    def packed(self, state: Any) -> bytes:
        """For an agent's process: the payload of a state as it is now.

        Raises:
            KosError: it cannot be pickled.
            OSError: it cannot be written.

        """
        return self._voice.packed(state)

    def snapshot(self, payload: bytes, why: str) -> None:
        """For an agent's process: the same as `checkpoint`, of a packed state that the agent can go back to."""
        self._voice.store(payload, why)

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

    def lock(self, name: str, **said: Any) -> Any:
        """A named lock: `with context().lock("db/migration") as held: ...`; the parameters are those of `Client.lock`.

        What the attempt holds is free when it ends, however it ends.

        Raises:
            KosError: this attempt is over, or its process is in no cluster.

        """
        return self._voice.client("lock").lock(name, attempt=self._own, **said)

    def signal(self, name: str, wait: str | float | None = None) -> Any:
        """Wait for a signal to this job, to its agent, or to nobody in particular, and return its value.

        One that was sent before is there at once. None comes back where none did within `wait` (None: as long as it
        takes); an attempt that dies before this returns leaves the signal to the next one.

        Raises:
            KosError: this attempt is over, or its process is in no cluster.

        """
        return self._voice.client("signal").wait_signal(name, wait, attempt=self._own)

    def barrier(self, name: str, **said: Any) -> Any:
        """A barrier: `with context().barrier("epoch", parties=4) as barrier: barrier.wait()`; see `Client.barrier`.

        An attempt that ends without having left it is lost.

        Raises:
            KosError: this attempt is over, or its process is in no cluster.

        """
        return self._voice.client("barrier").barrier(name, attempt=self._own, **said)

    def negotiate(self, task: Any, **said: Any) -> Any:
        """Offer a task to agents, and award it to one; see `Client.negotiate`.

        When this job is tried again, the same call in the same order is the same negotiation, with the same bids.

        Raises:
            KosError: this attempt is over, or its process is in no cluster.

        """
        client = self._voice.client("negotiate")
        return client.negotiate(task, key=f"{self.job_id}/negotiate/{self._voice.next_negotiation()}", **said)

    def mailbox(self, name: str) -> Any:
        """A mailbox: `context().mailbox("orders").take(wait="1m")`; see `Client.mailbox`.

        What the attempt has taken and not handled when it ends goes back.

        Raises:
            KosError: this attempt is over, or its process is in no cluster.

        """
        return self._voice.client("mailbox").mailbox(name, attempt=self._own)

    @property
    def _own(self) -> tuple[int, int, str]:
        """How it takes part in what several do together."""
        return self.key, self.attempt, f"job {self.job_id}, attempt {self.attempt}"

    def agent(self, name: str) -> Delegate:
        """An agent of this job's namespace: `context().agent("critic").check.submit(text)` is a child of this job."""
        return Delegate(self._send, name)

    def role(self, role: str = "", **said: Any) -> Delegate:
        """Whoever is able, chosen when the message is ready; see `Client.role`.

        Raises:
            InvalidSpec: nobody could be meant.

        """
        from kos_ray.spec.options import whoever  # noqa: PLC0415 - pydantic, only for jobs that delegate

        return Delegate(self._send, whoever(role, said))

    def _send(
        self,
        whom: Whom,
        *args: Any,
        kwargs: Mapping[str, Any],
        name: str = "",
        after: Iterable[Child | str] = (),
        **options: Any,
    ) -> Child:
        return self._voice.submit(whom, args, kwargs, name, after, options)

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


#: the same for one thread, or one task, of a process that runs several attempts
_here: ContextVar[Callable[[], Context | None] | None] = ContextVar("kos_context", default=None)


def provide_here(source: Callable[[], Context | None]) -> None:
    """Let `context()` ask `source` in this thread, or in this task."""
    _here.set(source)


def provide(source: Callable[[], Context | None] | None) -> None:
    """Let `context()` ask `source`, or nobody."""
    _Source.current = source


def context() -> Context:
    """The attempt in which this code runs.

    Raises:
        KosError: it does not run in a job of kos_ray.

    """
    source = _here.get() or _Source.current
    found = source() if source else None
    if found is None:
        raise KosError(
            "kos.context() was called outside a job: expected code that kos_ray runs, found an ordinary process; "
            "call it inside the submitted function"
        )
    return found
