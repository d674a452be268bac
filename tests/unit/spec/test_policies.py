"""Every setting of the scheduler: how it is written, and that it alone changes what is decided."""

from typing import Any

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.policy import Against, Discipline, Namespace, Policy, Rate, changed
from kos_ray.model.where import Strategy
from kos_ray.observe.policies import settings_in_force
from kos_ray.spec.policies import CLUSTER, NAMESPACE, change_of, merged, parse_words
from kos_ray.spec.settings import parse_settings
from tests.scenarios.language import Play

MINUTE_US = 60_000_000


@pytest.mark.parametrize(
    ("key", "value", "field", "found"),
    [
        ("scheduler_mode", "FIFO", "discipline", Discipline.FIFO),
        ("scheduler_mode", "dependency", "discipline", Discipline.DEPENDENCY_GRAPH),
        ("max_memory_usage", "85%", "memory_share", 850),
        ("preemption", False, "preemption", False),
        ("grace", "5s", "stop_grace_ms", 5_000),
        ("exempt_time", 2, "exempt_us", 2_000_000),
        ("aging", "1m", "aging_us", (MINUTE_US,) * 6),
        ("time_slices", {"low": "1m"}, "slice_us", (*Policy().slice_us[:4], MINUTE_US, Policy().slice_us[5])),
        ("entry_penalty", 0.5, "entry_penalty", 500),
        ("licences", {"matlab": 2}, "licences", (("matlab", 20_000),)),
        ("rates", {"calls": "100/1m"}, "rates", (Rate(name="calls", amount=100, per_us=MINUTE_US, burst=100),)),
        ("burst", "7/1m", "burst_jobs", 7),
        ("strategy", "spread", "strategy", Strategy.SPREAD),
    ],
)
def test_settings_as_they_are_written(key: str, value: object, field: str, found: object) -> None:
    assert getattr(changed(Policy(), change_of(key, value)), field) == found


def test_settings_of_a_namespace_are_added_to_what_it_has() -> None:
    policy = changed(Policy(), parse_words(["limit={cpu: 4, memory: 1KiB}", "scheduler_mode=lifo"], "team/a"))
    policy = changed(policy, parse_words(["weight=2", "reclaim=never"], "team/a"))
    limit = (("CPU", 40_000), ("memory", 1_024 * 10_000))
    assert policy.namespaces == (
        Namespace(name="team/a", discipline=Discipline.LIFO, limit=limit, weight=2_000, reclaim=Against.NEVER),
    )
    assert changed(policy, parse_words(["limit="], "team/a")).namespaces[0].limit == ()


def test_nothing_is_what_was_built_in() -> None:
    policy = changed(Policy(), parse_words(["grace=9s", "burst=1/1s"]))
    assert changed(policy, parse_words(["grace=", "burst="])) == Policy()


@pytest.mark.parametrize(
    ("words", "namespace", "message"),
    [
        (["scheduler_mode=fifi"], "", "scheduler_mode: expected one of .* found 'fifi'.*fifo"),
        (["gracee=1s"], "", "gracee: expected a known setting, found 'gracee'.*grace"),
        (["limit={cpu: 1}"], "", "limit: expected a known setting"),
        (["limit={cpu: -1}"], "team", "limit: cpu: "),
        (["weight"], "team", "expected KEY=VALUE, found 'weight'"),
        (["aging={cpu: 1s}"], "", "aging: expected bands by name"),
        (["rates={calls: 5}"], "", "rates: calls: expected a rate such as"),
        (["licences={matlab: 0}"], "", "licences: matlab: "),
        (["limit={cpu: 1}"], "team//x", "expected at most 63 letters"),
    ],
)
def test_what_is_wrong_is_refused(words: list[str], namespace: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        parse_words(words, namespace)


def test_a_settings_file_says_the_same() -> None:
    found = parse_settings("scheduler_mode: fifo\nnamespaces: {team: {limit: {cpu: 2}}}\ngrace: 3s")
    said = merged(parse_words(["scheduler_mode=fifo", "grace=3s"]), parse_words(["limit={cpu: 2}"], "team"))
    assert found.scheduling == said
    with pytest.raises(InvalidSpec, match=r"mine.yaml:1: scheduler_mode: expected one of"):
        parse_settings("scheduler_mode: fastest", "mine.yaml")
    with pytest.raises(InvalidSpec, match=r"mine.yaml:1: namespaces: team.limt: expected a known setting.*limit"):
        parse_settings("namespaces: {team: {limt: {cpu: 2}}}", "mine.yaml")


#: a setting, and a history that it alone makes end otherwise
HISTORIES: dict[str, tuple[str, list[list[str]]]] = {
    "scheduler_mode": ("fifo", [["submit a cpu=1 band=5 single", "submit b cpu=1 single", "node n cpu=1"]]),
    "max_memory_usage": ("50%", [["node n cpu=1 mem=4", "submit a mem=3"]]),
    "strategy": ("spread", [["node a cpu=4", "node b cpu=4", "submit j x2 cpu=1"]]),
    "unknown_length": ("true", [["node a cpu=4", "open a 0s-10s", "submit j cpu=1"]]),
    "preemption": ("false", [["node n cpu=1", "submit a cpu=1 band=5"], ["wait 9s", "submit b cpu=1 band=0"]]),
    "exempt_time": ("1m", [["node n cpu=1", "submit a cpu=1 band=5"], ["wait 9s", "submit b cpu=1 band=0"]]),
    "patience": (
        "2s",
        [
            ["node n cpu=1", "submit a x2 cpu=1 band=5 single"],
            ["end a.0 succeeded ran=1s"],
            ["wait 9s", "submit b cpu=1 band=0"],
        ],
    ),
    "max_evictions": ("0", [["node n cpu=1", "submit a cpu=1 band=5"], ["wait 9s", "submit b cpu=1 band=0"]]),
    "aging": ("1s", [["submit a cpu=1 single"], ["wait 2s"]]),
    "time_slices": (
        "1s",
        [["node n cpu=1", "submit a cpu=1 evict=checkpoint single"], ["wait 9s", "submit b cpu=1 single"]],
    ),
    "half_life": (
        "10ms",
        [
            ["node n cpu=4", "submit a x4 cpu=1 in=one single"],
            ["wait 60s", "end a.0", "end a.1", "end a.2", "end a.3"],
            ["wait 1s", "submit c x4 cpu=1 in=one single", "submit b x4 cpu=1 in=two single"],
        ],
    ),
    "entry_penalty": (
        "0",
        [
            ["node n cpu=2", "submit long cpu=1 in=two single"],
            ["wait 60s", "end long"],
            ["submit a x4 cpu=1 in=one single"],
            ["end a.0", "end a.1"],
            ["end a.2", "end a.3"],
            ["wait 2s"],
            ["submit c cpu=2 in=one", "submit b cpu=2 in=two"],
        ],
    ),
    "burst": ("1/1m", [["submit a cpu=1 single", "submit b cpu=1 single", "submit c cpu=1 band=4 single"]]),
    "licences": ("{x: 1}", [["node n cpu=1", "submit a cpu=1 licence=x:1"]]),
    "rates": ("{x: 1/1m}", [["node n cpu=4", "submit a x2 cpu=1 rate=x:1 single"]]),
    "idle_slot": ("1ms", [["node n cpu=1", "submit a cpu=1"], ["end a"], ["wait 10ms"]]),
    "claims": ("0", [["node n cpu=2", "submit a cpu=1"], ["submit b cpu=2 band=0", "submit c cpu=1 band=5 single"]]),
    "grace": ("1s", []),
}


def decided(policy: Policy, history: list[list[str]]) -> Any:
    play = Play()
    play.step([_policy(policy)])
    told = [play.do(lines) for lines in history]
    return told, {name: repr(job.job_class.name) for name, job in _live(play).items()}


def _policy(policy: Policy) -> Any:
    from kos_ray.model.events import PolicyChanged

    return PolicyChanged(request_id="", policy=policy)


def _live(play: Play) -> dict[str, Any]:
    return {name: play.state.jobs[key] for name, key in play.keys.items() if key in play.state.jobs}


@pytest.mark.parametrize("key", [key for key in CLUSTER if HISTORIES.get(key, ("", []))[1]])
def test_each_setting_alone_changes_what_is_decided(key: str) -> None:
    value, history = HISTORIES[key]
    other = changed(Policy(), parse_words([f"{key}={value}"]))
    assert decided(Policy(), history) != decided(other, history)


def test_no_setting_is_left_out() -> None:
    assert set(HISTORIES) == set(CLUSTER)
    assert set(settings_in_force(Policy())) == set(CLUSTER)
    assert set(settings_in_force(Policy(), "team")) == set(NAMESPACE)


def test_grace_is_what_evictions_are_given() -> None:
    from kos_ray.model.decisions import Evict

    play = Play()
    play.step([_policy(changed(Policy(), parse_words(["grace=7s"])))])
    play.do(["node n cpu=1", "submit a cpu=1 band=5"])
    play.now_us += 9_000_000
    (evict,) = [one for one in play.step([play._submit("b", "cpu=1", "band=0")]) if isinstance(one, Evict)]
    assert evict.grace_ms == 7_000
