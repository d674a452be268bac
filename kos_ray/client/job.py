"""Handles of jobs: an id, and the client that knows the way to it."""

import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from kos_ray.client import pictures
from kos_ray.client.progress import tracking
from kos_ray.model.dependency import Conditions
from kos_ray.model.errors import JobCancelled, JobFailed, JobLost, JobSkipped, KosError
from kos_ray.model.ids import JobKey, item_id
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.model.views import AttemptView, JobView

if TYPE_CHECKING:
    from kos_ray.client.client import Client
    from kos_ray.client.outcomes import Outcome

_ERRORS = {JobState.CANCELLED: JobCancelled, JobState.SKIPPED: JobSkipped, JobState.LOST: JobLost}


def failure(job_id: str, outcome: "Outcome") -> JobFailed:
    """The exception for a job that did not succeed: its error's text, and what its worker printed of it."""
    reason = Reason(outcome.reason)
    what = f"job {job_id} {outcome.state.name.lower()}"
    if outcome.error:
        kind, message, traceback = outcome.error
        text = f"{what}: {kind}: {message}"
    else:
        traceback, text = "", f"{what}: {reason.remedy}" if reason else what
    kind_of = _ERRORS.get(outcome.state, JobFailed)
    error = kind_of(text, job_id=job_id, reason=reason.name.lower(), remote_traceback=traceback)
    if traceback:
        error.add_note(f"\nThe job's own traceback, where it ran:\n\n{traceback.rstrip()}")
    return error


class Handle(ABC):
    """What stands for results: given as an argument to a job, it makes the dependency as well."""

    #: whether the results are one input of a job, of the first id
    one_input = True

    @property
    @abstractmethod
    def ids(self) -> tuple[str, ...]:
        """Public ids that together name all of it."""

    def spread(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Where it is not one input: what puts its value together, and of which handles."""
        raise NotImplementedError

    def __reduce__(self) -> Any:
        raise KosError(f"{self!r} belongs to its client: expected it among a job's arguments, found it elsewhere")


def _unsettled(handle: Handle) -> JobKey:
    raise KosError(f"{handle!r} has not been handed over: expected the end of its workflow's block before")


#: jobs to wait for: all must succeed, or a mapping from "ok", "any", ..., "rule", "singleton"; see `spec.after`
_Given = Sequence[Handle | str] | Handle | str
Parents = _Given | Mapping[str, _Given | bool] | Conditions


class Job(Handle):
    """One job. Given as an argument to another job, it stands for its result and makes the dependency."""

    def __init__(self, client: "Client", job_id: str, key: JobKey | None) -> None:
        self.id = job_id
        self._client = client
        #: None until its workflow is handed over
        self._place = key

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    def _repr_html_(self) -> str:
        return pictures.job_html(self.id, pictures.attempt(lambda: self.status))

    @property
    def ids(self) -> tuple[str, ...]:
        """Its id."""
        return (self.id,)

    def result(self, timeout: float | None = None) -> Any:
        """What the job returned, waiting for it at most `timeout` seconds.

        Raises:
            TimeoutError: it has not ended by then.
            JobFailed: it ended without success.

        """
        return self._client._results([self], timeout)[0]

    def exception(self, timeout: float | None = None) -> JobFailed | None:
        """The error with which it ended, None where it succeeded.

        Raises:
            TimeoutError: it has not ended by then.

        """
        outcomes = self._client._outcomes([self._key], timeout)
        if outcomes is None:
            raise TimeoutError(f"job {self.id} has not ended after {timeout} seconds")
        return None if outcomes[0].state is JobState.SUCCEEDED else failure(self.id, outcomes[0])

    def wait(self, timeout: float | None = None) -> JobState | None:
        """How it ended, or None when it has not after `timeout` seconds. Does not raise for a failure."""
        outcomes = self._client._outcomes([self._key], timeout)
        return outcomes[0].state if outcomes else None

    @property
    def status(self) -> JobView:
        """How it stands now: state, reason, attempt, node, times."""
        return self._client._views([self._key])[0]

    @property
    def state(self) -> str:
        """The name of its state now, in lower case."""
        return self.status.state

    def history(self) -> list[AttemptView]:
        """All its attempts, the first one first."""
        return self._client._attempts(self._key)

    def logs(self, attempt: int | None = None) -> str:
        """What its attempt (the last one) has printed, so far where it runs."""
        return self._client._logs(self._key, attempt)

    def cancel(self) -> bool:
        """End it; False when it was over already."""
        return self._client._cancel([self._key]) == 1

    @property
    def _key(self) -> JobKey:
        return self._place if self._place is not None else _unsettled(self)

    def _keys(self) -> list[JobKey]:
        return [self._key]

    def _settle(self, key: JobKey) -> None:
        self._place = key


class Jobs(Handle):
    """Several jobs in an order."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def __len__(self) -> int:
        return len(self._keys())

    @abstractmethod
    def __iter__(self) -> Iterator[Job]: ...

    @abstractmethod
    def _keys(self) -> list[JobKey]: ...

    def _repr_html_(self) -> str:
        return pictures.jobs_html(repr(self), pictures.attempt(self.counts))

    def results(self, timeout: float | None = None, *, progress: bool = False) -> list[Any]:
        """What the jobs returned, in their order. `progress` draws a bar where the terminal is interactive.

        Raises:
            TimeoutError: not all have ended by then.
            JobFailed: the first one in that order that did not succeed.

        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if progress:
            self._client._outbox.watch(self._keys())
            with tracking(len(self), repr(self)) as ended:
                for _ in self._ended(deadline):
                    ended()
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        return self._client._results(list(self), left)

    def result(self, timeout: float | None = None) -> list[Any]:
        """The same as `results`: the result of several jobs is the list of their results."""
        return self.results(timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether all have ended after at most `timeout` seconds. Does not raise for a failure."""
        return self._client._outcomes(self._keys(), timeout) is not None

    def as_ended(self, timeout: float | None = None, *, progress: bool = False) -> Iterator[Job]:
        """The jobs as they end, however they end.

        Raises:
            TimeoutError: not all have ended after `timeout` seconds.

        """
        jobs = {job._key: job for job in self}
        self._client._outbox.watch(jobs)
        deadline = None if timeout is None else time.monotonic() + timeout
        with tracking(len(jobs), repr(self), shown=progress) as ended:
            for key in self._ended(deadline):
                ended()
                yield jobs[key]

    def counts(self) -> dict[str, int]:
        """How many are in which state."""
        found: dict[str, int] = {}
        for view in self._client._views(self._keys()):
            found[view.state] = found.get(view.state, 0) + 1
        return found

    def cancel(self) -> int:
        """End all that are live; how many those were."""
        return self._client._cancel(self._keys())

    def _ended(self, deadline: float | None) -> Iterator[JobKey]:
        """Keys as their jobs end; the outbox tells a queue, so that no end costs a look at all the others."""
        keys = self._keys()
        arrived: queue.SimpleQueue[JobKey | None] = queue.SimpleQueue()
        self._client._outbox.listen(keys, arrived.put)
        try:
            for number in range(len(keys)):
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                try:
                    key = arrived.get(timeout=left)
                except queue.Empty:
                    raise TimeoutError(f"{len(keys) - number} of {len(keys)} jobs have not ended") from None
                if key is None:
                    self._client._outbox.wait(keys, 0)  # raises what ended the waiting
                    raise KosError("waiting has ended")
                yield key
        finally:
            self._client._outbox.forget(keys, arrived.put)


class JobArray(Jobs):
    """Jobs of one map, in the order of its items."""

    def __init__(self, client: "Client", parts: Sequence[tuple[str, JobKey | None, int]]) -> None:
        super().__init__(client)
        #: (array id, first key, count); a long map is several arrays. A key is None until its workflow is handed over
        self._places = parts

    @property
    def id(self) -> str:
        """The id of the (first) array."""
        return self._places[0][0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its arrays."""
        return tuple(part[0] for part in self._places)

    @property
    def one_input(self) -> bool:  # type: ignore[override]
        """Whether it is one array."""
        return len(self._places) == 1

    def spread(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The lists of its arrays, one behind the other."""
        return sum, ([JobArray(self._client, [part]) for part in self._places], [])

    def __repr__(self) -> str:
        return f"<JobArray {self.id}: {len(self)} jobs>"

    def __len__(self) -> int:
        return sum(count for _, _, count in self._places)

    def __getitem__(self, index: int) -> Job:
        if index < 0:
            index += len(self)
        for array_id, first, count in self._parts:
            if 0 <= index < count:
                return Job(self._client, item_id(array_id, index), JobKey(first + index))
            index -= count
        raise IndexError("no such item in the array")

    def __iter__(self) -> Iterator[Job]:
        for array_id, first, count in self._parts:
            for index in range(count):
                yield Job(self._client, item_id(array_id, index), JobKey(first + index))

    def _keys(self) -> list[JobKey]:
        return [JobKey(key) for _, first, count in self._parts for key in range(first, first + count)]

    @property
    def _parts(self) -> list[tuple[str, JobKey, int]]:
        return [(id_, _unsettled(self) if key is None else key, count) for id_, key, count in self._places]

    def _settle(self, first: JobKey) -> None:
        ((array_id, _, count),) = self._places
        self._places = [(array_id, first, count)]


class JobList(Jobs, Sequence[Job]):
    """Jobs of their own, in the order in which they were handed over."""

    one_input = False

    def __init__(self, client: "Client", jobs: list[Job]) -> None:
        super().__init__(client)
        self._jobs = jobs

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its jobs."""
        return tuple(job.id for job in self._jobs)

    def spread(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The list of its jobs' results."""
        return list, (list(self._jobs),)

    def __repr__(self) -> str:
        return f"<JobList of {len(self)} jobs>"

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> "JobList": ...
    def __getitem__(self, index: int | slice) -> "Job | JobList":
        return JobList(self._client, self._jobs[index]) if isinstance(index, slice) else self._jobs[index]

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def _keys(self) -> list[JobKey]:
        return [job._key for job in self._jobs]
