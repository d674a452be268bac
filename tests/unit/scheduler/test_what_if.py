"""What would start a waiting job now: one case for each kind of change, applied as it is told."""

from typing import Any

import pytest

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey
from kos_ray.scheduler import what_if as searching
from kos_ray.scheduler.changes import Change
from kos_ray.scheduler.machine import step
from kos_ray.scheduler.snapshot import state_to_plain
from kos_ray.scheduler.what_if import what_if
from tests.scenarios.language import Play

_LIMIT = {"namespaces": [{"name": "team", "limit": "cpu=1"}]}
_BORROW = {"namespaces": [{"name": "default", "guaranteed": "cpu=4"}, {"name": "team", "borrow": "cpu=1"}]}
_RATE = {"rates": [{"name": "r", "amount": 1, "per_us": 10_000_000, "burst": 3}]}
_CLAIMED = ["node a cpu=2", "submit x cpu=1 run=10s evict=never", "submit h cpu=2 band=2"]
_NONE = {"licences": {"l": 1}}
_LICENSED = "submit j cpu=3 type=t licence=l:2"

#: policy, what happened, the kind of change that is looked for in the case of `j`, and its text
CASES: tuple[tuple[dict[str, Any], list[str], str, str], ...] = (
    ({}, ["node a gpu=4", "submit x gpu=1 single", "submit j gpu=4"], "fewer GPU", "ask for GPU 3 instead of 4"),
    ({}, ["node a cpu=1", "submit x cpu=0.25", "submit j cpu=1"], "fewer CPU", "ask for CPU 0.75 instead of 1"),
    ({}, ["node a gpu=3", "submit j x2 gang=2 gpu=2"], "fewer GPU", "ask for GPU 1 instead of 2"),
    ({}, ["node a cpu=1 zone:x", "submit j cpu=1 on=zone:y"], "where", "ask for the label zone: x"),
    ({}, ["node a cpu=1", "submit j cpu=1 on=disk"], "where", "do not ask for the label disk"),
    ({}, ["node a cpu=1", "submit j cpu=1 node=b"], "where", "do not ask for nodes by name"),
    ({}, ["node a cpu=2", "submit x cpu=1 tag=w", "submit j cpu=1 apart=tag:w"], "where", "not `apart: tag:w`"),
    ({}, ["node a cpu=2", "submit x cpu=2", "submit j cpu=2"], "end", "end a running job"),
    ({}, ["node a cpu=2", "submit x x2 cpu=1", "submit j cpu=2"], "end", "end 2 running jobs"),
    (
        _LIMIT,
        ["node a cpu=4", "submit x in=team cpu=1", "submit j in=team cpu=1"],
        "settings",
        "`limit` of team to CPU 2",
    ),
    (_BORROW, ["node a cpu=4", "submit j in=team cpu=2"], "settings", "`borrow` of team to CPU 2"),
    ({"licences": {"l": 1}}, ["node a cpu=4", "submit j licence=l:2"], "settings", "have 2 licences of l instead of 1"),
    (
        {"licences": {"l": 1}},
        ["node a cpu=4", "submit j licence=l:2"],
        "demands",
        "ask for 1 licences of l instead of 2",
    ),
    (_RATE, ["node a cpu=4", "submit x rate=r:1", "submit j rate=r:3"], "demands", "use up 2 units of the rate r"),
    (_RATE, ["node a cpu=4", "submit x rate=r:3", "submit j rate=r:3"], "settings", "lift the rate limit r"),
    ({}, ["node a cpu=4", "submit x key=k:1", "submit j key=k:1"], "demands", "let 2 jobs with the concurrency key k"),
    ({"agents_max": 1}, ["node a cpu=4", "submit x agent", "submit j agent"], "settings", "let 2 agents run at once"),
    ({}, ["node a cpu=1", "cordon a", "submit j cpu=1"], "uncordon", "uncordon a"),
    ({}, ["node a cpu=1", "open a 50s-60s", "submit j cpu=1 run=5s"], "window", "open node a now for 5 s"),
    ({}, [*_CLAIMED, "submit j cpu=1 band=4"], "priority", "raise its priority to realtime"),
    ({}, [*_CLAIMED, "submit j cpu=1 band=4 run=30s"], "run time", "be over in 10 s"),
    ({}, ["node a cpu=1", "submit x cpu=1", "submit j cpu=1", "hold j", "end x"], "release", "release it"),
    (
        {"discipline": "deadline"},
        ["node a cpu=2", "submit x cpu=1 evict=never", "submit h cpu=2 deadline=60s", "submit j cpu=1"],
        "deadline",
        "have its deadline in 1 s",
    ),
    (
        {},
        ["node b cpu=8 gpu=1", "node a cpu=4 gpu=4", "submit x cpu=2 gpu=3 node=a", "submit j cpu=9 gpu=4"],
        "fewer CPU and GPU",
        "ask for CPU 8 instead of 9 and GPU 1 instead of 4",
    ),
    ({}, ["node a cpu=3", "submit j x4 gang=4 cpu=1"], "gang", "be a gang of 3 instead of 4"),
    (
        {},
        ["node a cpu=3", "submit j x6 gang=6 quorum=5 cpu=1"],
        "gang",
        "start with 3 of its gang at once instead of 5 (`min`)",
    ),
)


def played(policy: dict[str, Any], lines: list[str]) -> tuple[Play, JobKey]:
    play = Play(policy)
    for line in lines:
        play.do([line])
    return play, play.keys.get("j") or play.keys["j.0"]


def suggested(play: Play, key: JobKey) -> dict[str, Change]:
    return {change.kind: change for change in what_if(state_to_plain(play.state), key, play.now_us)}


@pytest.mark.parametrize("case", CASES, ids=[f"{case[2]}: {case[3]}" for case in CASES])
def test_the_smallest_change_of_each_kind_starts_it(case: tuple[dict[str, Any], list[str], str, str]) -> None:
    policy, lines, kind, text = case
    play, key = played(policy, lines)
    found = suggested(play, key)
    assert text in found[kind].text, found
    launched = [
        key
        for event in found[kind].events
        for decision in step(play.state, [event], play.now_us)
        if isinstance(decision, d.Launch)
        for key in decision.keys
    ]
    assert found[kind].starts in launched


def test_of_those_who_could_end_the_one_that_loses_the_least() -> None:
    lines = ["node a cpu=4", "submit early cpu=2", "wait 5s", "submit late cpu=2", "wait 1s", "submit j cpu=2"]
    play, key = played({}, lines)
    assert suggested(play, key)["end"].ends == (play.keys["late"],)


def test_no_more_end_than_must() -> None:
    lines = ["node a cpu=4", "submit x x2 cpu=1", "wait 1s", "submit y cpu=2", "submit j cpu=3"]
    play, key = played({}, lines)
    assert set(suggested(play, key)["end"].ends) == {play.keys["y"], play.keys["x.0"]}


def test_own_wishes_come_before_settings_and_those_before_the_work_of_others() -> None:
    play, key = played(_LIMIT, ["node a cpu=2", "submit x in=team cpu=1", "submit j in=team cpu=1"])
    assert [change.kind for change in what_if(state_to_plain(play.state), key, play.now_us)] == ["settings", "end"]


@pytest.mark.parametrize("lines", [["node a cpu=1", "submit j cpu=1"], ["submit p cpu=1", "submit j cpu=1 after=ok:p"]])
def test_who_does_not_wait_for_its_turn_is_told_nothing(lines: list[str]) -> None:
    assert not suggested(*played({}, lines))


def test_where_less_of_one_resource_is_enough_several_are_not_told() -> None:
    play, key = played({}, ["node b cpu=4 gpu=1", "node a cpu=1 gpu=1", "submit j cpu=4 gpu=2"])
    assert set(suggested(play, key)) == {"fewer GPU"}


def test_a_job_submitted_anew_stands_at_the_end_of_its_line() -> None:
    lines = ["node a cpu=1", "submit j cpu=2 singleton=s"]
    assert "fewer CPU" in suggested(*played({}, lines))
    assert not suggested(*played({}, [*lines, "submit behind cpu=2 singleton=s"]))


def test_a_job_submitted_anew_has_arguments_as_large_as_before() -> None:
    """Only those with small ones are known to be short, and would pass who keeps the node."""
    lines = ["node a cpu=4"]
    for size, ran in (("0", "1s"), ("9000", "100s")):
        lines += [f"submit s cpu=3 type=t args={size} single", f"end s succeeded ran={ran}"] * 8
    lines += ["submit x cpu=1 evict=never run=60s", "submit h cpu=4"]
    small, large = (suggested(*played(_NONE, [*lines, f"{_LICENSED} args={size}"])) for size in (0, 9_000))
    assert "demands" in small
    assert "demands" not in large


def test_who_waits_behind_may_start_between_a_cancellation_and_a_submission() -> None:
    """Nobody keeps the room meanwhile: it is gone when less is asked for."""
    play, key = played({}, ["node a cpu=4", "submit x cpu=1 evict=never", "submit j cpu=4", "submit next cpu=2"])
    assert suggested(play, key)["fewer CPU"].text == "ask for CPU 1 instead of 4"


def test_tries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    real = searching.state_from_plain

    def count(*arguments: Any) -> Any:
        tried.append(1)
        return real(*arguments)

    monkeypatch.setattr(searching, "state_from_plain", count)
    monkeypatch.setattr(searching, "TRIES_MAX", 5)
    monkeypatch.setattr(searching, "_TRIES_MIN", 5)
    lines = ["node a cpu=8 gpu=8 mem=8", "submit x x8 cpu=1 gpu=1 mem=1", "submit j cpu=8 gpu=8 mem=8"]
    suggested(*played({}, lines))
    assert len(tried) == 1 + 5
