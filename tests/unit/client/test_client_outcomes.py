"""What a client remembers of jobs that have ended: not more than so much, and nothing is lost by that."""

import threading
from collections.abc import Iterator

import pytest
from client_fake import FakeCluster

from kos_ray.client.calls import Call
from kos_ray.client.client import Client
from kos_ray.client.executor import KosExecutor
from kos_ray.model.errors import JobFailed
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.protocol import Outcomes
from kos_ray.runtime.connect import Away

KEPT = 10_000


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def client(cluster: FakeCluster) -> Iterator[Client]:
    with cluster.client() as opened:
        opened._outbox._kept_bytes = KEPT
        yield opened


def text(number: int) -> str:
    return f"{number:0>500}"


def broken(number: int) -> None:
    raise ValueError(text(number))


def test_memory_is_bounded_and_old_results_are_asked_for_again(cluster: FakeCluster, client: Client) -> None:
    jobs = client.submit_many([Call(text, (number,)) for number in range(200)])
    assert jobs.results(30) == [text(number) for number in range(200)], "more at once than are kept"
    outbox = client._outbox
    assert outbox._bytes == sum(outcome.size for outcome in outbox._outcomes.values()) <= KEPT
    assert [outbox._early, outbox._collected, outbox._waiting] == [{}, {}, set()]
    before = len(cluster.watched)
    # the last to arrive: what had been dropped before anybody waited came again after the others
    newest = next(reversed(outbox._outcomes)) - 1
    assert jobs[newest].result(0) == text(newest)
    assert len(cluster.watched) == before, "the newest are at hand"
    assert jobs[0].result(0) == text(0), "what was dropped comes back even for whoever only looks"
    assert jobs.results(30) == [text(number) for number in range(200)]
    assert {job.state for job in jobs.as_ended(30)} == {"succeeded"}
    assert jobs[1].wait(0) is JobState.SUCCEEDED
    assert len(cluster.watched) > before


def test_futures_end_though_their_outcomes_are_dropped(client: Client) -> None:
    client._outbox._kept_bytes = 1
    with KosExecutor(client) as executor:
        good = [executor.submit(text, number) for number in range(50)]
        bad = [executor.submit(broken, number) for number in range(50)]
        assert [future.result(30) for future in good] == [text(number) for number in range(50)]
        for number, future in enumerate(bad):
            with pytest.raises(ValueError, match=text(number)) as caught:
                future.result(30)
            assert isinstance(caught.value.__cause__, JobFailed)


def test_an_outcome_before_the_answer_is_not_dropped(cluster: FakeCluster) -> None:
    """A scheduler that is faster than its own answer: what ended meanwhile is kept until the answer is here."""
    with cluster.client() as client:
        outbox = client._outbox
        outbox._kept_bytes = 1
        number = JobKey(7)
        some = Outcomes(
            number=1, epoch=1, keys=(number, JobKey(8)), states=(10, 10), reasons=(0, 0), results=(b"", b""), errors=()
        )
        with outbox.asking():
            outbox._take(some)
            outbox.expect([number], 1)
            assert outbox.known(number) is not None
            assert number not in outbox._waiting
        assert not outbox._early


def test_many_wait_for_one(cluster: FakeCluster, client: Client) -> None:
    cluster.running = False
    job = client.submit(text, 1)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(job.result(30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    cluster.run_all()
    for thread in threads:
        thread.join(30)
    assert found == [text(1)] * 8
    assert not client._outbox._collected


def test_whoever_begins_to_wait_while_the_scheduler_restarts_is_heard_when_it_is_back(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of jobs that another client has handed over, nothing is known here: the scheduler has to be told."""
    job = client.submit(text, 1)
    assert job.result(30) == text(1)
    real, away = cluster.watch, [True, True]

    def restarting(session: str, keys: list[int]) -> int:
        if away:
            away.pop()
            raise Away("the scheduler restarts")
        return real(session, keys)

    monkeypatch.setattr(cluster, "watch", restarting)
    with cluster.client() as other:
        assert other.job(job.id).wait(30) is JobState.SUCCEEDED
    assert not away
