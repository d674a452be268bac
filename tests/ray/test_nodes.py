"""Where jobs go on a real cluster: labels, neighbours, and nodes on which nothing starts, or which are emptied."""

from collections.abc import Iterator
from pathlib import Path

import climbing
import pytest

from kos_ray.client import Job
from tests.ray.conftest import CODE, NAMED_NODES, NODE_CPUS, KosCluster, wait_until

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def _open_again(kos: KosCluster) -> Iterator[None]:
    yield
    kos.client.mark_nodes(NAMED_NODES, cordoned=False, draining=False, note="", labels={"disk": ""})
    wait_until(lambda: all(node.slots == 0 for node in kos.client.node_standings()))


def node_of(kos: KosCluster, job: Job) -> str:
    """The name of the node on which a job's last attempt was."""
    names = {node.id: node.name for node in kos.client.nodes()}
    return names[kos.client.get(job.id).node]


def test_labels_of_ray_and_of_people_and_neighbours(kos: KosCluster) -> None:
    client = kos.client
    for name in NAMED_NODES:
        job = client.submit(len, "abc", where={"labels": {"zone": [f"zone-{name}", "elsewhere"]}})
        assert (job.result(60), node_of(kos, job)) == (3, name)
    fast = client.submit(len, "a", where={"labels": {"disk": "ssd"}})
    wait_until(lambda: client.get(fast.id).reason == "no_node_matches")
    client.mark_nodes(["west"], labels={"disk": "ssd"})
    assert (fast.result(60), node_of(kos, fast)) == (1, "west")
    apart = client.map(abs, [-1, -2, -3], tags=["apart"], where={"apart": "tag:apart"}, resources={"cpu": 1})
    assert apart.results(60) == [1, 2, 3]


def test_nothing_starts_on_a_cordoned_node(kos: KosCluster) -> None:
    client = kos.client
    client.mark_nodes(["east"], cordoned=True, note="its fan is loud")
    waits = client.submit(len, "ab", where={"nodes": "east"})
    wait_until(lambda: client.get(waits.id).reason == "cordoned")
    found = client.explain(waits.id)
    assert found is not None
    said = {verdict.node: verdict.lacks for verdict in found.nodes}
    assert said["east"].startswith("cordoned by ")
    assert said["east"].endswith(": its fan is loud")
    assert said["west"] == "not one of east"
    elsewhere = client.map(len, ["x"] * (4 * NODE_CPUS), resources={"cpu": 1})
    assert elsewhere.results(60) == [1] * (4 * NODE_CPUS)
    assert "east" not in {node_of(kos, job) for job in elsewhere}
    client.mark_nodes(["east"], cordoned=False)
    assert (waits.result(60), node_of(kos, waits)) == (2, "east")


def test_a_node_is_emptied_and_what_ran_there_goes_on_elsewhere(kos: KosCluster, tmp_path: Path) -> None:
    client = kos.client
    job = client.submit(
        climbing.climb,
        *(str(tmp_path), "climber"),
        code=CODE,
        preemption="checkpoint",
        grace="20s",
        where={"labels": {"zone": True}, "prefer": {"labels": {"zone": "zone-east"}}},
    )
    log = tmp_path / "climber.steps"
    wait_until(lambda: log.exists() and log.read_text().count("saved") > 2)
    assert node_of(kos, job) == "east"
    client.mark_nodes(["east"], cordoned=True, draining=True)
    wait_until(lambda: {node.name: node.state for node in client.node_standings()}["east"] == "drained")
    wait_until(lambda: client.get(job.id).state == "running")
    assert node_of(kos, job) == "west"
    (tmp_path / "release").touch()
    assert job.result(60) > 2
    assert [attempt.end for attempt in job.history()] == ["stopped", "succeeded"]


def test_windows_are_kept(kos: KosCluster) -> None:
    client = kos.client
    client.windows(node="west", text="daily 00:00-00:01 UTC\ndaily 00:01-00:02 UTC")
    try:
        long = client.submit(len, "abcd", where={"nodes": "west"}, run_time="3m")
        wait_until(lambda: client.get(long.id).reason == "window")
        short = client.submit(len, "abcde", where={"nodes": ["east", "west"]}, run_time="3m")
        assert (short.result(60), node_of(kos, short)) == (5, "east")
    finally:
        client.windows(node="west", text="")
    assert (long.result(60), node_of(kos, long)) == (4, "west")
