"""Results as they come, without a cluster."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kos_ray.client import results
from kos_ray.client.aio_queues import AsyncQueueing
from kos_ray.client.results import Following, Result
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.views import EventView, JobView


class Cluster:
    """A journal: records by their place, and jobs by key."""

    def __init__(self) -> None:
        self.records: list[EventView] = []
        self.jobs: dict[int, JobView] = {}

    def end(self, *jobs: JobView) -> None:
        self.jobs |= {job.key: job for job in jobs}
        detail: dict[str, object] = {"keys": [job.key for job in jobs], "state": int(JobState.SUCCEEDED), "reason": 1}
        self.add("Finish", detail)

    def add(self, kind: str, detail: dict[str, object]) -> None:
        seq = len(self.records) + 1
        self.records.append(EventView(seq=seq, at_us=seq, epoch=1, kind=kind, detail=detail))

    def status(self) -> Any:
        return type("Status", (), {"seq": len(self.records)})()

    def events(self, since: int, limit: int) -> list[EventView]:
        return self.records[since : since + limit]

    def _views(self, keys: list[JobKey]) -> list[JobView]:
        return [self.jobs[key] for key in keys]

    def job(self, id_: str) -> Any:
        return type("Job", (), {"result": lambda _: f"of {id_}"})()


class Client(Following):
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.namespace = "default"

    @property
    def _client(self) -> Any:
        return self.cluster


def job(key: int, type_: str = "scan", namespace: str = "default", receiver: str = "") -> JobView:
    own = {"type": type_, "namespace": namespace, "receiver": receiver}
    return JobView(id=f"j{key}", key=JobKey(key), state="succeeded", **own)


@pytest.fixture
def client() -> Client:
    cluster = Cluster()
    cluster.end(job(1), job(2, "counter.add", receiver="counter"), job(3, namespace="other"))
    cluster.add("JobsSubmitted", {})
    cluster.end(job(4), job(5, "counter.v2.add", receiver="counter.v2"))
    return Client(cluster)


def test_they_come_in_order_of_this_namespace_and_of_what_is_asked_for(client: Client) -> None:
    def keys(**said: Any) -> list[tuple[int, int]]:
        return [(found.seq, found.job.key) for found in client.results(since=0, follow=False, **said)]

    assert keys() == [(1, 1), (1, 2), (3, 4), (3, 5)]
    assert keys(type="scan") == [(1, 1), (3, 4)]
    client.cluster.end(job(6, "counter.add"), job(7, "own", receiver="counter"))
    assert keys(agent="counter") == [(1, 2), (4, 7)], "by who gets it, whatever its type"
    first = next(client.results(since=0))
    assert first.value == "of j1"


def test_whoever_kept_the_place_gets_those_that_ended_with_the_last_one_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt_with = next(client.results(since=0))
    assert dealt_with.job.key == 1, "and job 2 has ended with it"
    again = client.results(since=dealt_with.seq, follow=False)
    assert [found.job.key for found in again] == [1, 2, 4, 5]
    stream = client.results(since=4)
    monkeypatch.setattr(results.time, "sleep", lambda _: client.cluster.end(job(6)))
    assert next(stream).job.key == 6
    assert list(client.results(follow=False)) == [], "from now on"


def test_from_now_on_is_from_the_call_on(client: Client) -> None:
    stream = client.results(follow=False)
    client.cluster.end(job(6))
    assert [found.job.key for found in stream] == [6]


def test_the_same_in_an_event_loop(client: Client) -> None:
    class Async(AsyncQueueing):
        def __init__(self) -> None:
            pass

        _sync = client  # type: ignore[assignment]

        async def _run(self, call: Any, *args: Any) -> Any:
            return await asyncio.to_thread(call, *args)

    async def main() -> list[list[int]]:
        async def keys(found: AsyncIterator[Result]) -> list[int]:
            return [one.job.key async for one in found]

        begun = Async().results(follow=False)
        client.cluster.end(job(6))
        return [
            await keys(Async().results(since=0, type="scan", follow=False)),
            await keys(Async().results(since=3, follow=False)),
            await keys(begun),
        ]

    assert asyncio.run(main()) == [[1, 4, 6], [4, 5, 6], [6]]
