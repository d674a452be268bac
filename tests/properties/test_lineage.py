"""An agent's life with saves, rollbacks and deaths of all kinds, against a model of what it goes on with."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.journal.verify import verify
from kos_ray.model.agent_snapshots import contents
from kos_ray.model.agents import LEGAL_PHASES, Phase
from kos_ray.model.errors import Refused
from kos_ray.model.events import CheckpointsStored
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.payload import inline
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from tests.unit.engine.agents_build import COUNTER, Keeper
from tests.unit.engine.engine_build import NODE, Hands

KEPT = 4
_SENT = (JobState.LAUNCHED, JobState.RUNNING, JobState.STOPPING)


class Model:
    """What is promised: which states are kept, and with which one the next life begins."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.parents: dict[bytes, bytes | None] = {}
        self.head: bytes | None = None
        self.target: bytes | None = None

    def save(self, state: bytes) -> None:
        if state in self.kept:
            self.kept.remove(state)
        else:
            self.parents[state] = self.head
        self.kept.append(state)
        self.head = state
        free = [one for one in self.kept if one not in (self.head, self.target)]
        for one in free[: max(0, len(self.kept) - KEPT)]:
            self.kept.remove(one)

    def begins_with(self) -> bytes | None:
        if self.target is not None:
            self.head, self.target = self.target, None
        return self.head


class Life(Keeper):
    """A keeper whose every launch is compared with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.launches = 0
        self.number = 0

    def send(self, node: Any, orders: Any) -> None:
        super().send(node, orders)
        for launch in orders.launches:
            if launch.kind.single_use:
                payload = dict(launch.restored).get(0)
                expected = self.model.begins_with()
                assert payload == (None if expected is None else inline(expected))
                self.launches += 1

    def save(self, state: bytes) -> None:
        job = self.carrier
        self.number += 1
        said: dict[str, Any] = {"keys": (job.key,), "attempts": (job.attempt,), "numbers": (self.number,)}
        self.model.save(state)
        self.engine.post(
            CheckpointsStored(node=NODE.id, payloads=(inline(state),), at_us=(1,), whys=((0, "step"),), **said)
        )
        self.tick()

    def agree(self) -> None:
        lineage = self.standing.lineage
        ids = {contents(inline(state))[0]: state for state in self.model.parents}
        assert [ids[hash_] for hash_ in lineage.kept] == self.model.kept
        assert ids.get(lineage.head) == self.model.head
        assert ids.get(lineage.target) == self.model.target
        for hash_, one in lineage.kept.items():
            assert ids.get(one.parent) == self.model.parents[ids[hash_]]
        rows = self.journal.connection.execute("SELECT hash FROM snapshots").fetchall()
        assert {hash_ for (hash_,) in rows} == set(lineage.kept)


WISHES = ("suspend", "resume", "restart", "start")
ENDS = (AttemptEnd.CRASHED, AttemptEnd.LOST, AttemptEnd.STOPPED, AttemptEnd.STOPPED)
STEPS = st.one_of(
    st.tuples(st.just("save"), st.integers(0, 6)),
    st.tuples(st.just("rollback"), st.integers(0, KEPT)),
    st.tuples(st.sampled_from(("ready", "ready", "later", *WISHES, *ENDS)), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=45))
def test_it_goes_on_with_what_it_saved_last_or_was_told_to_go_back_to(steps: list[Any]) -> None:
    life = Life()
    life.wish("start", replace(COUNTER, snapshots_kept=KEPT))
    before = life.phase
    for step, number in steps:
        job = life.carrier
        here = job.state in _SENT
        if step == "save" and here:
            life.save(b"state %d" % number)
        elif step == "rollback":
            _roll_back(life, number)
        elif step == "ready" and job.state in (JobState.LAUNCHED, JobState.RUNNING):
            life.say()
        elif step == "later":
            life.time_us += 30_000_000
            life.tick()
        elif isinstance(step, AttemptEnd) and here:
            life.end(step)
        elif step in WISHES:
            life.wish(step)
        now = life.phase
        assert now is before or now in LEGAL_PHASES[before], f"{before.name} to {now.name} by {step}"
        before = now
        life.agree()
    plain = state_to_plain(life.engine.state)["agents"]
    assert state_to_plain(state_from_plain(state_to_plain(life.engine.state)))["agents"] == plain
    assert state_to_plain(Hands(life.journal).engine.state)["agents"] == plain
    assert verify(life.journal).differences == ()


def _roll_back(life: Life, number: int) -> None:
    kept = life.model.kept
    if number >= len(kept):
        assert isinstance(life.wish("rollback", snapshot="no such"), Refused)
        return
    state, was = kept[number], life.phase
    life.model.target = state  # a frame may hold the launch with it
    life.wish("rollback", snapshot=contents(inline(state))[0])
    if was in (Phase.SUSPENDED, Phase.SLEEPING, Phase.CRASHED):
        assert life.phase is was
    elif was is Phase.FAILED:
        assert life.phase is not Phase.FAILED, "it tries again"
