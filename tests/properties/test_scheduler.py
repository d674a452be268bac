"""The scheduler under random events: invariants after each step, the same decisions from every copy of its state."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kos_ray.engine.windows import joined
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.dependency import Rule
from kos_ray.model.gang import GangMode, OnFailure
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import After, AttemptEnd, Backoff, Children, Demands, Eviction, Guarantee, JobState, Spec
from kos_ray.model.node import Mark, Node
from kos_ray.model.policy import Discipline, Model, Namespace, Policy, Rate
from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.where import ANYWHERE, Neighbours, Selector, Strategy, Where
from kos_ray.model.windows import NEVER_US, Windows
from kos_ray.scheduler import invariants
from kos_ray.scheduler.jobs import LATER
from kos_ray.scheduler.machine import next_due_us, recover, step
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State
from kos_ray.sim.folds import comparable

_SHAPES = ({}, {"CPU": 1}, {"CPU": 2}, {"CPU": 4}, {"CPU": 1, "GPU": 1}, {"memory": 8})
_NODES = ({"CPU": 1}, {"CPU": 4, "memory": 8}, {"CPU": 2, "GPU": 1}, {"CPU": 8, "GPU": 2, "memory": 32})
_WORDS = st.sampled_from((("tag:a",), ("tag:b",), ("tag:a", "tag:b"), ("namespace:team",), ("type:function",)))
_RULES = st.builds(
    Neighbours,
    words=_WORDS,
    by=st.sampled_from(("", "", "zone")),
    apart=st.booleans(),
    weight=st.sampled_from((0, 0, 1)),
    past=st.booleans(),
).filter(lambda rule: not rule.past or (rule.weight and not rule.apart))
_LABELS = st.builds(
    Selector,
    label=st.just("zone"),
    values=st.sampled_from(((), ("x",), ("x", "y"))),
    negated=st.booleans(),
    weight=st.sampled_from((0, 1)),
)
_WHERE = st.one_of(
    st.just(ANYWHERE),
    st.builds(
        Where,
        labels=st.lists(_LABELS, max_size=1).map(tuple),
        jobs=st.lists(_RULES, max_size=2).map(tuple),
        not_nodes=st.sampled_from(((), ("n1",))),
        strategy=st.sampled_from(Strategy),
        alternatives=st.sampled_from(((), (Resources.of({"CPU": 2}),))),
    ),
)
_SPECS = st.builds(
    Spec,
    tags=st.sampled_from(((), ("a",), ("b",), ("a", "b"))),
    where=_WHERE,
    entry=st.just("module:function"),
    namespace=st.sampled_from(("default", "team")),
    band=st.integers(0, 5),
    resources=st.sampled_from(_SHAPES).map(Resources.of),
    single_use=st.booleans(),
    retries=st.integers(0, 2),
    backoff=st.builds(Backoff, first_ms=st.sampled_from((0, 10)), jitter=st.sampled_from((0.0, 1.0))),
    guarantee=st.sampled_from(Guarantee),
    children=st.sampled_from((Children.ABANDON, Children.ABANDON, Children.CANCEL, Children.WAIT)),
    eviction=st.sampled_from(Eviction),
    run_ms=st.sampled_from((0, 5, 5_000)),
    timeout_ms=st.sampled_from((0, 0, 2_000)),
    deadline_us=st.sampled_from((0, 1, 10**9)),
    demands=st.builds(
        Demands,
        licences=st.sampled_from(((), (("l", 1),), (("l", 2),))),
        rates=st.sampled_from(((), (("r", 3),))),
        concurrency=st.sampled_from(((), (("k", 1),))),
        agent=st.booleans(),
    ),
)
_QUOTAS = (
    (),
    (Namespace(name="team", limit=(("CPU", 2 * UNIT),)),),
    (Namespace(name="team", guaranteed=(("CPU", 2 * UNIT),), lend=(("CPU", UNIT),), weight=3_000),),
    (Namespace(name="default", guaranteed=(("CPU", 3 * UNIT),)), Namespace(name="team", discipline=Discipline.LIFO)),
    (Namespace(name="team", discipline=Discipline.PLUGIN, plugin="q", model=Model.ROTATIONAL),),
)
_POLICIES = st.builds(
    Policy,
    idle_slot_us=st.sampled_from((0, 1_000)),
    ahead_us=st.sampled_from((0, 10_000)),
    ahead_max=st.sampled_from((1, 512)),
    losses_max=st.integers(0, 2),
    poison_after=st.integers(0, 3),
    slots_per_node_max=st.sampled_from((1, 3, 256)),
    empty_slots_max=st.sampled_from((1, 8)),
    taken_pause_us=st.sampled_from((1, 1_000)),
    claims_max=st.integers(0, 2),
    idle_specs_max=st.sampled_from((0, 1, 64)),
    discipline=st.sampled_from(Discipline),
    aging_us=st.sampled_from(((0,) * 6, (1_000,) * 6, (10, 100, 1_000, 10**4, 10**5, 10**6))),
    burst_jobs=st.sampled_from((0, 2)),
    half_life_us=st.sampled_from((0, 1_000)),
    exempt_us=st.sampled_from((0, 1_000)),
    patience_us=st.sampled_from((0, 1_000)),
    slice_us=st.sampled_from(((0,) * 6, (1_000,) * 6)),
    licences=st.sampled_from(((), (("l", 2),))),
    rates=st.sampled_from(((), (Rate(name="r", amount=1, per_us=1_000, burst=5),))),
    namespaces=st.sampled_from(_QUOTAS),
    strategy=st.sampled_from(Strategy),
    unknown_length=st.booleans(),
    plugin=st.sampled_from(("p", "p", "q", "")),
    model=st.sampled_from(Model),
    slack=st.sampled_from((0, 1_000)),
    tier_period_us=st.sampled_from((10, 10**6)),
    agents_max=st.sampled_from((0, 1)),
    agents_give_way=st.booleans(),
    agents_restart=st.booleans(),
)
_WAITS = st.fixed_dictionaries({"rule": st.sampled_from(Rule).map(int), "singleton": st.sampled_from(("", "a", "b"))})
_LIMITS = st.builds(
    e.ArrayLimits,
    index=st.just(0),
    group=st.sampled_from(("g", "h")),
    at_most=st.integers(0, 2),
    max_failures=st.integers(0, 2),
).map(lambda limits: (limits,))
_GANGS = st.builds(
    e.NewGang,
    name=st.just(""),
    ranges=st.just(()),
    least=st.integers(1, 3),
    mode=st.sampled_from((GangMode.ALL, *GangMode)),
    on_failure=st.sampled_from(OnFailure),
)
_RUNS_US = st.sampled_from((0, 10, 2_000, 10**6))


class Scheduling(RuleBasedStateMachine):
    """Two schedulers live through the same events, one of them is a copy of the other, taken now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.copy, self.folded = State(), State(), State()
        self.now_us = 1
        self.nodes = 0
        self.spec_keys: dict[Spec, SpecKey] = {}
        self.finals: dict[JobKey, int] = {}
        self.ends: list[e.AttemptsEnded] = []
        self.play(e.SchedulerStarted(epoch=1, version="0"))

    # --- what happens

    @rule(policy=_POLICIES)
    def another_scheduler(self, policy: Policy) -> None:
        """A new life with another policy, from the journal alone."""
        self.live = self.folded
        self.folded = state_from_plain(state_to_plain(self.live))
        self.copy = state_from_plain(state_to_plain(self.live))
        self.play(e.SchedulerStarted(epoch=self.live.epoch + 1, version="0", policy=policy))

    @rule(units=st.sampled_from(_NODES), zone=st.sampled_from(((), (("zone", "x"),), (("zone", "y"),))))
    def node_joins(self, units: dict[str, float], zone: tuple[tuple[str, str], ...]) -> None:
        self.nodes += 1
        name = f"n{self.nodes}"
        host = ("host", f"h{self.nodes % 2}")
        self.play(e.NodesJoined(nodes=(Node(NodeId(name), name, Resources.of(units), labels=(host, *zone)),)))

    @rule(
        name=st.sampled_from(("n1", "n2", "n3", "h0", "h1")),
        cordoned=st.booleans(),
        draining=st.booleans(),
        labels=st.sampled_from(((), (("zone", ""),), (("zone", "y"),))),
    )
    def somebody_marks(self, name: str, cordoned: bool, draining: bool, labels: Any) -> None:
        mark = Mark(name=name, cordoned=cordoned or draining, draining=draining, labels=labels)
        self.play(e.NodesMarked(request_id="", marks=(mark,)))

    @precondition(lambda self: self.live.nodes)
    @rule(data=st.data())
    def node_is_lost(self, data: Any) -> None:
        node = data.draw(st.sampled_from(sorted(self.live.nodes)))
        self.play(e.NodeLost(node=node, cause="drawn"))

    @rule(spec=_SPECS, count=st.sampled_from((-1, 1, 3, 12)), data=st.data())
    def submitted(self, spec: Spec, count: int, data: Any) -> None:
        first = self.live.next_key
        after = ()
        if first > 1:
            parents = st.tuples(st.integers(1, first - 1), st.just(1), st.sampled_from(After).map(int))
            after = tuple(data.draw(st.lists(parents, max_size=3)))
        waits = data.draw(_WAITS) if data.draw(st.booleans()) else {}
        limits = data.draw(_LIMITS) if data.draw(st.booleans()) else ()
        gangs = _cut(data.draw(_GANGS), first, count) if data.draw(st.booleans()) else ()
        keys = [JobKey(first + i) for i in range(abs(count))]
        spec_key = self.spec_keys.setdefault(spec, SpecKey(len(self.spec_keys) + 1))
        ended = {JobKey(key): self.finals[JobKey(key)] for key, _, _ in after if key in self.finals}
        self.play(
            e.JobsSubmitted(
                request_id=str(first),
                first=first,
                ids=(str(first),),
                counts=(count,),
                specs=(spec_key,),
                args=(b"",) * len(keys),
                new_specs=() if spec_key in self.live.specs else ((spec_key, spec),),
                dependencies=tuple(e.JobDependency(key=key, after=after, **waits) for key in keys)
                if after or waits
                else (),
                ended_parents=tuple(ended.items()),
                limits=limits,
                gangs=gangs,
                parent=data.draw(st.sampled_from(sorted(self.live.jobs))) if self.live.jobs else JobKey(0),
            )
        )

    @rule(specs=st.lists(_SPECS, min_size=2, max_size=4), gang=_GANGS)
    def a_bundle_is_submitted(self, specs: list[Spec], gang: e.NewGang) -> None:
        """Jobs of different shapes that are one gang."""
        first = self.live.next_key
        specs = [replace(spec, namespace=specs[0].namespace) for spec in specs]
        numbers = [self.spec_keys.setdefault(spec, SpecKey(len(self.spec_keys) + 1)) for spec in specs]
        least = {GangMode.ALL: len(specs), GangMode.BEST_EFFORT: 0}.get(gang.mode, min(gang.least, len(specs)))
        self.play(
            e.JobsSubmitted(
                request_id=str(first),
                first=first,
                ids=tuple(f"{first}:{i}" for i in range(len(specs))),
                counts=(-1,) * len(specs),
                specs=tuple(numbers),
                args=(b"",) * len(specs),
                new_specs=tuple(
                    {n: (n, s) for n, s in zip(numbers, specs, strict=True) if n not in self.live.specs}.values()
                ),
                gangs=(replace(gang, name=str(first), ranges=((first, len(specs)),), least=least),),
            )
        )

    @precondition(lambda self: self.attempts())
    @rule(data=st.data(), end=st.sampled_from(AttemptEnd), run_us=_RUNS_US)
    def attempts_end(self, data: Any, end: AttemptEnd, run_us: int) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.attempts()), min_size=1, max_size=8, unique=True))
        node = chosen[0][0]
        keys, attempts = zip(*[(key, attempt) for at, key, attempt in chosen if at == node], strict=True)
        count = len(keys)
        event = e.AttemptsEnded(
            node=node,
            keys=keys,
            attempts=attempts,
            ends=(int(end),) * count,
            entered_us=(self.now_us,) * count,
            ended_us=(self.now_us + run_us,) * count,
            pids=(1,) * count,
            results=(b"",) * count,
        )
        self.ends.append(event)
        self.play(event)

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def an_end_is_told_again(self, data: Any) -> None:
        """Late and repeated reports change nothing that is decided already."""
        before = {key: (job.attempt, job.state) for key, job in self.live.jobs.items() if job.node}
        self.play(data.draw(st.sampled_from(self.ends)))
        after = {key: (job.attempt, job.state) for key, job in self.live.jobs.items() if key in before}
        assert {key: after[key] for key in before} == before

    @precondition(lambda self: self.attempts())
    @rule(data=st.data())
    def attempt_is_entered(self, data: Any) -> None:
        node, key, attempt = data.draw(st.sampled_from(self.attempts()))
        self.play(e.AttemptsEntered(node=node, keys=(key,), attempts=(attempt,), entered_us=(self.now_us,)))

    @precondition(lambda self: self.live.next_key > 1)
    @rule(data=st.data(), kind=st.sampled_from(("cancel", "hold", "pause", "release", "band")))
    def somebody_wants(self, data: Any, kind: str) -> None:
        keys = tuple(data.draw(st.lists(st.integers(1, self.live.next_key - 1), min_size=1, max_size=5)))
        wishes: dict[str, e.Event] = {
            "cancel": e.CancelRequested(request_id="", keys=keys),
            "hold": e.HoldRequested(request_id="", keys=keys),
            "pause": e.HoldRequested(request_id="", keys=keys, stop=True),
            "release": e.ReleaseRequested(request_id="", keys=keys),
            "band": e.PriorityChanged(request_id="", keys=keys, band=data.draw(st.integers(0, 5))),
        }
        self.play(wishes[kind])

    @rule(policy=_POLICIES, afresh=st.sampled_from(((), ("p",), ("p", "q"))))
    def settings_change(self, policy: Policy, afresh: tuple[str, ...]) -> None:
        """While it runs; plug-ins that the change names are tried again."""
        self.play(e.PolicyChanged(request_id="", policy=policy, afresh=afresh))

    @precondition(lambda self: self.live.next_key > 1)
    @rule(data=st.data(), plugin=st.sampled_from(("p", "q", "strange")))
    def plugin_says(self, data: Any, plugin: str) -> None:
        """Whatever a plug-in says, of whichever jobs: live, over, of others, not there yet, twice."""
        keys = tuple(map(JobKey, data.draw(st.lists(st.integers(1, self.live.next_key + 1), max_size=8))))
        ranks = tuple(data.draw(st.lists(st.integers(-(2**70), 2**70), min_size=len(keys), max_size=len(keys))))
        self.play(e.RanksAdvised(plugin=plugin, keys=keys, ranks=ranks))

    @rule(plugin=st.sampled_from(("p", "q")))
    def all_is_said(self, plugin: str) -> None:
        """A plug-in answers to all that it is asked."""
        keys = tuple(self.live.unadvised.get(plugin, ()))
        self.play(e.RanksAdvised(plugin=plugin, keys=keys, ranks=tuple(-key for key in keys)))

    @rule(plugin=st.sampled_from(("p", "q", "strange")))
    def plugin_is_disabled(self, plugin: str) -> None:
        self.play(e.PluginDisabled(plugin=plugin, why="it crashed"))

    @rule(by_us=st.sampled_from((1, 1_000, 10**6)))
    def time_goes_on(self, by_us: int) -> None:
        self.now_us += by_us
        self.play()

    @rule(
        scope=st.sampled_from(("node:n1", "node:n2", "node:h0", "namespace:team")),
        spans=st.lists(st.tuples(st.integers(0, 3 * 10**6), st.integers(1, 10**7)), max_size=2),
        known_us=st.sampled_from((1, 2 * 10**7)),
    )
    def somebody_opens(self, scope: str, spans: list[tuple[int, int]], known_us: int) -> None:
        starts = [(self.now_us + start - 10**6, self.now_us + start - 10**6 + length) for start, length in spans]
        found = joined(starts, 0, self.now_us + known_us)
        windows = Windows(scope=scope, text="x" * len(spans), open=found, until_us=self.now_us + known_us)
        self.play(e.WindowsChanged(request_id="", windows=windows))

    # --- what must hold

    def play(self, *events: e.Event) -> None:
        decisions = step(self.live, events, self.now_us)
        assert step(self.copy, events, self.now_us) == decisions, "the same events, other decisions"
        recover(self.folded, events, decisions, self.now_us)
        for decision in decisions:
            if isinstance(decision, d.Launch):
                mark = self.live.nodes[decision.node].mark
                assert mark is None or not mark.cordoned, f"{decision} on a cordoned node"
                self.check_windows(decision)
            if isinstance(decision, d.Finish):
                self.finals.update(dict.fromkeys(decision.keys, decision.state))

    @invariant()
    def gangs_are_atomic(self) -> None:
        """As seen from outside: of a gang that needs all, all that are left have an attempt going on, or none has."""
        going = {key for _, key, _ in self.attempts() if self.live.jobs[key].state is not JobState.STOPPING}
        for gang in self.live.gangs.values():
            if gang.mode is GangMode.ALL:
                assert {key for key in gang.live if key in going} in (set(), set(gang.live))

    def check_windows(self, launch: d.Launch) -> None:
        """Nothing starts outside of the windows of its node and namespace, or would outlive one by its own word."""
        node = self.live.nodes[launch.node].node
        for scope in (f"node:{node.name}", f"node:{node.host}", f"namespace:{launch.kind.namespace}"):
            windows = self.live.windows.get(scope)
            for key in launch.keys if windows is not None else ():
                spec = self.live.jobs[key].entry.spec
                length_us = (spec.run_ms or spec.timeout_ms) * 1_000
                end_us = windows.end_us(self.now_us)
                assert end_us > self.now_us, f"{launch} outside of {windows}"
                assert self.now_us + length_us <= end_us, f"{launch} outlives {windows}"
                assert length_us or end_us == NEVER_US or self.live.policy.unknown_length, f"{launch}: for how long?"

    def attempts(self) -> list[tuple[NodeId, JobKey, int]]:
        return [
            (node_id, key, attempt)
            for node_id, node in self.live.nodes.items()
            for lane in node.lanes.values()
            for key, attempt in lane.held.items()
        ]

    @invariant()
    def all_is_well(self) -> None:
        assert (found := invariants.check(self.live)) == [], found

    @invariant()
    def a_fold_is_the_same(self) -> None:
        assert (found := invariants.check(self.folded)) == [], found
        assert comparable(self.folded) == comparable(self.live)

    @invariant()
    def a_snapshot_is_the_same(self) -> None:
        plain = state_to_plain(self.live)
        self.copy = state_from_plain(plain)
        assert state_to_plain(self.copy) == plain

    @invariant()
    def nothing_waits_for_a_step_that_nobody_calls(self) -> None:
        """A second step at the same instant has nothing to do, and what time brings is announced."""
        assert step(state_from_plain(state_to_plain(self.live)), [], self.now_us) == []
        waits = [job for job in self.live.jobs.values() if job.state is JobState.BACKOFF]
        due_us = next_due_us(self.live, self.now_us)
        late = [job for job in self.live.jobs.values() if job.job_class.order == LATER]
        assert not late or due_us is not None
        assert not waits or (due_us is not None and due_us <= min(job.due_us for job in waits))


def _cut(gang: e.NewGang, first: JobKey, count: int) -> tuple[e.NewGang, ...]:
    """The gangs of an array: of three items each, or all of it."""
    size = 3 if count == 12 else abs(count)
    least = {GangMode.ALL: size, GangMode.BEST_EFFORT: 0}.get(gang.mode, min(gang.least, size))
    starts = range(first, first + abs(count), size)
    return tuple(replace(gang, name=str(start), ranges=((start, size),), least=least) for start in starts)


Scheduling.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestScheduling = Scheduling.TestCase
