"""A run on a real cluster, decided again from its journal, and rehearsed as a workload."""

from dataclasses import replace
from pathlib import Path

import climbing
import ganged
import proof
import pytest
import ray

from kos_ray.journal.codec import Frame
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.job import AttemptEnd
from kos_ray.rehearsal.again import rehearse_frames
from kos_ray.rehearsal.cluster import read_cluster
from kos_ray.rehearsal.journal import read_frames
from kos_ray.rehearsal.read import read_policy, read_workload
from kos_ray.rehearsal.report import report_of
from kos_ray.rehearsal.world import World
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER
from tests.ray.conftest import CODE, NODE_CPUS, KosCluster, wait_until

pytestmark = pytest.mark.ray
ALL_CPUS = 3 * NODE_CPUS
SMALL = 200


def work(kos: KosCluster, folder: Path) -> None:
    """Bands, preemption with checkpoints, retries, dependencies, a gang, a cancellation, and a scheduler that dies."""
    client = kos.client
    low = [
        client.submit(climbing.climb, str(folder), f"low{i}", code=CODE, priority="background", preemption="checkpoint")
        for i in range(ALL_CPUS)
    ]
    wait_until(lambda: all((folder / f"low{i}.steps").exists() for i in range(ALL_CPUS)))
    urgent = [{"cpu": NODE_CPUS}, {"cpu": 1}]
    for number, resources in enumerate(urgent):
        name = f"urgent{number}"
        climb = client.submit(climbing.urgent, str(folder), name, code=CODE, priority="critical", resources=resources)
        climb.result(60)
    ray.kill(ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE), no_restart=False)
    gang = client.map(ganged.member, [(str(folder), i) for i in range(4)], code=CODE, gang=4)
    own = folder / "fails"
    own.mkdir()
    failing = client.submit(proof.fail, 2, str(own), code=CODE, retry=3, backoff={"first": 0})
    after = client.submit(proof.length, code=CODE, after=[failing.id])
    unlucky = client.submit(proof.length, code=CODE, after={"not_ok": failing.id})
    idle = client.submit(proof.length, code=CODE, resources={"cpu": 64})
    small = client.map(proof.small, [(str(folder), i) for i in range(SMALL)], code=CODE, priority="idle")
    idle.cancel()
    (folder / "release").touch()
    for job in low:
        job.result(120)
    gang.results(60)
    small.results(60)
    after.result(60)
    wait_until(lambda: client.get(unlucky.id).state == "skipped")


def failed(frame: Frame) -> Frame:
    """The first end in it is another one."""
    number = next(i for i, event in enumerate(frame.events) if isinstance(event, e.AttemptsEnded))
    event = frame.events[number]
    assert isinstance(event, e.AttemptsEnded)
    other = replace(event, ends=(int(AttemptEnd.FAILED), *event.ends[1:]))
    return replace(frame, events=(*frame.events[:number], other, *frame.events[number + 1 :]))


def test_a_real_run_is_decided_again_as_it_was(kos: KosCluster, tmp_path: Path) -> None:
    work(kos, tmp_path)
    frames = list(read_frames(kos.state_dir))
    kinds = {type(one) for frame in frames for one in frame.decisions}
    assert kinds >= {d.Launch, d.Finish, d.MakeReady, d.Evict, d.StartGang, d.ResizeSlots}
    assert len({frame.epoch for frame in frames}) == 2
    found = rehearse_frames(frames)
    assert found.difference is None, found.difference
    assert found.frames == len(frames) > 20

    ends = [
        number
        for number, frame in enumerate(frames)
        if any(isinstance(one, e.AttemptsEnded) and one.ends[0] == AttemptEnd.SUCCEEDED for one in frame.events)
    ]
    at = ends[len(ends) // 2]
    flipped = [failed(frame) if number == at else frame for number, frame in enumerate(frames)]
    other = rehearse_frames(flipped).difference
    assert other is not None
    assert other.first_seq == frames[at].first_seq
    assert "Finish(" in other.recorded

    # last night, under the policy in force and under another one
    path = str(kos.state_dir)
    jobs = read_workload(path)
    assert sum(job.members for job in jobs) == ALL_CPUS + 2 + 4 + 2 + SMALL
    for policy in (path, "scheduler_mode=fifo preemption=false"):
        report = report_of(World(read_cluster(path), jobs, read_policy(policy)[0], check=True).run())
        assert (report.unfinished, report.nodes) == (0, 3)

    learnt = {kind.type: kind for kind in kos.client.learnt() if kind.resources is None}
    assert learnt["small"].runs >= 8
    assert 0 < learnt["small"].low_us <= learnt["small"].mid_us <= learnt["small"].high_us
