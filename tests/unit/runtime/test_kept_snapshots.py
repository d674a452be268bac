"""Snapshots of agents on disk: those that are listed can be restored, whatever was removed or died meanwhile."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_compaction import Cluster, compact

from kos_ray.engine.inbox import AgentWish
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.verify import verify
from kos_ray.model import failpoints
from kos_ray.model.agents import Agent, AgentsSaid
from kos_ray.model.events import AttemptsEntered, CheckpointsStored
from kos_ray.model.ids import NodeId
from kos_ray.model.job import AttemptEnd, Carries, Demands, Eviction, Spec
from kos_ray.model.payload import BlobRef, open_payload, referring
from kos_ray.model.resources import Resources
from kos_ray.runtime import compaction
from tests.unit.engine.engine_build import ended

DAY_US = 86_400_000_000
SPEC = Spec(
    entry="module:Counter",
    resources=Resources.of({"CPU": 1}),
    carries=Carries(name="counter"),
    demands=Demands(agent=True),
    eviction=Eviction.CHECKPOINT,
)
AGENT = Agent(name="counter", spec=SPEC, methods=("add",), snapshots_kept=2)
LATER = 1e12


class Keeping(Cluster):
    """A cluster with an agent whose states are blobs."""

    def __init__(self, state_dir: Path, day: float = 1) -> None:
        self.sent: list[Any] = []
        super().__init__(state_dir, day)
        self.store = FileBlobStore(state_dir / "blobs", 1 << 20)

    def send(self, node: NodeId, orders: Any) -> None:
        self.sent.append(orders)

    def wish(self, verb: str, agent: Agent | None = None, **fields: Any) -> Any:
        request = f"w{self.journal.last_seq}"
        self.engine.wish(AgentWish(request, verb, AGENT.key, agent, **fields), self.answers.append)
        self.tick()
        return self.answers[-1]

    @property
    def lineage(self) -> Any:
        return self.engine.state.agents.by_key[AGENT.key].lineage

    @property
    def carrier(self) -> Any:
        return self.engine.state.jobs[self.engine.state.agents.by_key[AGENT.key].job]

    def begin(self) -> None:
        self.wish("start", AGENT)
        job = self.carrier
        node, keys, attempts = NodeId("n"), (job.key,), (job.attempt,)
        self.engine.post(AttemptsEntered(node=node, keys=keys, attempts=attempts, entered_us=(self.time_us,)))
        self.engine.post(AgentsSaid(node=node, keys=keys, attempts=attempts, ready=(True,)))
        self.tick()

    def save(self, text: str) -> BlobRef:
        ref, job = self.store.put([text.encode()]), self.carrier
        stored = CheckpointsStored(
            node=NodeId("n"),
            keys=(job.key,),
            attempts=(job.attempt,),
            numbers=(self.journal.last_seq,),
            payloads=(referring(ref),),
            at_us=(self.time_us,),
            whys=((0, "step"),),
        )
        self.engine.post(stored)
        self.tick()
        return ref

    def end_of_carrier(self) -> None:
        job = self.carrier
        self.engine.post(ended(job.key, job.attempt, AttemptEnd.STOPPED))
        self.tick()

    def restorable(self) -> list[str]:
        """What the listed snapshots hold, as a node would get it."""
        found = []
        for hash_ in self.lineage.kept:
            (payload,) = self.journal.snapshots({self.carrier.key: hash_}).values()
            ref = open_payload(payload)
            assert isinstance(ref, BlobRef)
            found.append(self.store.read(ref.hash).decode())
        return found


def test_those_that_are_kept_stay_and_what_falls_out_is_freed(tmp_path: Path) -> None:
    cluster = Keeping(tmp_path)
    cluster.begin()
    refs = []
    for day in range(3):
        cluster.time_us = (day + 2) * DAY_US
        refs.append(cluster.save(f"state {day}"))
    cluster.life(30)
    cluster.journal.close()
    assert compaction.sweep_blobs(tmp_path, LATER) == 1, "its frame is there, and nobody can go back to it"
    assert [cluster.store.has(ref.hash) for ref in refs] == [False, True, True]
    assert compact(tmp_path, 20) is not None
    compaction.sweep_blobs(tmp_path, LATER)
    again = Keeping(tmp_path, day=40)
    assert again.restorable() == ["state 1", "state 2"]
    assert verify(again.journal).differences == ()
    again.wish("rollback", snapshot=refs[1].hash[:8])
    again.end_of_carrier()
    *_, launch = [launch for orders in again.sent for launch in orders.launches]
    assert dict(launch.restored) == {0: referring(refs[1])}
    again.journal.close()


def test_with_the_life_of_the_agent_they_go(tmp_path: Path) -> None:
    cluster = Keeping(tmp_path)
    cluster.begin()
    ref = cluster.save("state")
    cluster.wish("stop")
    cluster.end_of_carrier()
    cluster.journal.close()
    assert compaction.sweep_blobs(tmp_path, LATER) == 1
    assert not cluster.store.has(ref.hash)


def _saves(state_dir: Path, point: str, nth: int) -> None:
    cluster = Keeping(state_dir)
    cluster.begin()
    cluster.save("first")
    left = [nth]

    def hook(reached: str) -> None:
        if reached == point:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.install(hook)
    cluster.save("second")
    cluster.save("third")


def _dies(state_dir: Path, point: str, nth: int) -> bool:
    """Save twice, in a process that is killed when it gets to a failpoint; whether it was."""
    child = os.fork()
    if not child:
        try:
            _saves(state_dir, point, nth)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(
    "point",
    [
        *("blobs.begun", "blobs.written", "blobs.named", "blobs.synced", "engine.before_step", "engine.before_append"),
        *("journal.before_begin", "journal.frame_written", "journal.before_commit", "journal.after_commit"),
        *("engine.after_append", "engine.before_dispatch", "engine.after_replies"),
    ],
)
def test_killed_anywhere_what_is_listed_can_be_restored(tmp_path: Path, point: str, nth: int) -> None:
    assert _dies(tmp_path, point, nth)
    cluster = Keeping(tmp_path, day=2)
    assert verify(cluster.journal).differences == ()
    saved = cluster.restorable()
    assert saved in (["first"], ["first", "second"], ["second", "third"])
    assert cluster.store.read(cluster.lineage.head).decode() == saved[-1]
    cluster.journal.close()
