"""A hot standby in the place of a primary that is frozen and not dead: it wakes up, goes on, and nothing of it counts.

Frozen alone, its node agent ends it. Frozen with its whole machine, nobody can end it: the cluster takes it for lost.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from kos_ray.client import connect
from kos_ray.journal.verify import verify
from kos_ray.runtime import connect as clusters
from kos_ray.spec.policies import parse_words
from tests.ray.conftest import FAST, KosCluster, wait_until
from tests.ray.offices import Office

pytestmark = pytest.mark.ray

HEARTBEAT_TIMEOUT_S = 2.0
#: for a report and two decisions, on a machine with other work
SLACK_S = 5.0
#: a machine that answers nothing is lost after some seconds
CONFIG = {**FAST, "health_check_timeout_ms": 3_000, "health_check_failure_threshold": 2}


@pytest.fixture(scope="module")
def east_and_west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KosCluster, Any]]:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": CONFIG}
    )
    state_dir = tmp_path_factory.mktemp("state")
    try:
        east, _ = (cluster.add_node(num_cpus=2, labels={"kos/name": name}) for name in ("east", "west"))
        ray.init(address=cluster.address, namespace="kos_ray", log_to_driver=False)
        clusters.up(address=cluster.address, state_dir=state_dir)
        with connect(start=False) as client:
            found = KosCluster(cluster, client, state_dir)
            wait_until(lambda: found.alive_nodes() == 3)
            client.settings(parse_words(["heartbeat_interval=500ms"]))
            yield found, east
        clusters.down(address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def office(east_and_west: tuple[KosCluster, Any]) -> Iterator[Office]:
    found = Office(east_and_west[0])
    yield found
    found.close()


def hire_both(office: Office, primary: str, standby: str) -> None:
    """The primary on east, and the standby on west. They save their state by the clock."""
    both = {"heartbeat_timeout": f"{HEARTBEAT_TIMEOUT_S}s", "snapshot_every": 0, "snapshot_interval": "1s"}
    for name, node, said in ((primary, "east", {}), (standby, "west", {"standby": "hot"})):
        where = {"labels": {"kos/name": node}}
        office.hire(name, where=where, **both, **said)
        office.until(name, "running")
        assert office.client.get_agent(name)["node"] == node


def said(office: Office, kind: str, since: int = 0) -> list[Any]:
    """Records of the journal."""
    return [event for event in office.client.events(since, 10_000) if event.kind == kind]


def test_one_that_is_frozen_is_ended_and_the_standby_answers_within_its_heartbeat_timeout(office: Office) -> None:
    hire_both(office, "ann", "bob")
    clerks = office.client.role("clerk")
    name, pid = clerks.who()
    assert name == "ann"
    held = clerks.hold.submit(0.1)
    os.kill(pid, signal.SIGSTOP)
    frozen_us = time.time_ns() // 1_000
    meanwhile = [clerks.file.submit() for _ in range(5)]
    results = [job.result(60) for job in meanwhile]
    # what it had handled by then it may have told
    assert held.result(60)[0] in ("ann", "bob")
    assert {name for name, _ in results} == {"bob"}, "a delay, and no error"
    (over,) = said(office, "TakeOver")
    took_s = (over.at_us - frozen_us) / 1e6
    print(f"the standby took over {took_s:.2f} s after the primary was frozen")
    assert took_s < HEARTBEAT_TIMEOUT_S + SLACK_S
    wait_until(lambda: not psutil.pid_exists(pid))  # it was killed as it stood: there is nobody to wake up
    office.until("ann", "running")
    assert clerks.who()[0] == "bob", "the one before stands by"


def freeze(node: Any) -> tuple[psutil.Process, list[psutil.Process]]:
    """Stop all that runs on a node: its raylet, and what that has begun, the node agent among it."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    raylet.suspend()
    others = raylet.children(recursive=True)
    for process in others:
        process.suspend()
    return raylet, others


def test_one_that_wakes_up_with_its_machine_tries_and_is_refused(
    office: Office, east_and_west: tuple[KosCluster, Any], tmp_path: Path
) -> None:
    client = office.client
    hire_both(office, "ivy", "jon")
    clerks = client.role("clerk")
    name, pid = clerks.who()
    assert name == "ivy"
    letter = clerks.post.submit(str(tmp_path))
    wait_until((tmp_path / "ivy.begun").exists)
    carrier = client.get_agent("ivy")["job"]
    place = client.status().seq

    raylet, others = freeze(east_and_west[1])
    frozen_us = time.time_ns() // 1_000
    assert clerks.file()[0] == "jon", "a delay, and no error"
    (over,) = said(office, "TakeOver", place)
    print(f"the standby took over {(over.at_us - frozen_us) / 1e6:.2f} s after the machine was frozen")
    (tmp_path / "jon.try").touch()
    wait_until((tmp_path / "jon.said").exists)
    assert (tmp_path / "jon.said").read_text() == "taken"
    before = client.agent_snapshots("ivy")

    # it goes on alone at first: its node agent ends it as soon as it learns that the node is lost
    for step in ("try", "end"):
        (tmp_path / f"ivy.{step}").touch()
    (old,) = [process for process in others if process.pid == pid]
    old.resume()
    wait_until((tmp_path / "ivy.said").exists)
    told = (tmp_path / "ivy.said").read_text()
    assert told.startswith("refused: attempt 1 of job"), told
    wait_until((tmp_path / "ivy.saved").exists)
    assert old.is_running()
    for process in others:
        process.resume()

    def late(kind: str, key: int) -> bool:
        told = [dict(zip(one.detail["keys"], one.detail["attempts"], strict=True)) for one in said(office, kind, place)]
        return any(found.get(key) == 1 for found in told)

    wait_until(lambda: late("CheckpointsStored", carrier))
    wait_until(lambda: late("AttemptsEnded", client.get(letter.id).key))
    assert letter.status.state == "running", "its answer came, and the standby goes on"
    assert client.agent_snapshots("ivy") == before, "its save came, and is none"

    (tmp_path / "jon.end").touch()
    assert letter.result(60) == ("jon", 2)
    assert [attempt.end for attempt in letter.history()] == ["lost", "succeeded"]
    with closing(sqlite3.connect(tmp_path / "letters.db")) as letters:
        assert letters.execute("SELECT clerk, fence FROM letters").fetchall() == [("jon", 2)]

    raylet.resume()
    wait_until(lambda: not old.is_running())
    office.kos.cluster.add_node(num_cpus=2, labels={"kos/name": "east"})
    assert client.agent("ivy").file() == ("ivy", 1), "what it counted when nobody heard it is gone"


def test_the_journal_is_whole(east_and_west: tuple[KosCluster, Any]) -> None:
    report = verify(east_and_west[0].state_dir)
    assert not report.damage
    assert not report.differences
