"""The client for asyncio: the same names, awaited.

Calls to the cluster run in a few threads. Waiting takes no thread: outcomes arrive through the outbox, which wakes
the loop, so that a hundred thousand jobs can be awaited at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from kos_ray.client.aio_coordinating import AsyncCoordinating
from kos_ray.client.aio_scheduling import P, R
from kos_ray.client.calls import Call
from kos_ray.client.client import Client, connect
from kos_ray.client.job import Handle, Job, JobArray, JobList, Parents
from kos_ray.client.options import Options
from kos_ray.model.errors import JobFailed, KosError
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.plan import Plan
from kos_ray.model.policy import Policy
from kos_ray.model.views import (
    AttemptView,
    ClusterStatus,
    EventView,
    Explanation,
    JobView,
    LearntKind,
    NodeStanding,
    NodeView,
)
from kos_ray.model.windows import Windows
from kos_ray.spec.lower import Draft


def connect_async(address: str | None = None, *, namespace: str = "default", start: bool = True) -> "AsyncClient":
    """A client for asyncio: `async with kos.connect_async() as client: ...`, or `await kos.connect_async()`.

    See `connect` for the parameters and errors; it connects when it is entered or awaited.
    """
    return AsyncClient(lambda: connect(address, namespace=namespace, start=start))


class AsyncClient(AsyncCoordinating):
    """See `Client`: the methods have the same names and parameters."""

    def __init__(self, opening: Callable[[], Client]) -> None:
        self._opening = opening
        self._opened: Client | None = None
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="kos-async")

    def __await__(self) -> Generator[Any, None, "AsyncClient"]:
        return self._open().__await__()

    async def __aenter__(self) -> "AsyncClient":
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> "AsyncClient":
        if self._opened is None:
            self._opened = await self._run(self._opening)
        return self

    async def close(self) -> None:
        """Stop waiting for outcomes. Jobs go on."""
        if self._opened is not None:
            await self._run(self._opened.close)
        self._threads.shutdown(wait=False)

    @property
    def _sync(self) -> Client:
        if self._opened is None:
            raise KosError("the client is not connected: write `async with kos.connect_async() as client`")
        return self._opened

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A blocking call, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))

    # --- submitting

    async def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        after: Parents = (),
        name: str = "",
        kwargs: Mapping[str, Any] | None = None,
        idempotency_key: str = "",
        **options: Unpack[Options],
    ) -> "AsyncJob":
        """See `Client.submit`."""
        call = Call(function, args, kwargs, name=name, after=after, idempotency_key=idempotency_key, **options)
        return AsyncJob(self, (await self._run(self._sync.submit_many, [call]))[0])

    async def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        after: Parents = (),
        at_most: int | None = None,
        max_failures: int | None = None,
        gang: int | Mapping[str, Any] | None = None,
        idempotency_key: str = "",
        **options: Unpack[Options],
    ) -> "AsyncJobs":
        """See `Client.map`."""
        own: dict[str, Any] = {"at_most": at_most, "max_failures": max_failures, "gang": gang, "after": after}
        own["idempotency_key"] = idempotency_key
        return AsyncJobs(self, await self._run(self._sync.map, function, items, **own, **options))

    async def submit_many(self, calls: Iterable[Call]) -> "AsyncJobs":
        """See `Client.submit_many`."""
        return AsyncJobs(self, await self._run(self._sync.submit_many, calls))

    async def submit_drafts(self, drafts: Sequence[Draft], **options: Any) -> "list[AsyncJob | AsyncJobs]":
        """See `Client.submit_drafts`."""
        return [self._handle(sent) for sent in await self._run(self._sync.submit_drafts, drafts, **options)]

    async def plan_drafts(self, drafts: Sequence[Draft], *, code: Sequence[Path] = (), spread: float = 0) -> Plan:
        """See `Client.plan_drafts`."""
        return await self._run(self._sync.plan_drafts, drafts, code=code, spread=spread)

    def _handle(self, handle: Job | JobArray) -> "AsyncJob | AsyncJobs":
        return AsyncJob(self, handle) if isinstance(handle, Job) else AsyncJobs(self, handle)

    # --- questions

    async def job(self, ref: str) -> "AsyncJob":
        """See `Client.job`."""
        return AsyncJob(self, await self._run(self._sync.job, ref))

    async def array(self, ref: str) -> "AsyncJobs":
        """See `Client.array`."""
        return AsyncJobs(self, await self._run(self._sync.array, ref))

    async def get(self, ref: str) -> JobView:
        """See `Client.get`."""
        return await self._run(self._sync.get, ref)

    async def jobs(self, **filters: Any) -> list[JobView]:
        """See `Client.jobs`."""
        return await self._run(self._sync.jobs, **filters)

    async def attempts(self, ref: str) -> list[AttemptView]:
        """See `Client.attempts`."""
        return await self._run(self._sync.attempts, ref)

    async def logs(self, ref: str, attempt: int | None = None) -> str:
        """See `Client.logs`."""
        return await self._run(self._sync.logs, ref, attempt)

    async def log_bytes(self, ref: str, attempt: int | None = None, start: int = 0) -> bytes:
        """See `Client.log_bytes`."""
        return await self._run(self._sync.log_bytes, ref, attempt, start)

    async def events(self, since_seq: int = 0, limit: int = 1_000) -> list[EventView]:
        """See `Client.events`."""
        return await self._run(self._sync.events, since_seq, limit)

    async def status(self) -> ClusterStatus:
        """See `Client.status`."""
        return await self._run(self._sync.status)

    async def nodes(self) -> list[NodeView]:
        """See `Client.nodes`."""
        return await self._run(self._sync.nodes)

    async def node_standings(self) -> list[NodeStanding]:
        """See `Client.node_standings`."""
        return await self._run(self._sync.node_standings)

    async def mark_nodes(self, names: Sequence[str], **change: Any) -> list[NodeStanding]:
        """See `Client.mark_nodes`."""
        return await self._run(self._sync.mark_nodes, names, **change)

    async def windows(self, *, node: str = "", namespace: str = "", text: str | None = None) -> Windows:
        """See `Client.windows`."""
        return await self._run(self._sync.windows, node=node, namespace=namespace, text=text)

    async def advise(self, kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """See `Client.advise`."""
        return await self._run(self._sync.advise, kinds)

    async def learnt(self) -> list[LearntKind]:
        """See `Client.learnt`."""
        return await self._run(self._sync.learnt)

    async def views(self, refs: Sequence[str]) -> list[JobView]:
        """See `Client.views`."""
        return await self._run(self._sync.views, refs)

    # --- what people want of jobs

    async def cancel(self, refs: Sequence[str]) -> int:
        """See `Client.cancel`."""
        return await self._run(self._sync.cancel, refs)

    async def hold(self, refs: Sequence[str]) -> int:
        """See `Client.hold`."""
        return await self._run(self._sync.hold, refs)

    async def release(self, refs: Sequence[str]) -> int:
        """See `Client.release`."""
        return await self._run(self._sync.release, refs)

    async def pause(self, refs: Sequence[str]) -> int:
        """See `Client.pause`."""
        return await self._run(self._sync.pause, refs)

    async def resume(self, refs: Sequence[str]) -> int:
        """See `Client.resume`."""
        return await self._run(self._sync.resume, refs)

    async def reprioritise(self, refs: Sequence[str], priority: str | int) -> int:
        """See `Client.reprioritise`."""
        return await self._run(self._sync.reprioritise, refs, priority)

    async def explain(self, ref: str, *, suggest: bool = False) -> Explanation | None:
        """See `Client.explain`."""
        return await self._run(self._sync.explain, ref, suggest=suggest)

    async def settings(self, change: Mapping[str, Any] | None = None) -> Policy:
        """See `Client.settings`."""
        return await self._run(self._sync.settings, change)

    async def rerun(self, ref: str, *, from_failed: bool = False) -> "list[AsyncJob | AsyncJobs]":
        """See `Client.rerun`."""
        return [self._handle(job) for job in await self._run(self._sync.rerun, ref, from_failed=from_failed)]

    # --- waiting

    async def wait(self, refs: Sequence[str], timeout: float | None = None) -> list[JobView]:  # noqa: ASYNC109 - as `Client.wait`
        """See `Client.wait`."""
        keys = await self._run(self._sync._keys, refs)
        await self._all_ended(keys, timeout)
        return await self._run(self._sync._views, keys)

    async def watch(self, refs: Sequence[str], timeout: float | None = None) -> AsyncIterator[list[JobView]]:  # noqa: ASYNC109
        """See `Client.watch`."""
        changes = self._sync.watch(refs, timeout)
        while (views := await self._run(next, changes, None)) is not None:
            yield views

    async def _all_ended(self, keys: list[JobKey], timeout: float | None) -> bool:  # noqa: ASYNC109
        """Whether all jobs have ended before the time is over."""
        try:
            async for _ in self._ended(keys, timeout):
                pass
        except TimeoutError:
            return False
        return True

    async def _ended(self, keys: list[JobKey], timeout: float | None) -> AsyncIterator[JobKey]:  # noqa: ASYNC109
        """Keys as their jobs end; TimeoutError when the time is over before all have."""
        loop, outbox = asyncio.get_running_loop(), self._sync._outbox
        arrived: asyncio.Queue[JobKey | None] = asyncio.Queue()

        def listener(key: JobKey | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(arrived.put_nowait, key)

        deadline = None if timeout is None else loop.time() + timeout
        await self._run(outbox.watch, keys)
        outbox.listen(keys, listener)
        try:
            for _ in range(len(keys)):
                # no asyncio.timeout: it would go on counting, and cancel, in the code to which this yields
                key = await asyncio.wait_for(arrived.get(), None if deadline is None else deadline - loop.time())
                if key is None:
                    outbox.wait(keys, 0)  # raises what ended the waiting
                    raise KosError("waiting has ended")
                yield key
        finally:
            outbox.forget(keys, listener)


class AsyncJob(Handle):
    """See `Job`; `job` is the synchronous handle of the same job."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        self.id = job.id
        self.job = job
        self._client = client

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id}>"

    def __await__(self) -> Generator[Any, None, Any]:
        """`await job` is `await job.result()`."""
        return self.result().__await__()

    @property
    def ids(self) -> tuple[str, ...]:
        """Its id."""
        return self.job.ids

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as `Job.result`
        """See `Job.result`."""
        await self.wait(timeout)
        return await self._client._run(self.job.result, 0)

    async def exception(self, timeout: float | None = None) -> JobFailed | None:  # noqa: ASYNC109 - as `Job.exception`
        """See `Job.exception`."""
        await self.wait(timeout)
        return await self._client._run(self.job.exception, 0)

    async def wait(self, timeout: float | None = None) -> JobState | None:  # noqa: ASYNC109 - as `Job.wait`
        """See `Job.wait`."""
        if not await self._client._all_ended([self.job._key], timeout):
            return None
        outcome = self._client._sync._outbox.known(self.job._key)
        return outcome.state if outcome else await self._client._run(self.job.wait, 0)

    async def status(self) -> JobView:
        """How it stands now."""
        return await self._client._run(lambda: self.job.status)

    async def history(self) -> list[AttemptView]:
        """See `Job.history`."""
        return await self._client._run(self.job.history)

    async def logs(self, attempt: int | None = None) -> str:
        """See `Job.logs`."""
        return await self._client._run(self.job.logs, attempt)

    async def cancel(self) -> bool:
        """See `Job.cancel`."""
        return await self._client._run(self.job.cancel)


class AsyncJobs(Handle):
    """See `JobArray` and `JobList`; `jobs` is the synchronous handle of the same jobs."""

    def __init__(self, client: AsyncClient, jobs: JobArray | JobList) -> None:
        self.jobs = jobs
        self._client = client

    def __repr__(self) -> str:
        return f"<Async{repr(self.jobs)[1:]}"

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> AsyncJob:
        return AsyncJob(self._client, self.jobs[index])

    def __iter__(self) -> Iterator[AsyncJob]:
        return (AsyncJob(self._client, job) for job in self.jobs)

    @property
    def ids(self) -> tuple[str, ...]:
        """Public ids that together name all of them."""
        return self.jobs.ids

    @property
    def one_input(self) -> bool:  # type: ignore[override]
        """Whether it is one array."""
        return self.jobs.one_input

    def spread(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """See `Handle.spread`."""
        return self.jobs.spread()

    async def results(self, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109 - as `JobArray.results`
        """See `JobArray.results`."""
        await self._client._all_ended(self.jobs._keys(), timeout)
        return await self._client._run(self.jobs.results, 0)

    async def result(self, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109 - as `JobArray.result`
        """The same as `results`."""
        return await self.results(timeout)

    async def as_ended(self, timeout: float | None = None) -> AsyncIterator[AsyncJob]:  # noqa: ASYNC109
        """See `JobArray.as_ended`."""
        jobs = {job._key: job for job in self.jobs}
        async for key in self._client._ended(list(jobs), timeout):
            yield AsyncJob(self._client, jobs[key])

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as `JobArray.wait`
        """See `JobArray.wait`."""
        return await self._client._all_ended(self.jobs._keys(), timeout)

    async def counts(self) -> dict[str, int]:
        """See `JobArray.counts`."""
        return await self._client._run(self.jobs.counts)

    async def cancel(self) -> int:
        """See `JobArray.cancel`."""
        return await self._client._run(self.jobs.cancel)
