"""The verdict on a deadline: whether it can be met, from declared run times and what is ahead."""

import pytest

from kos_ray.model.policy import Policy
from kos_ray.model.views import Explanation
from kos_ray.scheduler.explain import explain
from kos_ray.scheduler.machine import next_due_us, step
from kos_ray.scheduler.models import evenness
from tests.scenarios.language import Play, written

S = 1_000_000
NODE = "node n cpu=2"
BUSY = "submit x x2 cpu=1 run=30s single"

#: what has happened before, the job, and the verdict with the earliest and the likely end in seconds from now
CASES = {
    "free room": ([NODE], "cpu=1 run=10s deadline=10s hold", "meets", 10, 10),
    "too long": ([NODE, BUSY], "cpu=1 run=10s deadline=9s", "missed", 10, 0),
    "no node": ([], "cpu=1 run=10s deadline=20s", "at_risk", 10, 0),
    "no such node": ([NODE], "cpu=4 run=10s deadline=20s", "at_risk", 10, 0),
    "no node matches": ([NODE], "cpu=1 run=10s deadline=20s on=zone:z9", "at_risk", 10, 0),
    "room elsewhere": (
        [NODE, BUSY, "node m cpu=2 zone:z2"],
        "cpu=1 run=10s deadline=39s on=!zone:z2",
        "meets",
        10,
        25,
    ),
    "room in time": ([NODE, BUSY], "cpu=1 run=10s deadline=40s", "meets", 10, 40),
    "room too late": ([NODE, BUSY], "cpu=1 run=10s deadline=39s", "at_risk", 10, 40),
    "a queue": ([NODE, BUSY, "submit y x4 cpu=1 run=30s single"], "cpu=1 run=10s deadline=99s", "at_risk", 10, 100),
    "behind it": (
        [NODE, BUSY, "submit y x4 cpu=1 run=30s band=5 single"],
        "cpu=1 run=10s deadline=99s",
        "meets",
        10,
        40,
    ),
    "no length": ([NODE, BUSY], "cpu=1 deadline=99s", "unknown", 0, 0),
    "unknown before it": ([NODE, "submit x x2 cpu=1 single"], "cpu=1 run=10s deadline=99s", "unknown", 10, 10),
    "parents": (
        [NODE, "submit p cpu=1 run=30s single", "submit q cpu=1 run=20s after=ok:p single"],
        "cpu=1 run=10s deadline=59s after=ok:q",
        "missed",
        60,
        0,
    ),
    "none": ([NODE, BUSY], "cpu=1 run=10s", "", 0, 0),
}


def ask(play: Play, name: str) -> Explanation:
    return explain(play.state, play.job(name), play.now_us)


@pytest.mark.parametrize("case", CASES)
def test_the_verdict(case: str) -> None:
    before, words, verdict, earliest_s, likely_s = CASES[case]
    play = Play({"preemption": 0})
    for line in before:
        play.do([line])
    held = words.endswith(" hold")
    play.do([f"submit j {words.removesuffix(' hold')} single", *(["hold j"] if held else [])])
    found = ask(play, "j")
    ends = [max(0, end_us - play.now_us) // S for end_us in (found.earliest_us, found.likely_us)]
    assert (found.deadline, *ends) == (verdict, earliest_s, likely_s)


def test_a_running_job_is_judged_by_when_it_started() -> None:
    play = Play()
    play.do([NODE, "submit j cpu=1 run=10s deadline=20s single"])
    assert ask(play, "j").deadline == "meets"
    play.do(["wait 21s"])
    assert ask(play, "j").deadline == "missed"


@pytest.mark.parametrize(("deadline", "verdict"), [("500ms", "missed"), ("30s", "at_risk"), ("70s", "meets")])
@pytest.mark.parametrize("runs", [True, False])
def test_the_verdict_by_what_was_learnt(deadline: str, verdict: str, runs: bool) -> None:
    """Of ten like it, two ran for 1 s, six for 10 s, two for 60 s: quantiles of about 0.9, 10 and 67 s."""
    play = Play({"ahead_us": 0})
    play.do(["node n cpu=10", "submit x x10 cpu=1 type=j single"])
    play.do([f"end x.{i} succeeded ran={(1, 1, 10, 10, 10, 10, 10, 10, 60, 60)[i]}s" for i in range(10)])
    play.do([f"submit j cpu=1 deadline={deadline} single", *([] if runs else ["hold j"])])
    found = ask(play, "j")
    assert found.deadline == verdict
    assert found.earliest_us - play.now_us == found.run_time.low_us == 917_504
    assert (found.run_time.source, found.run_time.runs) == ("size", 10)
    assert found.likely_us in (0, play.now_us + found.run_time.high_us)


def test_jobs_without_deadlines_leave_nothing_behind() -> None:
    play = Play()
    play.do([NODE, "submit j x9 cpu=1 run=10s single"])
    assert (play.state.deadlines, play.state.missed) == ([], {})


def test_the_next_step_is_due_when_a_deadline_becomes_hopeless_and_what_is_over_is_forgotten() -> None:
    play = Play({"aging_us": [0] * 6})
    play.do([NODE, "submit x x2 cpu=1 single", "submit j cpu=1 run=10s deadline=20s single"])
    assert next_due_us(play.state, play.now_us) == 10 * S + 1
    play.do(["wait 11s"])
    assert list(play.state.missed) == [play.keys["j"]]
    play.do(["cancel j"])
    assert play.state.missed == {}


def test_agents_that_are_spared_are_told_of() -> None:
    play = Play({"agents_give_way": 0})
    play.do(["node n cpu=1", "submit a cpu=1 band=5 agent single"])
    play.do(["wait 9s", "submit top cpu=1 band=0 single"])
    step(play.state, [], play.now_us)
    assert ask(play, "top").spared == 1
    play.state.policy = written(Policy(), {})
    assert ask(play, "top").spared == 0


def test_jobs_that_have_given_way_as_often_as_they_may_are_told_of() -> None:
    play = Play({"exempt_us": 0, "evictions_max": 1})
    for steps in (["node n cpu=1", "submit low cpu=1 band=5 single"], ["submit high cpu=1 band=0 single"]):
        play.do(steps)
        step(play.state, [], play.now_us)
    assert ask(play, "high").worn == 0, "it makes room just now"
    for steps in (["end low stopped"], ["end high"], ["submit again cpu=1 band=0", "submit equal cpu=1 band=5"]):
        play.do(steps)
        step(play.state, [], play.now_us)
    assert [ask(play, name).worn for name in ("again", "equal", "low")] == [1, 0, 0]
    play.state.policy = written(Policy(), {"exempt_us": 0, "evictions_max": 2})
    assert ask(play, "again").worn == 0


def test_evenness_is_jains_index() -> None:
    play = Play()
    assert evenness(play.state) == 1_000
    play.do(["node a cpu=2", "node b cpu=2", "submit x cpu=2 single"])
    assert evenness(play.state) == 500
    play.do(["submit y cpu=2 single"])
    assert evenness(play.state) == 1_000
    play.do(["node c cpu=2"])
    assert evenness(play.state) == 666


def test_a_licence_that_the_cluster_has_not_is_told_from_one_in_use() -> None:
    play = Play({"licences": {"l": 1}})
    play.do(
        [
            "node a cpu=4",
            "submit x cpu=1 licence=l:1 single",
            "submit y cpu=1 licence=l:1",
            "submit z cpu=1 licence=l:2",
        ]
    )
    step(play.state, [], play.now_us)
    assert ask(play, "y").reason == "no_licence"
    assert ask(play, "z").reason == "no_such_licence"


def test_the_end_of_a_slot_of_time_is_announced_while_a_tier_waits_for_it() -> None:
    play = Play({"model": "priority_tiering", "tier_period_us": 10 * S, "aging_us": [0] * 6, "preemption": 0})
    play.do(["node n cpu=1", "submit x cpu=1 single"])
    assert next_due_us(play.state, play.now_us) is None
    play.do(["submit y cpu=1 single"])
    assert next_due_us(play.state, play.now_us) == 5 * S
    play.do(["wait 6s"])
    assert next_due_us(play.state, play.now_us) == 8 * S
