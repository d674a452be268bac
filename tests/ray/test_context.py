"""What a job says and asks while it runs, on a real cluster."""

import os
import platform
import signal
from pathlib import Path

import pytest
import ray
import said

from kos_ray import __version__
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.verify import verify
from kos_ray.observe.graph import Graph, connected, job_graph, to_ascii
from kos_ray.observe.health import node_versions
from kos_ray.observe.tables import job_table
from tests.ray.conftest import CODE, KosCluster, wait_until
from tests.ray.test_deaths import scheduler_pid

pytestmark = pytest.mark.ray


def test_progress_is_seen_while_the_job_runs(kos: KosCluster, tmp_path: Path) -> None:
    """The view, the list and whoever watches have it before the job ends."""
    job = kos.client.submit(said.half_way, str(tmp_path), name="half-way", code=CODE)
    seen = next(view for views in kos.client.watch(["half-way"], 120) for view in views if view.progress is not None)
    assert (seen.progress, seen.progress_text) == (0.5, "epoch 5 of 10")
    assert job.status.progress == 0.5
    assert any("50 %: epoch 5 of 10" in row for row in job_table(kos.client.jobs(), 0, 10_000).rows)
    wait_until(lambda: job.state == "running")
    (tmp_path / "seen").touch()
    assert job.result(60) == "done"


@pytest.mark.parametrize("how", ["raise", "crash"])
def test_the_next_attempt_goes_on_from_the_last_checkpoint(kos: KosCluster, tmp_path: Path, how: str) -> None:
    """After an error of its code, and after its process was killed."""
    (tmp_path / "fail").touch()
    job = kos.client.submit(said.in_steps, str(tmp_path), how, retry=1, backoff={"first": 0}, code=CODE)
    assert job.result(120) == [1, 1, 2]
    assert [attempt.end for attempt in job.history()] == ["failed" if how == "raise" else "crashed", "succeeded"]


def test_a_checkpoint_outlives_the_scheduler(kos: KosCluster, tmp_path: Path) -> None:
    """It is saved under one scheduler, and handed to the next attempt by another one."""
    job = kos.client.submit(said.in_steps, str(tmp_path), "raise", retry=1, backoff={"first": 0}, code=CODE)
    wait_until((tmp_path / "saved").exists)
    pid, epoch = scheduler_pid()
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "fail").touch()
    *saved, went_on = job.result(120)
    assert saved == [1, 1], "what the first attempt had saved"
    assert went_on in (2, 3), "one that is sent to an agent before that has greeted is not delivered, and not charged"
    assert scheduler_pid()[1] == epoch + 1
    assert JournalReader(kos.state_dir).checkpoints([job._key]) == {}, "a job that is over needs none"
    report = verify(kos.state_dir)
    assert report.good, str(report)


def test_a_job_that_is_paused_saves_and_goes_on(kos: KosCluster, tmp_path: Path) -> None:
    """Asked to stop, it saves, and returns within its grace; resumed, it has what it saved."""
    job = kos.client.submit(said.in_steps, str(tmp_path), "stop", code=CODE)
    wait_until((tmp_path / "saved").exists)
    wait_until(lambda: job.state == "running")
    assert kos.client.pause([job.id]) == 1
    wait_until(lambda: job.state == "held")
    assert [attempt.end for attempt in job.history()] == ["stopped"]
    kos.client.resume([job.id])
    assert job.result(120) == ["stopped", "here", 2]


def test_children_are_made_once_though_their_parent_is_retried(kos: KosCluster, tmp_path: Path) -> None:
    """Both attempts make the same four calls; each child runs once, knows its parent, and hands its result over."""
    job = kos.client.submit(said.parent, str(tmp_path), retry=1, backoff={"first": 0}, code=CODE, name="parent")
    ids, summed = job.result(120)
    assert summed == 0 + 1 + 4
    assert [attempt.end for attempt in job.history()] == ["failed", "succeeded"]
    traces = [path.read_text().split() for path in sorted(tmp_path.glob("square-*"))]
    assert traces == [[child] for child in ids[:3]], "each was entered once, under the id that the parent was told"
    children = [view for view in kos.client.jobs() if view.parent == job.id]
    assert sorted(view.id for view in children) == sorted(ids)
    last = kos.client.get("total")
    assert (last.parent, last.tags, {parent for parent, _ in last.after}) == (job.id, ("sum",), set(ids[:3]))
    drawn = to_ascii(connected_graph(kos, job.id))
    assert drawn.count("parent") >= 1
    assert "(submits)" in drawn


def connected_graph(kos: KosCluster, ref: str) -> Graph:
    views = kos.client.jobs()
    return job_graph(connected(views, ref))


def test_nodes_tell_what_they_run(kos: KosCluster) -> None:
    """Every node has the versions of its agent, and the doctor finds them to be the same."""
    nodes = [node for node in kos.client.nodes() if node.alive]
    expected = (("kos_ray", __version__), ("Python", platform.python_version()), ("Ray", ray.__version__))
    assert [node.versions for node in nodes] == [expected] * len(nodes)
    assert [finding.level for finding in node_versions(nodes, __version__)] == ["ok"] * len(nodes)
