"""Every setting of the scheduler: how it is written, and that it alone changes what is decided."""

from pathlib import Path
from typing import Any

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.policy import Against, Discipline, Model, Namespace, Policy, Rate, changed
from kos_ray.model.rebalance import Rebalance, Threshold
from kos_ray.model.where import Strategy
from kos_ray.observe.policies import settings_in_force
from kos_ray.spec.policies import CLUSTER, NAMESPACE, change_of, merged, parse_words
from kos_ray.spec.settings import parse_settings
from tests.scenarios.language import Play

MINUTE_US = 60_000_000


def pressed(kind: str, high: int, low: int) -> Threshold:
    return Threshold(kind=kind, high=high, low=low)


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
        ("scheduler_mode", "plugin:mine", "plugin", "mine"),
        ("scheduler_mode", "plugin:mine", "discipline", Discipline.PLUGIN),
        ("scheduling_model", "Just_In_Time", "model", Model.JUST_IN_TIME),
        ("just_in_time_slack", 0.5, "slack", 500),
        ("tiers", "1/2/3 per 10s", "tier_shares", (1, 2, 3)),
        ("tiers", "1/2/3 per 10s", "tier_period_us", 10_000_000),
        ("heartbeat_interval", 5, "heartbeat_us", 5_000_000),
        ("lease", "2m", "lease_us", 120_000_000),
        ("default_queue", "redis", "queue", "redis"),
        (
            "rebalance",
            True,
            "rebalance",
            Rebalance(thresholds=(pressed("memory", 950, 850), pressed("battery", 850, 750))),
        ),
        ("rebalance", {"memory": "90%"}, "rebalance", Rebalance(thresholds=(pressed("memory", 900, 800),))),
        (
            "rebalance",
            {"battery": {"low": "20%", "high": "40%"}, "cpu": {"high": "99.5%", "low": "50%"}, "after": "3 heartbeats"},
            "rebalance",
            Rebalance(thresholds=(pressed("cpu", 995, 500), pressed("battery", 800, 600)), after=3),
        ),
        (
            "rebalance",
            {"gpu_memory": "90%", "moves_per_minute": 1, "rest": "1m", "jobs": True},
            "rebalance",
            Rebalance(thresholds=(pressed("gpu_memory", 900, 800),), moves_per_minute=1, rest_us=MINUTE_US, jobs=True),
        ),
    ],
)
def test_settings_as_they_are_written(key: str, value: object, field: str, found: object) -> None:
    assert getattr(changed(Policy(), change_of(key, value)), field) == found


def test_a_change_that_is_none_is_refused_by_name() -> None:
    """Settings as people write them, given in the place of a change: they would be passed over."""
    with pytest.raises(TypeError, match=r"settings: expected \['namespaces', 'policy'\].*, found \['lease'\]"):
        changed(Policy(), {"lease": "3s"})


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
        (["scheduler_mode=plugin:"], "", "scheduler_mode: expected a job type|scheduler_mode: expected"),
        (["scheduling_model=jit"], "", "scheduling_model: expected one of standard, just_in_time, .* found 'jit'"),
        (["tiers=50/50"], "", "tiers: expected three shares"),
        (["tiers=0/0/0 per 1m"], "", "tiers: expected three shares"),
        (["tiers=1/1/1 per 10ms"], "", "tiers: expected three shares"),
        (["plugin_deadline=1h"], "", "plugin_deadline: expected a time from 1ms to 1m"),
        (["heartbeat_interval=0"], "", "heartbeat_interval: expected a time from 100ms to 1h"),
        (["lease=10ms"], "", "lease: expected a time from 1s to 1d"),
        (["max_concurrent_agents=0"], "", "max_concurrent_agents: "),
        (["max_agent_depth=0"], "", "max_agent_depth: expected a whole number from 1 to 1000, found 0"),
        (["max_agent_children=-1"], "", "max_agent_children: expected a whole number from 0 to 1000000, found -1"),
        (["preempt_while_borrowing_from=low"], "", "preempt_while_borrowing_from: expected a known setting"),
        (["preempt_while_borrowing_from=lowest"], "team", "preempt_while_borrowing_from: expected one of critical"),
        (["rebalance=3"], "", "rebalance: expected true, false, or a mapping such as {memory: 90%}, found 3"),
        (["rebalance={memry: 90%}"], "", 'rebalance: expected cpu, memory, .*, found .memry.; did you mean "memory"'),
        (["rebalance={memory: 90}"], "", "rebalance: memory: high: expected a share from 0% to 100%, found 90"),
        (["rebalance={memory: 101%}"], "", "rebalance: memory: high: expected a share from 0% to 100%"),
        (["rebalance={memory: {low: 80%}}"], "", "rebalance: memory: expected a share such as 90%, or high and low"),
        (["rebalance={cpu: {high: 80%, low: 80%}}"], "", "rebalance: cpu: expected low below high, found low 80% and"),
        (["rebalance={battery: {high: 80%}}"], "", "rebalance: battery: expected a share such as 90%, or low and high"),
        (["rebalance={after: 2}"], "", "rebalance: expected a threshold beside the rest, such as memory: 90%"),
        (["rebalance={cpu: 90%, after: 0}"], "", "rebalance: after: expected a number of heartbeats"),
        (["rebalance={cpu: 90%, rest: 2d}"], "", "rebalance: rest: expected a time from 1s to 1d"),
        (["rebalance={cpu: 90%, jobs: some}"], "", "rebalance: jobs: expected true or false"),
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
    "learn_run_times": (
        "false",
        [
            ["node n cpu=9", "submit a x8 cpu=1 type=short single"],
            [f"end a.{i} succeeded ran=1s" for i in range(8)],
            ["wait 2s", "submit long cpu=8 run=20s single"],
            ["submit big cpu=9 single", "submit b cpu=1 type=short single"],
        ],
    ),
    "scheduling_model": (
        "just_in_time",
        [["submit late cpu=1 run=1s deadline=60s band=0 single", "submit a cpu=1 single", "node n cpu=1"]],
    ),
    "max_concurrent_agents": ("1", [["node n cpu=4", "submit a x2 cpu=1 agent single"]]),
    "allow_agent_preemption": (
        "false",
        [["node n cpu=1", "submit a cpu=1 band=5 agent"], ["wait 9s", "submit b cpu=1 band=0"]],
    ),
    "reschedule_on_crash": ("true", [["node n cpu=1", "submit a cpu=1 agent single"], ["end a crashed"]]),
    "poison_after": ("1", [["node n cpu=1", "submit a cpu=1 retries=3 single"], ["end a crashed"]]),
    "rebalance": (
        "{memory: 90%}",
        [["node n cpu=1", "submit a cpu=1 agent evict=checkpoint"], ["enter a", "pressed n memory=950 a:300"]],
    ),
    # these have tests of their own
    "max_agent_depth": ("2", []),
    "max_agent_children": ("1", []),
    "grace": ("1s", []),
    "just_in_time_slack": ("0", []),
    "tiers": ("1/1/1 per 1s", []),
    "plugin_deadline": ("1s", []),
    "heartbeat_interval": ("5", []),
    "lease": ("2s", [["node n cpu=1", "submit a cpu=1 exactly single"], ["enter a", "lost n"]]),
    "default_queue": ("redis", []),
    "telemetry": ("true", []),
    "log_retention_days": ("30", []),
    "retention": ("30d", []),
    "journal_max_size": ("1GiB", []),
    "notify": ("https://example.org/hook", []),
    "result_folders": (["/data"], []),
}
#: under this model, the setting alone changes what is decided
UNDER_MODEL: dict[str, tuple[Model, str, list[list[str]]]] = {
    "just_in_time_slack": (
        Model.JUST_IN_TIME,
        "1",
        [
            ["submit late cpu=1 run=10s deadline=25s band=0 single", "submit a x2 cpu=1 single", "node n cpu=1"],
            ["wait 8s"],
        ],
    ),
    "tiers": (
        Model.PRIORITY_TIERING,
        "0/0/1 per 60s",
        [["submit low cpu=1 band=5 single", "submit top cpu=1 band=0 single", "node n cpu=1"]],
    ),
}
#: what is tested elsewhere: a test that sees the setting alone change what is done
ELSEWHERE = {
    "grace": "tests/unit/spec/test_policies.py::test_grace_is_what_evictions_are_given",
    "max_agent_depth": "tests/unit/engine/test_engine_dispatch.py::test_cascades_end_where_the_settings_say",
    "max_agent_children": "tests/unit/engine/test_engine_dispatch.py::test_cascades_end_where_the_settings_say",
    "plugin_deadline": "tests/unit/engine/test_engine_plugins.py::test_a_plugin_that_is_silent_is_disabled_in_time",
    "heartbeat_interval": "tests/unit/runtime/test_node_watch.py::test_nodes_are_looked_at_as_often_as_is_set",
    "default_queue": "tests/unit/cli/test_scheduling.py::test_a_queue_that_is_not_there_is_said",
    "telemetry": "tests/unit/engine/test_engine_plugins.py::test_telemetry_counts_while_it_is_wanted",
    "log_retention_days": "tests/unit/runtime/test_retention.py::test_logs_are_removed_that_are_too_old",
    "retention": "tests/unit/runtime/test_compaction.py::test_settings_say_what_goes",
    "notify": "tests/unit/observe/test_signals.py::test_settings_that_change_hold_from_then_on",
    "result_folders": "tests/unit/runtime/test_results_handed_on.py::"
    "test_only_folders_that_the_settings_name_are_written_to",
    "journal_max_size": "tests/unit/runtime/test_compaction.py::test_a_large_journal_loses_the_oldest_first",
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


@pytest.mark.parametrize("key", UNDER_MODEL)
def test_each_setting_of_a_model_alone_changes_what_is_decided(key: str) -> None:
    model, value, history = UNDER_MODEL[key]
    policy = Policy(model=model)
    assert decided(policy, history) != decided(changed(policy, parse_words([f"{key}={value}"])), history)


@pytest.mark.parametrize("test", ELSEWHERE.values())
def test_what_is_tested_elsewhere_is(test: str) -> None:
    path, _, function = test.partition("::")
    assert f"def {function}(" in (Path(__file__).parents[3] / path).read_text(encoding="utf-8")


def test_a_band_alone_says_who_gives_way_to_a_borrower() -> None:
    """`preempt_while_borrowing_from`: Kueue's maxPriorityThreshold."""
    history = [
        ["node n cpu=2", "submit a x2 cpu=1 band=3 in=other single"],
        ["wait 9s", "submit b x2 cpu=1 band=0 in=team single"],
    ]
    words = ["guaranteed={cpu: 0.5}", "preempt_while_borrowing=lower", "reclaim=lower"]
    policy = changed(Policy(), parse_words(words, "team"))
    other = changed(policy, parse_words(["preempt_while_borrowing_from=idle"], "team"))
    assert decided(policy, history) != decided(other, history)


def test_no_setting_is_left_out() -> None:
    assert {key for key, (_, history) in HISTORIES.items() if not history} == UNDER_MODEL.keys() | ELSEWHERE.keys()
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


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("false", "false"),
        (
            "{memory: 90%, battery: 15%, jobs: true}",
            "{memory: {high: 90%, low: 80%}, battery: {high: 25%, low: 15%}, after: 2, moves_per_minute: 4, rest: 10m, "
            "jobs: true}",
        ),
    ],
)
def test_thresholds_are_shown_as_they_are_written(written: str, shown: str) -> None:
    policy = changed(Policy(), parse_words([f"rebalance={written}"]))
    assert settings_in_force(policy)["rebalance"] == shown
    assert changed(Policy(), parse_words([f"rebalance={shown}"])) == policy
    assert changed(policy, parse_words(["rebalance=false"])) == Policy()
