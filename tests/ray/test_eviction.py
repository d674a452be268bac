"""Work that is taken back on a real cluster: asked first, saved, freed, and gone on with where it stood."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import climbing
import pytest
import ray

from kos_ray.client import connect
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER
from kos_ray.spec.policies import parse_words
from tests.ray.conftest import CODE, NODE_CPUS, KosCluster, most_at_once, proofs, wait_until

pytestmark = pytest.mark.ray
ALL_CPUS = 3 * NODE_CPUS


def steps(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / f"{name}.steps"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_urgent_jobs_get_their_room_and_nothing_saved_is_lost(kos: KosCluster, tmp_path: Path) -> None:
    """All CPUs are held by jobs that save their state; an urgent one of two CPUs has two of them make room, often."""
    names = [f"low{i}" for i in range(ALL_CPUS)]
    low = [
        kos.client.submit(
            climbing.climb, str(tmp_path), name, code=CODE, priority="background", preemption="checkpoint"
        )
        for name in names
    ]
    wait_until(lambda: all(len(steps(tmp_path, name)) > 2 for name in names))
    for number in range(3):
        urgent = kos.client.submit(
            climbing.urgent,
            *(str(tmp_path), f"urgent{number}"),
            code=CODE,
            priority="critical",
            resources={"cpu": NODE_CPUS},
        )
        urgent.result(60)
        wait_until(lambda: sum(view.state == "running" for view in map(kos.client.get, (job.id for job in low))) == 6)
    (tmp_path / "release").touch()
    tops = [job.result(60) for job in low]

    evicted = [[attempt for attempt in job.history() if attempt.end == "stopped"] for job in low]
    assert sum(map(len, evicted)) == 3 * NODE_CPUS, "each urgent job had as many make room as it needed, and no more"
    for job, ends in zip(low, evicted, strict=True):
        assert [attempt.end for attempt in job.history()] == ["stopped"] * len(ends) + ["succeeded"]
    for name, top in zip(names, tops, strict=True):
        said = steps(tmp_path, name)
        saved = [line["step"] for line in said if line["word"] == "saved"]
        assert saved == list(range(1, top + 1)), "no step was lost, and none was made twice"
        for before, line in pairwise(said):
            assert line["word"] != "from" or line["step"] == before["step"], "it goes on from what it saved last"
    most = most_at_once([record for record in proofs(tmp_path) if "exit" in record])
    assert len(most) == 3
    assert max(most.values()) <= NODE_CPUS, "the victims were gone when the urgent job was entered"


def test_settings_act_while_it_runs_and_outlive_the_scheduler(kos: KosCluster, tmp_path: Path) -> None:
    """A limit holds for what is started from then on, is journaled, and is in force after a restart."""

    policy = kos.client.settings(parse_words(["limit={cpu: 1}"], "tight"))
    assert [found.name for found in policy.namespaces] == ["tight"]

    with connect(start=False, namespace="tight") as tight:
        jobs = [tight.submit(climbing.climb, str(tmp_path), f"t{i}", code=CODE) for i in range(2)]
        wait_until(lambda: bool(steps(tmp_path, "t0")))
        ray.kill(ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE), no_restart=False)
        assert tight.settings().namespaces == policy.namespaces
        assert tight.get(jobs[1].id).state == "ready"
        (tmp_path / "release").touch()
        for job in jobs:
            job.result(60)
    records = proofs(tmp_path)
    assert len(records) == 2
    assert records[0]["exit"] <= records[1]["entry"], "never more than its limit at once"
