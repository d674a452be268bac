"""What parties do together, on a real cluster: processes that are killed while they hold something."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import together

import kos_ray
from kos_ray.journal.verify import verify
from tests.ray.conftest import CODE, KosCluster, wait_until
from tests.ray.test_deaths import scheduler_pid

pytestmark = pytest.mark.ray

HOLDER = """
import sys, time
import kos_ray
with kos_ray.connect(sys.argv[1], start=False) as client, client.lock(sys.argv[2], ttl="2s") as held:
    print(held.fence, flush=True)
    time.sleep(600)
"""


def read(folder: Path, name: str) -> Any:
    path = folder / f"{name}.json"
    wait_until(path.exists)
    return json.loads(path.read_text())


def test_a_lock_goes_on_to_the_next_when_its_job_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    """At once, for its attempt has ended, though its lease would last a minute; and the next attempt waits in line."""
    job = kos.client.submit(together.holds, str(tmp_path), "of-job", code=CODE, retry=2)
    first = read(tmp_path, "held-1")
    with pytest.raises(kos_ray.LockTimeout, match=f"job {job.id}, attempt 1"):
        kos.client.lock("of-job", wait=0).acquire()
    os.kill(first["pid"], signal.SIGKILL)
    with kos.client.lock("of-job", wait="30s") as held:
        assert held.fence > first["fence"]
        (tmp_path / "release").touch()
    assert job.result(60) > held.fence
    assert kos.client.locks() == []


def test_a_killed_process_holds_it_until_its_lease_ends(kos: KosCluster, tmp_path: Path) -> None:
    """And a scheduler that dies meanwhile forgets neither who has it nor who waits."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kos.client.address, "of-process"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    fence = int(holder.stdout.readline())
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(kos.client.lock("of-process", ttl="5s").acquire()))
    waiter.start()
    wait_until(lambda: any(one["waiting"] for one in kos.client.locks()))
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    wait_until(lambda: any(one["waiting"] for one in kos.client.locks()))
    assert not found
    holder.kill()
    holder.wait()
    waiter.join(60)
    assert found[0].fence > fence
    assert kos.client.release_lock(found[0].ticket)


def test_a_deadlock_is_refused_by_name(kos: KosCluster) -> None:
    client = kos.client
    errors: list[str] = []

    def other() -> None:
        with client.lock("right"):
            there.wait(30)
            try:
                with client.lock("left", wait="30s"):
                    pass
            except kos_ray.Deadlock as error:
                errors.append(str(error))

    there = threading.Barrier(2)
    thread = threading.Thread(target=other)
    with client.lock("left"):
        thread.start()
        there.wait(30)
        try:
            with client.lock("right", wait="30s"):
                pass
        except kos_ray.Deadlock as error:
            errors.append(str(error))
    thread.join(30)
    assert len(errors) == 1
    assert "waits for left" in errors[0]
    assert "waits for right" in errors[0]


def test_a_message_comes_again_when_its_taker_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    """And a signal that was sent before anybody asked for it is there."""
    box = kos.client.mailbox("orders")
    assert box.put({"id": 7}, dedup="order-7")
    assert not box.put({"id": 7}, dedup="order-7")
    job = kos.client.submit(together.handles, str(tmp_path), "orders", code=CODE, retry=2)
    first = read(tmp_path, "taken-1")
    assert box.take() is None
    kos.client.signal("go", "now", job=job.id)
    os.kill(first["pid"], signal.SIGKILL)
    second = read(tmp_path, "taken-2")
    assert (second["id"], first["deliveries"], second["deliveries"]) == ("order-7", 1, 2)
    assert job.result(60) == "{'id': 7} now"
    assert box.peek() == []


def test_a_job_waits_for_approval_through_a_kill(kos: KosCluster) -> None:
    job = kos.client.submit(int, "5", approval={"ask": "Is five right?", "timeout": "1h"})
    wait_until(lambda: job.status.reason == "approval")
    os.kill(scheduler_pid()[0], signal.SIGKILL)
    (asked,) = kos.client.approvals()
    assert (asked["id"], asked["ask"]) == (job.id, "Is five right?")
    assert kos.client.explain(job.id).reason == "approval"
    assert kos.client.approve(job.id, note="it is") == 1
    assert job.result(60) == 5
    other = kos.client.submit(int, "6", approval="Is six right?")
    kos.client.reject(other.id, note="it is not")
    with pytest.raises(kos_ray.JobCancelled):
        other.result(60)
    assert other.status.reason == "rejected"


def test_a_barrier_names_the_party_that_was_killed(kos: KosCluster, tmp_path: Path) -> None:
    parties = [(str(tmp_path), name) for name in ("stays", "killed")]
    stays, killed = kos.client.map(together.meets, parties, code=CODE)
    found = read(tmp_path, "killed")
    os.kill(found["pid"], signal.SIGKILL)
    assert f"job {found['job']}, attempt 1 was lost" in stays.result(60)
    with pytest.raises(kos_ray.JobFailed):
        killed.result(60)
    assert kos.client.barriers() == []


def test_a_task_goes_to_the_lowest_bid_or_to_whom_an_arbiter_names(kos: KosCluster) -> None:
    prices = {"cheap": 2, "dear": 9, "idle": None}
    for name, price in prices.items():
        kos.client.register_agent(
            together.Bidder, name=name, args=(price,), code=CODE, roles=("bidder",), resources={"cpu": 0}
        )
    award = kos.client.negotiate("dig", role="bidder", deadline="60s", key="first")
    assert (award.winner, [bid.cost for bid in award.bids]) == ("cheap", [2, 9])
    assert award.declined == {"idle": "it declined"}
    assert award.result(60) == "dig for 2"
    again = kos.client.negotiate("dig", role="bidder", deadline="60s", key="first")
    assert again.job.id == award.job.id
    assert kos.client.agent("dear").sent_away() == 1
    chosen = kos.client.negotiate("dig", among=["cheap", "dear"], deadline="60s", arbiter="idle")
    assert chosen.winner == "dear"
    assert chosen.result(60) == "dig for 9"
    for name in prices:
        kos.client.stop_agent(name)


def test_what_was_said_is_in_the_journal(kos: KosCluster) -> None:
    report = verify(kos.state_dir)
    assert not report.damage
    assert not report.differences
