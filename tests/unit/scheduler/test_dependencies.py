"""What jobs wait for: every kind of dependency against every end of a parent, and rules against a naive reading."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kos_ray.model.dependency import Ended, Rule, ended_as, kind_name, parted, stored_kind
from kos_ray.model.job import After, AttemptEnd, JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.dependencies import judge
from kos_ray.sim.rules import naive
from tests.scenarios.language import Play

GO, NEVER, WAITS = "goes", "never", "waits"


def play(*lines: str) -> Play:
    """A cluster of two nodes with room for all; nothing is retried, a lost node is the job's end."""
    found = Play({"losses_max": 0})
    found.do(["node a cpu=100"])
    for line in lines:
        found.do([line])
    return found


def succeeded(world: Play) -> None:
    world.do(["end p"])


def failed(world: Play) -> None:
    world.do(["end p failed"])


def timed_out(world: Play) -> None:
    world.do(["enter p"])
    world.do(["end p timed_out"])


def node_lost(world: Play) -> None:
    world.do(["node b cpu=100"])
    world.do(["lost a"])


def lost(world: Play) -> None:
    """An at-most-once job whose process died."""
    world.do(["enter p"])
    world.do(["end p crashed"])


def cancelled_running(world: Play) -> None:
    world.do(["enter p"])
    world.do(["cancel p"])
    world.do(["end p stopped"])


def cancelled_waiting(world: Play) -> None:
    world.do(["cancel p"])


def skipped(world: Play) -> None:
    world.do(["end q failed"])


def skipped_by_rule(world: Play) -> None:
    world.do(["end q"])


def requeued(world: Play) -> None:
    """Recalled, and then it succeeds."""
    world.do(["end p recalled"])
    world.do(["end p"])


def evicted(world: Play) -> None:
    """Paused while it runs, released, and then it succeeds."""
    world.do(["enter p"])
    world.do(["pause p"])
    world.do(["end p stopped"])
    world.do(["release p"])
    world.do(["end p"])


def running(world: Play) -> None:
    world.do(["enter p"])


def launched(_world: Play) -> None:
    """It was sent to its node, and nothing was heard of it."""


#: how the parent is submitted, what happens to it, the state it comes to, and what follows for each kind
CASES: list[tuple[str, Callable[[Play], None], JobState, dict[After, str]]] = [
    ("", succeeded, JobState.SUCCEEDED, {After.OK: GO, After.NOT_OK: NEVER, After.ANY: GO, After.STARTED: GO}),
    ("", requeued, JobState.SUCCEEDED, {After.OK: GO, After.NOT_OK: NEVER, After.ANY: GO, After.STARTED: GO}),
    ("", evicted, JobState.SUCCEEDED, {After.OK: GO, After.NOT_OK: NEVER, After.ANY: GO, After.STARTED: GO}),
    *(
        (how, what, state, {After.OK: NEVER, After.NOT_OK: GO, After.ANY: GO, After.STARTED: GO})
        for how, what, state in (
            ("", failed, JobState.FAILED),
            ("", timed_out, JobState.FAILED),
            ("", node_lost, JobState.FAILED),
            ("once", lost, JobState.LOST),
            ("", cancelled_running, JobState.CANCELLED),
            ("after=any:q", cancelled_waiting, JobState.CANCELLED),
            ("after=ok:q", skipped, JobState.SKIPPED),
            ("after=any:q rule=one_failed", skipped_by_rule, JobState.SKIPPED),
        )
    ),
    ("", running, JobState.RUNNING, {After.OK: WAITS, After.NOT_OK: WAITS, After.ANY: WAITS, After.STARTED: GO}),
    ("", launched, JobState.LAUNCHED, dict.fromkeys((After.OK, After.NOT_OK, After.ANY, After.STARTED), WAITS)),
]


def standing(world: Play, name: str) -> str:
    job = world.state.jobs.get(world.keys[name])
    if job is None:
        assert world.finals[world.keys[name]] == JobState.SKIPPED
        return NEVER
    return WAITS if job.state is JobState.BLOCKED else GO


@pytest.mark.parametrize("late", [False, True], ids=["submitted before", "submitted when it had happened"])
@pytest.mark.parametrize(("parent", "happens", "state", "expected"), CASES, ids=lambda x: getattr(x, "__name__", None))
def test_every_kind_against_every_end(
    parent: str, happens: Callable[[Play], None], state: JobState, expected: dict[After, str], *, late: bool
) -> None:
    world = play("submit q cpu=1", f"submit p cpu=1 {parent}")
    children = {kind: f"submit {kind.name} cpu=1 after={kind.name}:p" for kind in After}
    if not late:
        world.do(list(children.values()))
        assert all(standing(world, kind.name) == WAITS for kind in After)
    happens(world)
    if late:
        world.do(list(children.values()))
    job = world.state.jobs.get(world.keys["p"])
    assert (job.state if job else world.finals[world.keys["p"]]) == state
    assert {kind: standing(world, kind.name) for kind in After} == {**expected, After.CORR: expected[After.OK]}


def test_a_job_that_waits_can_be_cancelled_and_held_whatever_its_parents_do() -> None:
    world = play("submit p cpu=1", "submit c cpu=1 after=started:p", "submit h cpu=1 after=ok:p", "hold h", "cancel c")
    assert world.finals[world.keys["c"]] == JobState.CANCELLED
    world.do(["enter p"])
    world.do(["end p"])
    assert world.job("h").state is JobState.HELD


# --- rules


ENDS = st.lists(st.tuples(st.sampled_from(Ended), st.booleans()), max_size=6)


@settings(max_examples=500, deadline=None)
@given(rule=st.sampled_from(Rule), ends=ENDS)
def test_a_rule_decides_early_what_it_would_decide_late(rule: Rule, ends: list[tuple[Ended, bool]]) -> None:
    """Counted parent by parent, a rule never takes back that a job may go or cannot, and ends where all is known."""
    if rule.by_kind:
        ends = [(Ended(how % 2), False) for how, _ in ends]
    expected = naive(rule, [how for how, _ in ends], [how for how, setup in ends if setup])
    counts, early = [0] * (2 * len(Ended)), []
    for left, (how, setup) in zip(range(len(ends), 0, -1), ends, strict=True):
        early.append(judge(rule, left, counts))
        counts[how] += 1
        counts[len(Ended) + how] += setup
    final = judge(rule, 0, counts)
    assert final is expected
    for verdict in early:
        # why it never runs may become clearer, that it never runs does not change
        assert verdict is Reason.DEPENDENCY or (verdict is Reason.NONE) == (final is Reason.NONE)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_in_random_graphs_what_jobs_do_is_what_a_naive_reading_says(data: Any) -> None:
    """Jobs with drawn rules over earlier ones, which end in a drawn order: every one ends as its parents' ends ask."""
    world = play()
    waits: dict[str, tuple[Rule, list[tuple[str, After]]]] = {}
    for number in range(data.draw(st.integers(2, 7))):
        name, names = f"j{number}", sorted(waits)
        kinds = st.sampled_from((After.OK, After.ANY, After.NOT_OK, After.STARTED))
        drawn = st.lists(st.tuples(st.sampled_from(names), kinds), max_size=3) if names else st.just([])
        parents, rule = data.draw(drawn), data.draw(st.sampled_from(Rule))
        waits[name] = rule, parents
        world.do([f"submit {name} cpu=1{_written(rule, parents)}"])
        if data.draw(st.booleans()):
            _something_happens(world, data)
    while world.state.jobs:
        _something_happens(world, data)
    ended = {
        name: (JobState(world.finals[world.keys[name]]), Ended(world.ended_as[world.keys[name]])) for name in waits
    }
    for name, (rule, parents) in waits.items():
        state, how = ended[name]
        if state is JobState.CANCELLED:
            continue
        counted = [_counted(rule, kind, *ended[parent]) for parent, kind in parents]
        setups = [ended[parent][1] for parent, kind in parents if kind is After.OK]
        verdict = naive(rule, counted, setups)
        assert (state is JobState.SKIPPED) == (verdict is not Reason.NONE), (name, rule, counted)
        assert not (how is Ended.SKIPPED and verdict is Reason.NONE)


def _written(rule: Rule, parents: list[tuple[str, After]]) -> str:
    if not parents:
        return "" if rule is Rule.ALL_MET else f" rule={rule.name.lower()}"
    between = "?" if rule is Rule.ONE_MET else ","
    return f" after={between.join(f'{kind.name}:{parent}' for parent, kind in parents)} rule={rule.name.lower()}"


def _counted(rule: Rule, kind: After, state: JobState, ended: Ended) -> Ended:
    if not rule.by_kind:
        return ended
    return Ended.SUCCEEDED if kind.verdict(state) else Ended.FAILED


def _something_happens(world: Play, data: Any) -> None:
    on_node = sorted(name for name, key in world.keys.items() if (job := world.state.jobs.get(key)) and job.node)
    live = sorted(name for name, key in world.keys.items() if key in world.state.jobs)
    if on_node and data.draw(st.integers(0, 5)):
        name = data.draw(st.sampled_from(on_node))
        end = data.draw(st.sampled_from((AttemptEnd.SUCCEEDED, AttemptEnd.SUCCEEDED, AttemptEnd.FAILED)))
        world.do([f"end {name} {end.name}"])
    elif live:
        world.do([f"cancel {data.draw(st.sampled_from(live))}"])


def test_kind_and_rule_are_one_number_in_rows_and_a_word_for_people() -> None:
    for rule in Rule:
        for kind in After:
            assert parted(stored_kind(rule, kind)) == (rule, kind)
    words = [kind_name(stored_kind(rule, After.NOT_OK)) for rule in (Rule.ALL_MET, Rule.ONE_MET, Rule.ONE_SUCCESS)]
    assert words == ["not_ok", "not_ok?", "one_success"]


def test_how_rules_count_a_job_that_is_over() -> None:
    assert ended_as(JobState.CANCELLED, Reason.CANCELLED_BY_USER, 0) is Ended.REMOVED
    assert ended_as(JobState.CANCELLED, Reason.CANCELLED_BY_USER, 1) is Ended.FAILED
    assert ended_as(JobState.LOST, Reason.ENTERED_AT_MOST_ONCE, 1) is Ended.FAILED
    assert ended_as(JobState.SKIPPED, Reason.DEPENDENCY_NEVER_MET, 0) is Ended.UPSTREAM_FAILED
    assert ended_as(JobState.SKIPPED, Reason.SKIPPED_BY_RULE, 0) is Ended.SKIPPED
