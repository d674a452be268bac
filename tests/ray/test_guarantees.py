"""What is promised about running code, on a real cluster: one job for a key, and code that is entered at most once."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import proof
import pytest
import ray

from kos_ray.client import connect
from kos_ray.model.errors import JobFailed, Refused
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER
from kos_ray.spec.policies import parse_words
from tests.ray.conftest import CODE, KosCluster, proofs, wait_until

pytestmark = pytest.mark.ray


def test_exclusive_work_that_is_stopped_past_its_lease_is_ended_and_runs_again(kos: KosCluster, tmp_path: Path) -> None:
    """SIGSTOP: it makes no effect when it goes on, another attempt runs meanwhile, and nothing is charged."""
    kos.client.settings(parse_words(["lease=5s"]))
    try:
        job = kos.client.submit(proof.hold, str(tmp_path), "exclusive", guarantee="exactly_once", code=CODE)
        wait_until(lambda: len(proofs(tmp_path)) == 1)
        first = proofs(tmp_path)[0]["pid"]
        os.kill(first, signal.SIGSTOP)
        # leases of 30 s may have been granted before: the next attempt waits for their end
        wait_until(lambda: len(proofs(tmp_path)) >= 2, 120)
        with pytest.raises(ProcessLookupError):
            os.kill(first, signal.SIGCONT)
        (tmp_path / "release").touch()
        assert job.result(60) == "exclusive"
        ends = [attempt.end for attempt in job.history()]
        assert (set(ends[:-1]), ends[-1]) == ({"lost"}, "succeeded")
    finally:
        kos.client.settings(parse_words(["lease=30s"]))


KEYED = """
import sys, threading
import kos_ray as kos

address, folder, code = sys.argv[1:]
sys.path.insert(0, code)
import proof

def ask(found, index):
    found[index] = kos.connect(address, start=False).submit(proof.small, (folder, 9), idempotency_key="order-7").id

found = [""] * 16
threads = [threading.Thread(target=ask, args=(found, index)) for index in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*found)
"""


def test_sixty_four_submissions_of_one_key_are_one_job(kos: KosCluster, tmp_path: Path) -> None:
    """From four processes at once, while the scheduler is killed, after the job's end, and with another payload."""
    command = [sys.executable, "-c", KEYED, kos.client.address, str(tmp_path), str(CODE)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": CODE}
    drivers = [subprocess.Popen(command, **pipes) for _ in range(4)]
    wait_until(lambda: len(proofs(tmp_path)) == 1)
    scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
    os.kill(ray.get(scheduler.greet.remote())["pid"], signal.SIGKILL)
    ids = []
    for driver in drivers:
        out, err = driver.communicate(timeout=200)
        assert driver.returncode == 0, err
        ids += out.split()
    assert (len(ids), len(set(ids))) == (64, 1)
    again = kos.client.submit(proof.small, (str(tmp_path), 9), code=CODE, idempotency_key="order-7")
    assert (again.id, again.result(60)) == (ids[0], 81)
    assert len(proofs(tmp_path)) == 1, "it ran once"
    with pytest.raises(Refused, match=f"'order-7': job {ids[0]} has it .* choose another key"):
        kos.client.submit(proof.small, (str(tmp_path), 8), code=CODE, idempotency_key="order-7")


def test_threads_of_one_client_share_the_job_and_its_result(kos: KosCluster, tmp_path: Path) -> None:
    found: dict[int, Any] = {}

    def ask(index: int) -> None:
        with connect(start=False) as client:
            job = client.submit(proof.small, (str(tmp_path), 3), code=CODE, idempotency_key="order-8")
            found[index] = job.id, job.result(60)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert len(found) == 8
    assert len(set(found.values())) == 1
    assert [result for _, result in found.values()] == [9] * 8
    assert len(proofs(tmp_path)) == 1


def test_an_at_most_once_job_whose_worker_is_killed_is_lost(kos: KosCluster, tmp_path: Path) -> None:
    """It was entered once, by its own synced record, and is never entered again."""
    job = kos.client.submit(proof.hold, str(tmp_path), "once", code=CODE, guarantee="at_most_once")
    wait_until(lambda: len(proofs(tmp_path)) == 1)
    os.kill(proofs(tmp_path)[0]["pid"], signal.SIGKILL)
    with pytest.raises(JobFailed):
        job.result(60)
    view = kos.client.get(job.id)
    assert (view.state, [attempt.end for attempt in job.history()]) == ("lost", ["crashed"])
    (tmp_path / "release").touch()
    # whatever would still start has had its turn when a later job of the same kind is over
    assert kos.client.submit(proof.hold, str(tmp_path), "after", code=CODE).result(60) == "after"
    assert [record["name"] for record in proofs(tmp_path)] == ["once", "after"]


def test_what_is_recalled_from_a_queue_was_not_entered(kos: KosCluster, tmp_path: Path) -> None:
    """At-most-once jobs that stand behind long ones at a node are taken back, and run elsewhere: once each."""
    options: dict[str, Any] = {"code": CODE, "guarantee": "at_most_once"}
    warm = tmp_path / "warm"
    warm.mkdir()
    # short ones, so that attempts are queued ahead from now on
    kos.client.map(proof.small_or_hold, [(str(warm), number, False) for number in range(300)], **options).results(60)
    holding = range(0, 40, 10)  # four on three nodes of two CPUs: somewhere there are two, and nothing else can run
    items = [(str(tmp_path), number, number in holding) for number in range(300)]
    array = kos.client.map(proof.small_or_hold, items, **options)
    wait_until(lambda: len(proofs(tmp_path)) == 300)
    (tmp_path / "release").touch()
    assert array.results(60) == list(range(300))
    assert sorted(int(record["name"]) for record in proofs(tmp_path)) == list(range(300)), "each was entered once"
    ends = [attempt.end for job in array for attempt in job.history()]
    assert "recalled" in ends, "nothing was recalled: this shows nothing"
    assert ends.count("succeeded") == 300


def test_an_effect_happens_once_though_its_worker_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    """Killed before its effect, between that and its end, and not at all: one row, whose result comes back."""
    bank = tmp_path / "bank.db"
    with closing(sqlite3.connect(bank)) as connection:
        connection.execute("CREATE TABLE charges (job TEXT, attempt INTEGER)")
    options: dict[str, Any] = {"guarantee": "exactly_once", "retry": 2, "backoff": {"first": "10ms"}, "code": CODE}
    jobs = [kos.client.submit(proof.charge, str(bank), die, **options) for die in ("before", "after", "never")]
    assert [job.result(120) for job in jobs] == [2, 1, 1]
    with closing(sqlite3.connect(bank)) as connection:
        made = connection.execute("SELECT job, attempt FROM charges").fetchall()
    assert sorted(made) == sorted((job.id, attempt) for job, attempt in zip(jobs, (2, 1, 1), strict=True))
    assert [len(job.history()) for job in jobs] == [2, 2, 1]
