"""`concurrent.futures`, joblib and asyncio over a cluster without processes."""

import asyncio
import inspect
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed, wait

import joblib
import pytest
from client_fake import FakeCluster

import kos_ray as kos
from kos_ray.client.aio import AsyncClient, AsyncJob
from kos_ray.client.client import Client
from kos_ray.client.executor import KosExecutor, KosFuture, original
from kos_ray.client.joblib import register
from kos_ray.client.outcomes import Outcome
from kos_ray.model.errors import JobFailed, KosError
from kos_ray.model.job import JobState
from kos_ray.model.payload import raising


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def client(cluster: FakeCluster) -> Iterator[Client]:
    with cluster.client() as opened:
        yield opened


class Mine(Exception):
    pass


class Two(Exception):
    """Takes other arguments than its text."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)
        self.two = two


class Odd(Exception):
    """Cannot be made again: from its text not, and by unpickling not."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)
        self.held = threading.Lock()


class Stuck(ValueError):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.held = threading.Lock()


def double(number: int) -> int:
    return 2 * number


def add(first: int, second: int = 1) -> int:
    return first + second


def fail(kind: type[Exception], *args: str) -> None:
    raise kind(*args)


def test_results_in_the_standard_ways(cluster: FakeCluster, client: Client) -> None:
    with KosExecutor(client, priority="high") as executor:
        assert executor.submit(add, 1, second=5).result(5) == 6
        assert list(executor.map(add, range(50), range(50))) == [2 * i for i in range(50)]
        assert list(executor.map(add, range(7), range(7), chunksize=3)) == [2 * i for i in range(7)]
        futures = [executor.submit(double, i) for i in range(20)]
        assert {future.result() for future in as_completed(futures, 5)} == {2 * i for i in range(20)}
        called = threading.Event()
        executor.submit(double, 1).add_done_callback(lambda _future: called.set())
        assert called.wait(5)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)
    assert {spec.band for spec in cluster.specs.values()} == {1}
    assert len(cluster.requests) < 80, "calls travel together"


@pytest.mark.parametrize(("kind", "text"), [(ValueError, "x"), (KeyError, "x"), (Mine, "y"), (FileNotFoundError, "z")])
def test_exceptions_are_those_of_the_code(client: Client, kind: type[Exception], text: str) -> None:
    with KosExecutor(client) as executor:
        error = executor.submit(fail, kind, text).exception(5)
    assert type(error) is kind
    assert str(error) == str(kind(text))
    assert isinstance(error.__cause__, JobFailed)
    assert "in fail" in error.__cause__.remote_traceback


def test_an_exception_travels_as_it_is(client: Client) -> None:
    with KosExecutor(client) as executor:
        own = executor.submit(fail, Two, "a", "b").exception(5)
        missing = executor.submit(open, "/is/not/there").exception(5)
        stuck = executor.submit(fail, Stuck, "x").exception(5)
    assert isinstance(own, Two)
    assert own.two == "b"
    assert isinstance(own.__cause__, JobFailed)
    assert isinstance(missing, FileNotFoundError)
    assert (missing.errno, missing.filename) == (2, "/is/not/there")
    assert isinstance(stuck, Stuck), "what cannot be pickled is made again from its text"


def test_an_exception_that_cannot_be_made_again_is_the_failure(client: Client) -> None:
    with KosExecutor(client) as executor:
        assert isinstance(executor.submit(fail, Odd, "a", "b").exception(5), JobFailed)
        good, bad = executor.submit(double, 1), executor.submit(double, threading.Lock())
        assert good.result(5) == 2
        assert isinstance(bad.exception(5), kos.InvalidSpec), "the others of its request are not harmed"
    failed = JobFailed("x")
    for kind in ("SystemExit", "gone.Error", "os.path", "print"):
        assert original(failed, ended((kind, "1", ""))) is failed
    for data in (b"", b"no pickle", pickle.dumps(1), pickle.dumps(SystemExit(1))):
        assert original(failed, ended(("gone.Error", "1", ""), raising(data))) is failed


def ended(error: tuple[str, str, str], result: bytes = b"") -> Outcome:
    return Outcome(JobState.FAILED, 0, result, error)


def test_cancel_and_shutdown(cluster: FakeCluster, client: Client) -> None:
    cluster.running = False
    executor = KosExecutor(client)
    first, second, third = (executor.submit(double, i) for i in range(3))
    _until_sent(first, second, third)
    assert first.cancel()
    assert first.cancelled()
    assert not second.running()
    with pytest.raises(CancelledError):
        first.result(5)
    assert third.job is not None
    third.job.cancel()  # by somebody else
    with pytest.raises(CancelledError):
        third.result(5)
    executor.shutdown(wait=True, cancel_futures=True)
    assert second.cancelled()
    assert wait([first, second, third], 5).not_done == set()


def _until_sent(*futures: KosFuture) -> None:
    deadline = time.monotonic() + 5
    while any(future.job is None for future in futures):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_closed_client_ends_all_futures(cluster: FakeCluster) -> None:
    cluster.running = False
    client = cluster.client()
    executor = KosExecutor(client)
    future = executor.submit(double, 1)
    _until_sent(future)
    client.close()
    assert isinstance(future.exception(5), RuntimeError)
    executor.shutdown()


def test_joblib(cluster: FakeCluster, client: Client) -> None:
    register()
    with joblib.parallel_config("kos", n_jobs=4):
        assert joblib.Parallel()(joblib.delayed(double)(i) for i in range(30)) == [2 * i for i in range(30)]
        with pytest.raises(ValueError, match="no"):
            joblib.Parallel()(joblib.delayed(fail)(ValueError, "no") for _ in range(3))
        generated = joblib.Parallel(return_as="generator")(joblib.delayed(double)(i) for i in range(5))
        assert list(generated) == [0, 2, 4, 6, 8]
    assert {spec.type for spec in cluster.specs.values()} == {"run"}


def test_asyncio(cluster: FakeCluster) -> None:
    async def main() -> None:
        async with AsyncClient(cluster.client) as client:
            job = await client.submit(double, 4)
            assert await job.result(5) == await job == 8
            assert await (await client.submit(add, job, 1)).result(5) == 9
            array = await client.map(double, range(100))
            assert await array.results(5) == [2 * i for i in range(100)]
            assert await (await client.submit(sum, array)).result(5) == 9_900
            many = await client.submit_many([kos.Call(double, (i,)) for i in range(10)])
            assert {job.id async for job in many.as_ended(5)} == {job.id for job in many}
            failed = await client.submit(fail, ValueError, "no")
            with pytest.raises(JobFailed, match="no"):
                await failed
            cluster.running = False
            waiting = await client.map(double, range(200))
            before = threading.active_count()
            tasks = [asyncio.create_task(job.result()) for job in waiting]
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await waiting[0].result(0.05)
            assert not await waiting.wait(0.01)
            assert threading.active_count() <= before + 16, "waiting takes no threads"
            cluster.run_all()
            assert await asyncio.gather(*tasks) == [2 * i for i in range(200)]
            assert (await job.status()).state == "succeeded"
        with pytest.raises(KosError, match="not connected"):
            await AsyncClient(cluster.client).submit(double, 1)

    asyncio.run(main())


def test_the_asyncio_client_has_the_names_of_the_other() -> None:
    for sync, other in ((Client, AsyncClient), (kos.Job, AsyncJob), (kos.JobList, kos.AsyncJobs)):
        names = {name for name, _ in inspect.getmembers(sync) if not name.startswith("_")}
        own = {name for name, _ in inspect.getmembers(other) if not name.startswith("_")}
        assert names - own - {"index", "count", "state"} == set()
