"""Gangs under random events: all or nothing at every instant, evicted whole or not at all, and never stuck."""

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from kos_ray.model import decisions as d
from kos_ray.model.gang import GangMode, owner_of
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.scheduler.gangs import is_spare, needed
from kos_ray.scheduler.gangs import jobs as jobs_of
from kos_ray.scheduler.jobs import Gang
from tests.scenarios.language import Play

_POLICY = {"exempt_us": 0, "patience_us": 0, "aging_us": [0] * 6}
_ENDS = ("succeeded", "succeeded", "failed", "crashed", "stopped", "recalled", "undelivered", "not_admitted")
_RUNS = (JobState.LAUNCHED, JobState.RUNNING)


@dataclass(frozen=True)
class Move:
    """Something that happens; `which` chooses among what there is."""

    kind: str
    which: int
    words: str = ""


_SUBMIT = st.builds(
    lambda size, count, kind, band, rest: Move("submit", size * count, f"gang={size} {kind} band={band} {rest}"),
    st.integers(2, 4),
    st.integers(1, 2),
    st.sampled_from(
        (
            "",
            "",
            "quorum=2",
            "quorum=2 on_failure=compensate",
            "on_failure=abort",
            "on_failure=compensate",
            "effort=best",
        )
    ),
    st.integers(1, 4),
    st.sampled_from(
        ("cpu=1 single", "cpu=1", "cpu=2 single retries=1", "cpu=1 mem=1 single evict=cancel", "cpu=1 once")
    ),
)
_SHRINKING = st.builds(
    lambda size, least, band: Move("submit", size, f"gang={size} quorum={least} cpu=1 single band={band} evict=shrink"),
    st.integers(2, 5),
    st.integers(1, 2),
    st.integers(2, 5),
)
_SINGLE = st.builds(
    lambda band, cpu: Move("submit", 1, f"cpu={cpu} band={band} single"), st.integers(0, 5), st.integers(1, 3)
)
_OTHER = st.builds(
    Move,
    st.sampled_from(
        ("node", "node", "end", "end", "end", "enter", "lost", "cancel", "pause", "hold", "release", "wait")
    ),
    st.integers(0, 40),
    st.sampled_from(_ENDS),
)
_MOVES = st.lists(st.one_of(_SUBMIT, _SHRINKING, _SINGLE, _OTHER, _OTHER), min_size=6, max_size=40)


class Life:
    """A cluster with gangs, one thing at a time."""

    def __init__(self) -> None:
        self.play = Play(_POLICY)
        self.count = 0

    def do(self, move: Move) -> None:
        line = getattr(self, f"_{move.kind}", self._of_job)(move)
        if line:
            self.check(self.step(line))

    def step(self, *lines: str) -> list[Any]:
        """As `Play.do`, with decisions as they are."""
        decisions: list[Any] = []
        play = self.play
        told, play.tell = play.tell, decisions.append  # type: ignore[method-assign, assignment]
        try:
            play.do(list(lines))
        finally:
            play.tell = told  # type: ignore[method-assign]
        return decisions

    def _submit(self, move: Move) -> str:
        self.count += 1
        return f"submit j{self.count} {f'x{move.which}' if move.which > 1 else ''} {move.words}"

    def _node(self, move: Move) -> str:
        self.count += 1
        return f"node n{self.count} cpu={1 + move.which % 4} mem=2"

    def _lost(self, move: Move) -> str:
        nodes = sorted(self.play.state.nodes)
        return f"lost {nodes[move.which % len(nodes)]}" if nodes else ""

    def _wait(self, move: Move) -> str:
        return f"wait {1 + move.which * 50}ms"

    def _of_job(self, move: Move) -> str:
        jobs = list(self.play.state.jobs.values())
        if move.kind in ("end", "enter"):
            states = (JobState.LAUNCHED,) if move.kind == "enter" else (*_RUNS, JobState.STOPPING)
            jobs = [job for job in jobs if job.state in states]
        if not jobs:
            return ""
        name = self.play.name(jobs[move.which % len(jobs)].key)
        return f"{move.kind} {name}" + (f" {move.words}" if move.kind == "end" else "")

    # --- what must hold

    def check(self, decisions: list[Any]) -> None:
        state = self.play.state
        for gang in state.gangs.values():
            running = {key for key in gang.live if state.jobs[key].state in _RUNS}
            if gang.mode is GangMode.ALL:
                assert running in (set(), set(gang.live)), f"{gang.name}: {sorted(running)} of {sorted(gang.live)} run"
            assert gang.mode is GangMode.BEST_EFFORT or not running or len(running) >= needed(gang)
            self._check_shares(gang, running)
        for decision in decisions:
            if isinstance(decision, d.StartGang):
                event("a gang started")
            elif isinstance(decision, d.Evict):
                self._check_eviction(decision, decisions)
            elif isinstance(decision, d.StopGang):
                event("a gang stopped")

    def _check_eviction(self, decision: d.Evict, decisions: list[Any]) -> None:
        """A gang is evicted whole, or so many are left as it needs."""
        state = self.play.state
        asked = {key for found in decisions if isinstance(found, d.Evict) for key in found.keys}
        for key in decision.keys:
            gang = state.gang_of.get(key)
            if gang is None or gang.mode is GangMode.BEST_EFFORT:
                continue
            event("members of a gang were evicted")
            left = [other for other in gang.live if state.jobs[other].state in _RUNS]
            assert not left or len(left) >= needed(gang), f"{gang.name}: {sorted(asked)} asked, {left} left"

            if state.jobs[key].entry.shrinks:
                event("a gang has shrunk" if left else "all of a gang that shrinks went")
        assert not is_spare(state, state.jobs[decision.wanted_by])
        started = {key for found in decisions if isinstance(found, d.Launch) for key in found.keys}
        self._check_order(decision, asked, started)

    def _check_order(self, decision: d.Evict, asked: set[JobKey], started: set[JobKey]) -> None:
        """Nobody gives way beside a member, just as large, by which a gang could have shrunk instead."""
        state = self.play.state
        band, most = state.jobs[decision.wanted_by].job_class.band, state.policy.evictions_max
        alone = [state.jobs[key] for key in decision.keys if key not in state.gang_of]
        for gang in state.gangs.values():
            before = [job for job in jobs_of(state, gang) if job.state in _RUNS or job.key in asked]
            known = gang.going and not any(job.recall_asked or job.key in started for job in before)
            if not known or any(job.evictions >= most or not job.entry.shrinks for job in before):
                continue
            for spare in before[needed(gang) :]:
                for victim in alone if spare.key not in asked and spare.job_class.band > band else ():
                    event("somebody gave way though a gang could shrink elsewhere")
                    assert (victim.node, victim.kind.resources) != (spare.node, spare.kind.resources)

    def _check_shares(self, gang: Gang, running: set[JobKey]) -> None:
        """The share of whoever is away of a gang that shrinks is done by those that run, or will be by itself."""
        ranks = {rank for rank, key in enumerate(gang.members) if key in running}
        for item in range(24) if ranks and gang.mode is GangMode.QUORUM else ():
            found = gang.members[owner_of(item, len(gang.members), gang.losses)]
            at_home = found not in gang.live or found in running
            assert at_home or not self.play.state.jobs[found].entry.shrinks, f"{gang.losses}, {ranks} run"

    def finish(self) -> None:
        """With room for all and nobody in the way, everything comes to its end: nobody is stuck."""
        self.check(self.step("node big cpu=64 mem=64"))
        for _ in range(60):
            state = self.play.state
            if not state.jobs:
                return
            held = [self.play.name(key) for key, job in state.jobs.items() if job.held]
            lines = [f"release {name}" for name in held]
            for job in state.jobs.values():
                if job.node is not None:
                    end = "stopped" if job.state is JobState.STOPPING else "succeeded"
                    lines.append(f"end {self.play.name(job.key)} {end}")
            self.check(self.step("wait 31s", *lines))
        raise AssertionError(f"stuck: {[(self.play.name(j.key), j.state.name) for j in self.play.state.jobs.values()]}")


@given(_MOVES)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_gangs(moves: list[Move]) -> None:
    life = Life()
    for move in moves:
        life.do(move)
    life.finish()
