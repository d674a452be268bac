"""Gangs on a real cluster: together or not at all, and what becomes of them when a member is lost."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import ganged
import pytest

from kos_ray.client import JobArray
from tests.ray.conftest import CODE, NODE_CPUS, KosCluster, wait_until

pytestmark = pytest.mark.ray
ALL_CPUS = 3 * NODE_CPUS


def start(kos: KosCluster, folder: Path, size: int, **options: Any) -> JobArray:
    """A gang whose members wait until the test lets them go."""
    return kos.client.map(ganged.member, [(str(folder), i) for i in range(size)], code=CODE, **options)


def notes(folder: Path, round_: int) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{round_}-*.json"))]


def states(kos: KosCluster, gang: JobArray) -> list[str]:
    return [kos.client.get(job.id).state for job in gang]


def test_a_gang_waits_until_all_of_it_fit(kos: KosCluster, tmp_path: Path) -> None:
    """Two of six CPUs would be enough for a part of it: nobody starts until four are free."""
    others = tmp_path / "others"
    others.mkdir()
    held = [start(kos, others, 1, gang=1) for _ in range(ALL_CPUS - 2)]
    wait_until(lambda: all(states(kos, job) == ["running"] for job in held))
    gang = start(kos, tmp_path, 4, gang=4)
    reason = kos.client.explain(gang[0].id)
    assert (reason.reason, reason.gang_fits, reason.gang_needs) == ("gang_no_room", 2, 4)
    (others / "release").touch()
    wait_until(lambda: len(notes(tmp_path, 1)) == 4)
    found = notes(tmp_path, 1)
    assert [(note["rank"], note["size"]) for note in found] == [(rank, 4) for rank in range(4)]
    (tmp_path / "release").touch()
    results = gang.results(60)
    assert sorted(item for result in results for item in result["share"]) == list(range(8))
    # as it was told at its entry: at its end, others may have ended already
    assert found[0]["nodes"].count("") == 0


def test_all_start_again_when_one_is_killed(kos: KosCluster, tmp_path: Path) -> None:
    """`on_failure: replace`: the second round has all of them, in new processes."""
    gang = start(kos, tmp_path, 4, gang=4, retry=1, backoff={"first": 0})
    wait_until(lambda: len(notes(tmp_path, 1)) == 4)
    wait_until(lambda: states(kos, gang) == ["running"] * 4)
    os.kill(notes(tmp_path, 1)[1]["pid"], signal.SIGKILL)
    wait_until(lambda: len(notes(tmp_path, 2)) == 4)
    assert {note["pid"] for note in notes(tmp_path, 1)}.isdisjoint(note["pid"] for note in notes(tmp_path, 2))
    (tmp_path / "release").touch()
    assert [result["round"] for result in gang.results(60)] == [2] * 4
    ends = [[attempt.end for attempt in job.history()] for job in gang]
    assert ends == [
        ["stopped", "succeeded"],
        ["crashed", "succeeded"],
        ["stopped", "succeeded"],
        ["stopped", "succeeded"],
    ]


def test_abort_ends_all_of_it(kos: KosCluster, tmp_path: Path) -> None:
    gang = start(kos, tmp_path, 3, gang={"size": 3, "on_failure": "abort"}, retry=3)
    wait_until(lambda: states(kos, gang) == ["running"] * 3)
    wait_until(lambda: len(notes(tmp_path, 1)) == 3)
    (tmp_path / "fail-1-2").touch()
    wait_until(lambda: states(kos, gang) == ["cancelled", "cancelled", "failed"])
    assert kos.client.get(gang[0].id).reason == "gang_ended"


def test_the_others_take_over_the_share_of_who_was_lost(kos: KosCluster, tmp_path: Path) -> None:
    """`on_failure: compensate`: they are told while they run, and go on in their processes."""
    gang = start(kos, tmp_path, 4, gang={"size": 4, "on_failure": "compensate"}, retry=3)
    wait_until(lambda: states(kos, gang) == ["running"] * 4)
    wait_until(lambda: len(notes(tmp_path, 1)) == 4)
    (tmp_path / "fail-1-1").touch()
    wait_until(lambda: states(kos, gang)[1] == "failed")
    assert states(kos, gang) == ["running", "failed", "running", "running"]
    wait_until(lambda: len(list(tmp_path.glob("lost-*.json"))) == 3)
    (tmp_path / "release").touch()
    results = [gang[rank].result(60) for rank in (0, 2, 3)]
    assert [result["lost"] for result in results] == [(1,)] * 3
    assert sorted(item for result in results for item in result["share"]) == list(range(8)), "nothing is left undone"
    assert len(list(tmp_path.glob("1-*.json"))) == 4, "nobody was started again"


def test_a_quorum_starts_and_the_others_join(kos: KosCluster, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    held = start(kos, others, 4, gang={"mode": "best_effort"})
    wait_until(lambda: states(kos, held) == ["running"] * 4)
    gang = start(kos, tmp_path, 3, gang={"min": 2})
    wait_until(lambda: len(notes(tmp_path, 1)) == 2)
    (others / "release").touch()
    wait_until(lambda: len(notes(tmp_path, 1)) == 3)
    assert "" not in notes(tmp_path, 1)[2]["nodes"]
    (tmp_path / "release").touch()
    gang.results(60)
