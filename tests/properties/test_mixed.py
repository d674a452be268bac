"""All features at once under random events: invariants hold, what is remembered changes nothing, nobody is stuck."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.dependency import ended_as
from kos_ray.model.job import JobState
from kos_ray.model.policy import Policy
from kos_ray.model.reasons import Reason
from kos_ray.scheduler import invariants
from kos_ray.scheduler.explain import explain, why
from kos_ray.scheduler.machine import next_due_us, recover, step
from kos_ray.scheduler.sites import Sites, matches
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State
from tests.properties.test_gangs import Life, Move
from tests.properties.test_parking import forget
from tests.scenarios.language import Play, written

_BASE = {"exempt_us": 0, "patience_us": 0, "aging_us": [0] * 6, "licences": {"l": 2}}
_RATE = {"name": "r", "amount": 1, "per_us": 1_000_000, "burst": 3}
POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"claims_max": 1},
    {"claims_max": 0, "agents_max": 2},
    {"claims_max": 1, "rates": [_RATE], "slice_us": [0] + [2_000_000] * 5},
    {"discipline": "plugin", "plugin": "p", "claims_max": 1},
    {"model": "just_in_time", "claims_max": 1},
    {"model": "rotational"},
    {"model": "priority_tiering", "tier_period_us": 4_000_000},
    {"discipline": "fair_share", "strategy": "spread", "rates": [_RATE]},
    {"namespaces": [{"name": "team", "limit": "cpu=3"}], "claims_max": 1},
    {"namespaces": [{"name": "team", "guaranteed": "cpu=2"}, {"name": "default", "guaranteed": "cpu=2"}]},
    {"aging_us": [1_000_000] * 6, "discipline": "lifo", "exempt_us": 1_000_000, "claims_max": 1},
    {"preemption": 0, "claims_max": 1, "discipline": "deadline"},
    {"agents_max": 1, "agents_give_way": 0, "slots_per_node_max": 2, "claims_max": 1},
)
BANDS = tuple(range(6))
ROOM = ("cpu=1", "cpu=1", "cpu=2", "cpu=3", "cpu=1 gpu=1", "gpu=0.5", "cpu=1 mem=1")
GANG = ("", "", "gang", "gang", "gang quorum=2", "gang effort=best", "gang on_failure=abort")
WHERE = (
    *("",) * 6,
    *("on=zone:x", "on=!zone:x", "on=zone:x|y", "prefer=5*zone:x", "apart=tag:a tag=a", "apart=zone/tag:a tag=a"),
    *("near=tag:a tag=a", "near=tag:a", "tag=a", "apart=tag:b tag=a", "or=cpu:2", "gpu_memory=20 gpu=1", "not_node=n1"),
    *("battery=30", "strategy=spread", "strategy=fgd", "prefer_near=5*tag:a"),
)
DEMANDS = (
    *("",) * 6,
    *("licence=l:1", "licence=l:2", "rate=r:1", "rate=r:2", "key=k:1"),
    *("agent", "at_most=1", "singleton=s", "max_failures=1"),
)
REST = (
    *("", "", "single", "single", "run=1s", "run=5s timeout=9s"),
    *("deadline=3s run=1s", "retries=1", "once", "timeout=2s"),
)
EVICT = ("", "", "evict=checkpoint", "evict=never", "evict=cancel", "grace=1s")
SPACE = ("", "", "in=team", "in=team/a", "user=ann")
AFTER = ("", "", "", "", "ok", "any", "started", "not_ok")
OTHERS = (
    *("node", "node", "end", "end", "end", "end", "enter", "enter", "lost", "cancel", "pause", "hold", "release"),
    *("wait", "wait", "wait", "band", "policy", "cordon", "uncordon", "drain", "label", "open", "is"),
    *("advise", "disable"),
)
ENDS = ("succeeded", "succeeded", "failed", "crashed", "stopped", "recalled", "undelivered", "not_admitted")
#: what a job may wait for when everything is there that it could ask of others
_FOR_EVER = {Reason.NEAR, Reason.NEVER_FITS, Reason.NO_NODE_MATCHES, Reason.NO_SUCH_LICENCE}


class Twins(Play):
    """Three schedulers: one lives on, one remembers nothing that is derived, one folds. A copy decides the same."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self.twin = State()
        super().__init__(policy)

    def step(self, events: list[e.Event]) -> list[d.Decision]:
        attempts = {key: job.attempt for key, job in self.state.jobs.items()}
        forget(self.twin)
        copy = state_from_plain(state_to_plain(self.state))
        decisions = step(self.state, events, self.now_us)
        assert invariants.check(self.state) == []
        twins = step(self.twin, events, self.now_us)
        assert decisions == twins, "a twin that remembers nothing decides otherwise"
        assert decisions == step(copy, events, self.now_us), "a copy decides otherwise"
        recover(self.folded, events, decisions, self.now_us)
        assert invariants.check(self.folded) == []
        assert state_to_plain(self.folded)["jobs"] == state_to_plain(self.state)["jobs"], "folded otherwise"
        for decision in decisions:
            if isinstance(decision, d.Finish):
                self.finals.update(dict.fromkeys(decision.keys, decision.state))
                for key in decision.keys:
                    ended = ended_as(JobState(decision.state), decision.reason, attempts.get(key, 0))
                    self.ended_as[key] = int(ended)
        for job in self.state.jobs.values():
            explain(self.state, job, self.now_us)
        return decisions


class Mixed(Life):
    """A cluster of people who use everything."""

    def __init__(self, policy: int) -> None:
        self.play = Twins(_BASE | POLICIES[policy])
        self.count = 0
        self.arrays: list[str] = []

    def do(self, move: Move) -> None:
        if move.kind == "policy":
            found = written(Policy(), _BASE | POLICIES[move.which % len(POLICIES)])
            self.check(self.play.step([e.PolicyChanged(request_id="", policy=found)]))
        else:
            super().do(move)

    def _submit(self, move: Move) -> str:
        """`which` jobs, or so many gangs of two or three."""
        self.count += 1
        name, words, count = f"j{self.count}", move.words, 1 + move.which % 4
        if "gang" in words:
            size = 2 + move.which % 2
            words, count = words.replace("gang", f"gang={size}", 1), size * (1 + move.which % 3 // 2)
        if "after=" in words:
            kind = words.split("after=")[1].split()[0]
            parent = self.arrays[move.which % len(self.arrays)] if self.arrays else ""
            words = words.replace(f"after={kind}", f"after={kind}:{parent}" if parent else "")
        self.arrays.append(name)
        return f"submit {name} {f'x{count}' if count > 1 or 'gang' in words else ''} {words}"

    def _node(self, move: Move) -> str:
        self.count += 1
        zone = ("", "zone:x", "zone:y")[move.which % 3]
        gpu = ("", "gpu=1 gpu-memory:40", "gpu=2 gpu-memory:20")[move.which // 3 % 3]
        return f"node n{self.count} cpu={1 + move.which % 5} mem=4 {zone} {gpu}"

    def _at_node(self, move: Move) -> str:
        nodes = sorted(self.play.state.nodes)
        return nodes[move.which % len(nodes)] if nodes else ""

    def _on_node(self, move: Move, words: str = "") -> str:
        node = self._at_node(move)
        return f"{move.kind} {node} {words}" if node else ""

    def _cordon(self, move: Move) -> str:
        return self._on_node(move)

    def _uncordon(self, move: Move) -> str:
        return self._on_node(move)

    def _drain(self, move: Move) -> str:
        return self._on_node(move)

    def _label(self, move: Move) -> str:
        return self._on_node(move, ("zone:x", "zone:y", "zone:", "")[move.which // 7 % 4])

    def _is(self, move: Move) -> str:
        return self._on_node(move, ("battery=20", "battery=80", "free=5", "free=40")[move.which // 7 % 4])

    def _open(self, move: Move) -> str:
        node, now = self._at_node(move), self.play.now_us // 1_000_000
        spans = ("", f"{now}s-{now + 3}s {now + 6}s-{now + 9}s", f"{now + 2}s-{now + 30}s")[move.which // 5 % 3]
        scope = "ns:team" if move.which % 3 == 0 else node
        return f"open {scope} {spans}" if scope else ""

    def _band(self, move: Move) -> str:
        jobs = list(self.play.state.jobs.values())
        return f"band {self.play.name(jobs[move.which % len(jobs)].key)} {move.which // 3 % 6}" if jobs else ""

    def _advise(self, move: Move) -> str:
        jobs = list(self.play.state.jobs)
        return f"advise p {' '.join(f'{self.play.name(key)}:{key * 7 % 5}' for key in jobs[: move.which])}"

    def _disable(self, move: Move) -> str:
        return "disable p" if self.play.state.policy.plugin else ""

    # --- what must hold

    def check(self, decisions: list[Any]) -> None:
        super().check(decisions)
        state = self.play.state
        sites = Sites(state, self.play.now_us)
        running = [job for job in state.jobs.values() if job.node is not None]
        for job in [state.jobs[key] for found in decisions if isinstance(found, d.Launch) for key in found.keys]:
            node = state.nodes[job.node]
            assert matches(node, job.job_class.where, job.kind), f"{self.play.name(job.key)} is on {job.node}"
            for other in running:
                apart = other is not job and sites.keeps_apart(
                    node, job.job_class, other.job_class, state.nodes[other.node]
                )
                assert not apart, f"{self.play.name(job.key)} is near {self.play.name(other.key)}"

    # --- the end

    def finish(self) -> None:
        """With room for all and nothing in the way, all comes to its end; time passes only as the scheduler asks."""
        play = self.play
        play.now_us += 1
        lines = [f"uncordon {name}" for name in play.state.marks]
        for scope in play.state.windows:
            kind, name = scope.split(":")
            lines.append(f"open {name if kind == 'node' else f'ns:{name}'}")
        lines += [f"is {node} battery=90 free=99" for node in play.state.nodes]
        big = "cpu=32 mem=32 gpu=4 gpu-memory:40"
        lines += [f"node big{zone} {big} zone:{zone}" for zone in "xyz"]
        lines += [f"node big {big}", f"node spare {big} zone:x"]
        self.check(self.step(*lines))
        self.do(Move("policy", 0))
        for _ in range(200):
            state = play.state
            if not state.jobs:
                return
            lines = [f"release {play.name(key)}" for key, job in state.jobs.items() if job.held]
            for job in state.jobs.values():
                if job.node is not None:
                    end = "stopped" if job.state is JobState.STOPPING else "succeeded"
                    lines.append(f"end {play.name(job.key)} {end}")
            if not lines:
                due_us = next_due_us(state, play.now_us)
                if due_us is not None and due_us < play.now_us + 3_600_000_000:
                    lines = [f"wait {max(1, due_us - play.now_us)}us"]
                else:
                    lines = self._give_up()
            self.check(self.step(*lines))
        raise AssertionError(f"for ever: {self.waiting()}")

    def _give_up(self) -> list[str]:
        """Nothing moves any more: who waits for what nobody has is taken away; nobody else may wait."""
        state, play = self.play.state, self.play
        ready = [job for job in state.jobs.values() if job.state is JobState.READY]
        lost = [job for job in ready if why(state, job) in _FOR_EVER]
        assert lost, f"stuck: {self.waiting()}"
        return [f"cancel {play.name(job.key)}" for job in lost]

    def waiting(self) -> list[str]:
        state = self.play.state
        return [f"{self.play.name(j.key)} {j.state.name} {why(state, j).name}" for j in state.jobs.values()]


def submits(pick: Any) -> str:
    """The words of a submission; `pick` chooses one of several."""
    gang, demands = pick(GANG), pick(DEMANDS)
    where = pick(WHERE)
    if gang and "effort" not in gang:
        # refused with a gang
        demands = "" if demands[:4] in ("at_m", "sing", "key=") else demands
        where = "" if "or=" in where else where
    words = [pick(ROOM), gang, where, demands, pick(REST), pick(EVICT), pick(SPACE), f"band={pick(BANDS)}"]
    after = pick(AFTER)
    words.append(f"after={after}" if after else "")
    return " ".join(word for word in words if word)


@st.composite
def _submissions(draw: Any) -> Move:
    return Move("submit", draw(st.integers(0, 11)), submits(lambda words: draw(st.sampled_from(words))))


_OTHER = st.builds(Move, st.sampled_from(OTHERS), st.integers(0, 59), st.sampled_from(ENDS))
_MOVES = st.lists(st.one_of(_submissions(), _OTHER, _OTHER), min_size=6, max_size=30)


@given(st.sampled_from(range(len(POLICIES))), _MOVES)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_everything_at_once(policy: int, moves: list[Move]) -> None:
    mixed = Mixed(policy)
    mixed.do(Move("node", 13))
    for move in moves:
        mixed.do(move)
    mixed.finish()


def test_who_has_just_started_may_be_evicted_by_the_next_pass() -> None:
    mixed = Mixed(11)
    for line in ("submit low x3 cpu=1", "wait 2s"):
        mixed.step(line)
    mixed.do(Move("policy", 2))
    mixed.step("submit high x4 cpu=1 band=1")
    mixed.step("node n cpu=4")
    # those that were overdue have started; that pass evicts none of them, and the next is due at once
    play = mixed.play
    assert next_due_us(play.state, play.now_us) == play.now_us
    assert [len(found.keys) for found in mixed.step("wait 0us")] == [1, 1, 1]
