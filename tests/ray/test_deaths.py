"""The scheduler killed in the middle, nodes that come and go."""

import os
import signal
from pathlib import Path

import proof
import pytest
import ray

from kos_ray.journal.reader import JournalReader
from kos_ray.journal.verify import verify
from kos_ray.model.job import JobState
from kos_ray.model.payload import open_payload
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER
from tests.ray.conftest import CODE, NODE_CPUS, KosCluster, proofs, wait_until

pytestmark = pytest.mark.ray

ITEMS = 600


def scheduler_pid() -> tuple[int, int]:
    """Process and epoch of the scheduler, once it answers."""
    found: dict[str, int] = {}

    def answers() -> bool:
        try:
            scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
            found.update(ray.get(scheduler.greet.remote(), timeout=5))
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return False
        return True

    wait_until(answers)
    return found["pid"], found["epoch"]


def test_scheduler_killed_three_times(kos: KosCluster, tmp_path: Path) -> None:
    """Running work is undisturbed, nothing acknowledged is lost, nothing runs twice, every result is on disk."""
    first_epoch = scheduler_pid()[1]
    array = kos.client.map(proof.short_sleep, [(str(tmp_path), i) for i in range(ITEMS)], code=CODE)
    for kill in (1, 2, 3):
        wait_until(lambda at=kill * ITEMS // 5: len(list(tmp_path.glob("*.json"))) >= at)
        pid, epoch = scheduler_pid()
        assert epoch == first_epoch + kill - 1
        os.kill(pid, signal.SIGKILL)
    assert array.results(180) == [i * i for i in range(ITEMS)]
    assert scheduler_pid()[1] == first_epoch + 3

    records = proofs(tmp_path)
    assert sorted(int(record["name"]) for record in records) == list(range(ITEMS)), "each item ran exactly once"
    reader = JournalReader(kos.state_dir)
    keys = [job._key for job in array]
    states = reader.states(keys)
    assert set(states.values()) == {JobState.SUCCEEDED}
    import pickle

    stored = reader.results(keys)
    values = [open_payload(stored[key]) for key in keys]
    assert [pickle.loads(value) for value in values if isinstance(value, bytes)] == [i * i for i in range(ITEMS)]
    report = verify(kos.state_dir)
    assert not report.damage
    assert not report.differences


def test_nodes_come_and_go(kos: KosCluster, tmp_path: Path) -> None:
    """A node that joins gets work; one that is killed loses its work to the others."""
    node = kos.cluster.add_node(num_cpus=NODE_CPUS)
    wait_until(lambda: kos.alive_nodes() == 4)
    count = 4 * NODE_CPUS
    jobs = [kos.client.submit(proof.hold, str(tmp_path), str(i), code=CODE) for i in range(count)]
    wait_until(lambda: len(proofs(tmp_path)) == count)
    lost = {record["name"] for record in proofs(tmp_path) if record["node"] == node.node_id}
    assert len(lost) == NODE_CPUS
    kos.cluster.remove_node(node, allow_graceful=False)
    wait_until(lambda: kos.alive_nodes() == 3)
    (tmp_path / "release").touch()
    assert [job.result(120) for job in jobs] == [str(i) for i in range(count)]
    for job in jobs:
        ends = [attempt.end for attempt in job.history()]
        assert ends == (["lost", "succeeded"] if job.result() in lost else ["succeeded"])
