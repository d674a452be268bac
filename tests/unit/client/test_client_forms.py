"""The forms in which jobs are handed over, on a cluster without processes."""

import pickle
from collections.abc import Iterator
from typing import Any

import cloudpickle
import msgpack
import pytest
from client_fake import FakeCluster

import kos_ray as kos
from kos_ray.client.client import Client
from kos_ray.client.current import current_client
from kos_ray.client.ids import uuid7s
from kos_ray.model.errors import InvalidSpec, JobCancelled, JobFailed, KosError, Refused
from kos_ray.model.gang import GangMode, GangSpec, OnFailure
from kos_ray.model.job import After
from kos_ray.model.protocol import Accepted
from kos_ray.model.wire import to_plain


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def client(cluster: FakeCluster) -> Iterator[Client]:
    with cluster.client() as opened:
        yield opened


def double(number: int) -> int:
    return 2 * number


def add(*numbers: int) -> int:
    return sum(numbers)


def fail(text: str) -> None:
    raise ValueError(text)


@kos.job(gpu=0.5, retry=3)
def decorated(number: int, more: int = 0) -> int:
    """Adds."""
    return number + more


def test_resources_and_options_reach_the_spec(cluster: FakeCluster, client: Client) -> None:
    held = kos.Resources(cpu=2, gpu=0.5, memory="1KiB", custom={"x": 1})
    client.submit(double, 1, resources=held, priority="high", retry=2, timeout="2s", env={"A": "b"}, tags=["t"])
    client.submit(double, 1, resources={"cpu": 2, "gpu": 0.5, "memory": 1024, "custom": {"x": 1}})
    first, second = cluster.specs.values()
    assert first.resources == second.resources
    assert first.resources.as_units() == {"CPU": 2, "GPU": 0.5, "memory": 1024, "x": 1}
    assert (first.band, first.retries, first.timeout_ms, first.env, first.tags) == (1, 2, 2_000, (("A", "b"),), ("t",))
    assert first.type == "double"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retri": 1}, "expected a known option, found 'retri'; did you mean \"retry\""),
        ({"entry": "a:b"}, "expected a known option, found 'entry'"),
        ({"retry": "x"}, "retry: expected a number of retries"),
        (
            {"resources": {"cpus": 1}},
            "resources.cpus: expected a known field, found 'cpus'; did you mean \"cpu\"",
        ),
        ({"backoff": {"frist": "1s"}}, "backoff.frist: expected a known field, found 'frist'; did you mean \"first\""),
        ({"resources": kos.Resources(memory="1 parsec")}, "resources.memory: expected a size"),
        (
            {"after": {"okay": ["a"]}},
            "after: expected one of ok, any, not_ok, started, corr, rule",
        ),
        ({"name": "0190b7a0-0000-7000-8000-000000000000"}, "name: expected a name"),
        ({"name": "a.1"}, "name: expected a name that does not end in a dot"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_sent(
    cluster: FakeCluster, client: Client, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        client.submit(double, 1, **options)
    assert message in str(caught.value)
    assert not cluster.requests


def test_submit_many_shares_templates_and_keeps_names(cluster: FakeCluster, client: Client) -> None:
    first = client.submit(double, 1)
    calls = [kos.Call(double, (i,), name=f"n{i}", priority="high" if i % 2 else "low") for i in range(6)]
    calls += [kos.Call(add, (first, 3), after={"any": [first]}), kos.Call(add)]
    jobs = client.submit_many(calls)
    assert jobs.results(10) == [0, 2, 4, 6, 8, 10, 5, 0]
    assert len(cluster.requests) == 2, "one request for all"
    arrays = cluster.requests[1].arrays
    assert [array.name for array in arrays[:3]] == ["n0", "n1", "n2"]
    assert len({array.spec for array in arrays}) == 3
    assert len(cluster.requests[1].specs) == 3
    assert arrays[6].inputs == (first.id,)
    assert arrays[6].after == ((first.id, After.ANY),)
    assert len({job.id for job in jobs}) == 8
    assert [job.result(1) for job in jobs[1:3]] == [2, 4]
    assert client.submit(add, *jobs[:2]).result(5) == 2
    assert client.submit(sum, jobs[:4]).result(5) == 12, "a list of jobs stands for the list of their results"


def test_an_older_scheduler_s_silence_is_no_answer(cluster: FakeCluster, client: Client) -> None:
    """It passes over fields that it does not know, and so over all jobs."""
    cluster.submit = lambda _: msgpack.packb(to_plain(Accepted(epoch=1)))  # type: ignore[method-assign]
    with pytest.raises(Refused, match="expected the scheduler to take 1 jobs, it took 0: it is of an older kos_ray"):
        client.submit_many([kos.Call(double, (1,))])


def test_many_go_in_several_requests(cluster: FakeCluster, client: Client) -> None:
    cluster.running = False
    jobs = client.submit_many(kos.Call(double, (i,)) for i in range(12_000))
    assert [request.job_count for request in cluster.requests] == [5_000, 5_000, 2_000]
    assert not any(request.arrays for request in cluster.requests), "as columns"
    assert [job._key for job in jobs] == list(range(1, 12_001))
    assert len(client.submit_many([])) == 0


def test_a_long_map_is_one_argument(cluster: FakeCluster, client: Client) -> None:
    """More items than one request holds are several arrays, and still one list for whoever gets them."""
    array = client.map(double, range(5_003))
    assert len(array.ids) == 2
    assert client.submit(sum, array).result(20) == 2 * sum(range(5_003))
    client.submit(double, 1, after=[array])
    assert [ref for ref, _ in cluster.requests[-1].arrays[0].after] == list(array.ids)
    assert array.results(5)[-1] == array[-1].result(5) == 10_004


def test_a_map_of_gangs(cluster: FakeCluster, client: Client) -> None:
    """Each array of a long map holds whole gangs; nothing is handed over where the items do not come out even."""
    client.map(double, range(4), gang={"min": 3, "on_failure": "abort"})
    (array,) = cluster.requests[-1].arrays
    assert array.gang == GangSpec(least=3, mode=GangMode.QUORUM, on_failure=OnFailure.ABORT)
    assert cluster.specs[array.spec].single_use
    long = client.map(double, range(5_012), gang=7)
    assert [request.arrays[0].count % 7 for request in cluster.requests[-2:]] == [0, 0]
    assert len(long.ids) == 2
    before = len(cluster.requests)
    for items, gang, message in (
        (5_001, 2, "whole number of gangs of 2, found 5001"),
        (3, {"mode": "al"}, "gang: mode: expected one of all"),
        (2_000, {"mode": "all"}, "at most 1024 members, found 2000"),
    ):
        with pytest.raises(InvalidSpec, match=message):
            client.map(double, range(items), gang=gang)
    with kos.workflow("gangs") as flow:
        flow.map(double, range(4), gang=2)
    assert cluster.requests[-1].arrays[0].gang == GangSpec(size=2)
    before = len(cluster.requests)
    with pytest.raises(InvalidSpec, match="expected no at_most with a gang"):
        client.map(double, range(2), gang=2, at_most=1)
    with pytest.raises(InvalidSpec, match="expected a known option, found 'gang'"):
        client.submit(double, 1, gang=2)
    assert len(cluster.requests) == before


def test_ends_arrive_as_they_come(cluster: FakeCluster, client: Client) -> None:
    cluster.running = False
    array = client.map(double, range(3))
    keys = array._keys()
    ends = array.as_ended(5)
    cluster.finish(keys[2], *_succeeded(4))
    assert next(ends).id == array[2].id
    cluster.finish(keys[0], *_succeeded(0))
    assert next(ends).id == array[0].id
    with pytest.raises(TimeoutError, match="1 of 3"):
        list(array.as_ended(0.05))
    assert not array.wait(0.01)
    cluster.finish(keys[1], *_succeeded(2))
    assert array.results(5, progress=True) == [0, 2, 4]
    assert not client._outbox._listeners, "nobody listens any more"


def _succeeded(value: Any) -> tuple[Any, bytes, None]:
    from kos_ray.model import payload
    from kos_ray.model.job import JobState

    return JobState.SUCCEEDED, payload.inline(pickle.dumps(value)), None


def test_failures_show_the_remote_traceback(client: Client) -> None:
    job = client.submit(fail, "seven")
    with pytest.raises(JobFailed, match="ValueError: seven") as caught:
        job.result(5)
    assert "in fail" in caught.value.remote_traceback
    assert "in fail" in "".join(caught.value.__notes__)
    assert isinstance(job.exception(5), JobFailed)
    assert client.submit(double, 1).exception(5) is None
    assert pickle.loads(pickle.dumps(caught.value)).job_id == job.id


def test_waiting_ends_with_the_client(cluster: FakeCluster) -> None:
    cluster.running = False
    client = cluster.client()
    ends = client.map(double, range(2)).as_ended()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(ends)


def test_decorated_functions_run_here_and_there(cluster: FakeCluster, client: Client) -> None:
    assert decorated(1, more=2) == 3
    assert decorated.__doc__ == "Adds."
    assert decorated.submit(1, more=4).result(5) == 5
    assert decorated.options(priority="high", name="mine").submit(1).result(5) == 1
    assert decorated.map([1, 2]).results(5) == [1, 2]
    assert client.submit_many([decorated.call(3, more=3)]).results(5) == [6]
    first, second, *_ = cluster.specs.values()
    assert first.resources.as_units() == {"CPU": 1, "GPU": 0.5}
    assert (first.retries, first.single_use, second.band) == (3, True, 1)
    assert cluster.requests[1].arrays[0].name == "mine"
    assert pickle.loads(cloudpickle.dumps(decorated)) is decorated, "it travels by name"
    local = kos.job(lambda number: number + 1)
    assert pickle.loads(cloudpickle.dumps(local))(1) == 2, "and by value where it has none"
    with pytest.raises(TypeError, match="found both"):
        kos.job(gpu=1, resources={"gpu": 2})


def test_the_innermost_client_is_the_current_one(cluster: FakeCluster, client: Client) -> None:
    assert current_client() is client
    with FakeCluster().client() as inner:
        assert current_client() is inner
    assert current_client() is client


def test_a_workflow_is_one_request(cluster: FakeCluster, client: Client) -> None:
    with kos.workflow("etl") as flow:
        first = flow.submit(double, 4)
        second = flow.submit(double, first, priority="high")
        parts = flow.map(double, [1, 2, 3], after=["double"])
        last = flow.submit(add, second, after={"any": [parts]}, name="end")
        total = flow.submit(sum, parts)
        assert not cluster.requests
        with pytest.raises(KosError, match="end of its workflow"):
            first.result(0)
        with pytest.raises(KosError, match="end of its workflow"):
            parts.results(0)
    assert [last.result(5), second.result(5), parts.results(5), total.result(5)] == [16, 16, [2, 4, 6], 12]
    (request,) = cluster.requests
    assert [array.name for array in request.arrays] == [
        "etl/double",
        "etl/double-2",
        "etl/double-3",
        "etl/end",
        "etl/sum",
    ]
    assert request.arrays[2].after == (("etl/double", After.OK),)
    assert flow.wait(5)
    assert {*map(type, flow.jobs)} == {kos.Job, kos.JobArray}
    with pytest.raises(KosError, match="no more jobs"):
        flow.submit(double, 1)
    picture = flow.svg()
    assert picture.count("<rect") == 5
    assert picture.count("<path") == 5
    assert "etl/double-2: succeeded" in picture


def test_a_workflow_with_an_error_in_it_is_not_handed_over(cluster: FakeCluster, client: Client) -> None:
    def broken() -> None:
        with kos.workflow() as flow:
            flow.submit(double, 1)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        broken()
    cluster.refuse = "the name is taken"
    with pytest.raises(Refused, match="taken"), kos.workflow("etl") as flow:
        job = flow.submit(double, 1)
    assert not cluster.requests
    with pytest.raises(KosError, match="not been handed over"):
        job.result(0)


def test_handles_elsewhere_than_among_arguments_are_refused(client: Client) -> None:
    job = client.submit(double, 1)
    with pytest.raises(InvalidSpec, match="plain items in a map"):
        client.map(double, [job])
    with pytest.raises(KosError, match="belongs to its client"):
        pickle.dumps(job)
    with pytest.raises(InvalidSpec, match="cannot be sent"):
        client.submit(lambda: job)


def test_cancelled_jobs_raise_their_own_error(cluster: FakeCluster, client: Client) -> None:
    cluster.running = False
    job = client.submit(double, 1)
    assert job.cancel()
    assert not job.cancel()
    with pytest.raises(JobCancelled):
        job.result(5)
    assert job.state == job.status.state == "cancelled"


def test_ids_are_uuids_of_version_7() -> None:
    import uuid

    ids = uuid7s(1_000)
    assert len(set(ids)) == 1_000
    assert {(uuid.UUID(text).version, uuid.UUID(text).variant) for text in ids} == {(7, uuid.RFC_4122)}
    assert ids[0][:13] <= uuid7s(1)[0][:13]
