"""Plans of the command line on a real cluster: what is planned happens, and what is suggested starts a job."""

import json
from pathlib import Path

import pytest

from kos_ray.model.errors import PlanChanged
from tests.ray.conftest import NODE_CPUS, KosCluster, run, wait_until

#: microseconds by which what comes of a plan is late at most: processes take their time to start
_LATE_US = 6_000_000

pytestmark = pytest.mark.ray


def write(folder: Path, name: str, *seconds: float) -> str:
    """A document of jobs that take all of a node each, for so long as they declare."""
    jobs = [
        {"id": f"{name}{i}", "run": ["sleep", str(s)], "run_time": s, "resources": {"cpu": NODE_CPUS}}
        for i, s in enumerate(seconds)
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(jobs))
    return str(path)


def test_what_is_planned_happens(kos: KosCluster, tmp_path: Path) -> None:
    # the second job of before ends seconds before what else holds a node: both others after it run there, in turn
    before, after = write(tmp_path, "before", 12, 15, 20), write(tmp_path, "after", 9, 1, 1)
    run("submit", before)
    for number in range(3):
        wait_until(lambda number=number: kos.client.get(f"before{number}").state == "running")

    plan, outdated = run("plan", after), run("plan", write(tmp_path, "other", 5))
    assert {job["sure"] for job in plan["jobs"]} == {"exact"}
    assert {job["reason"] for job in plan["jobs"]} == {"no_room"}
    run("submit", after, "--if-plan", plan["hash"])
    with pytest.raises(PlanChanged, match="does not stand any more"):
        run("submit", str(tmp_path / "other.json"), "--if-plan", outdated["hash"])
    assert not kos.client.jobs(prefix="other")

    run("wait", *(job["job"] for job in plan["jobs"]))
    found = [kos.client.get(job["job"]) for job in plan["jobs"]]
    assert [view.node for view in found] == [job["node_id"] for job in plan["jobs"]]
    assert sorted(found, key=lambda view: view.entered_us) == found
    for job, view in zip(plan["jobs"], found, strict=True):
        assert 0 <= view.entered_us - job["start_us"] < _LATE_US
        assert 0 <= view.ended_us - job["end_us"] < _LATE_US + 1_000_000


def test_what_is_suggested_starts_a_job(kos: KosCluster, tmp_path: Path) -> None:
    run("submit", write(tmp_path, "long", 600, 600, 600))
    for number in range(3):
        wait_until(lambda number=number: kos.client.get(f"long{number}").state == "running")
    run("submit", write(tmp_path, "short", 0.1))
    suggested = {one["kind"]: one for one in run("explain", "short0")["suggestions"]}
    (end,) = suggested["end"]["end_names"]
    assert end.startswith("long")
    run("cancel", end)
    run("wait", "short0")
    run("cancel", *(name for name in ("long0", "long1", "long2") if name != end))
