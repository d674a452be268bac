"""Plans of small states: what they say, and how sure they are."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from kos_ray.model import events as e
from kos_ray.model.ids import JobKey
from kos_ray.model.plan import Plan, PlannedJob
from kos_ray.rehearsal.plan import plan_jobs
from kos_ray.scheduler.snapshot import state_to_plain
from tests.scenarios.language import Play

SECOND_US = START_US = 1_000_000


def planned(policy: dict[str, Any], *lines: str, spread: int = 0) -> tuple[PlannedJob, ...]:
    """Plan the submission of the last line after the others have happened, of which the first did at `START_US`."""
    play = Play(policy)
    play.now_us = START_US
    for line in lines[:-1]:
        play.do([line])
    plain, told = state_to_plain(play.state), []
    play.step = lambda events: told.extend(events) or []  # type: ignore[method-assign, func-returns-value, assignment]
    play.do([lines[-1]])
    (submitted,) = told
    assert isinstance(submitted, e.JobsSubmitted)
    labels = {JobKey(submitted.first + i): f"new.{i}" for i in range(submitted.job_count)}

    def names_of(keys: Iterable[JobKey]) -> Mapping[JobKey, str]:
        return {key: play.name(key) for key in keys}

    return plan_jobs(plain, submitted, play.now_us, labels, names_of, spread=spread)


def seconds(*instants: int) -> tuple[float, ...]:
    """Instants since the first thing happened."""
    return tuple((at_us - START_US) / SECOND_US for at_us in instants)


def test_what_is_declared_is_exact() -> None:
    (job,) = planned({}, "node a cpu=1", "submit x cpu=1 run=10s", "wait 4s", "submit j cpu=1 run=5s")
    assert (job.node, job.reason, job.sure) == ("a", "no_room", "exact")
    assert seconds(job.start_us, job.end_us) == (10, 15)


def test_what_starts_at_once_is_exact_whatever_else_is_known() -> None:
    (job,) = planned({}, "node a cpu=2", "submit x cpu=1", "submit j cpu=1")
    assert (job.node, job.reason, job.sure, job.end_us) == ("a", "none", "exact", 0)


def test_nobody_knows_when_what_runs_before_says_nothing() -> None:
    (job,) = planned({}, "node a cpu=1", "submit x cpu=1", "wait 3s", "submit j cpu=1 run=5s")
    assert (job.start_us, job.latest_us, job.sure) == (0, 0, "unknown")
    assert seconds(job.earliest_us) == (3,)


def test_a_timeout_bounds_what_says_nothing() -> None:
    (job,) = planned({}, "node a cpu=1", "submit x cpu=1 timeout=9s", "wait 3s", "submit j cpu=1 run=5s")
    assert seconds(job.start_us, job.earliest_us, job.latest_us) == (9, 3, 9)


def test_what_runs_longer_than_declared_may_end_at_any_time() -> None:
    (job,) = planned({}, "node a cpu=1", "submit x cpu=1 run=2s", "wait 3s", "submit j cpu=1 run=5s")
    assert (job.sure, job.start_us - job.earliest_us) == ("unknown", 1)


def test_a_spread_widens_what_is_declared() -> None:
    lines = ("node a cpu=1", "submit x cpu=1 run=10s", "submit j cpu=1 run=5s")
    (job,) = planned({}, *lines, spread=200)
    assert seconds(job.start_us, job.earliest_us, job.latest_us) == (10, 8, 12)
    assert seconds(job.end_us, job.earliest_end_us, job.latest_end_us) == (15, 12, 18)


def test_a_measured_run_time_counts_from_half_to_double() -> None:
    lines = ("node a cpu=1", "submit x x2 cpu=1", "enter x.0", "end x.0 succeeded ran=8s", "submit j cpu=1 run=5s")
    (job,) = planned({}, *lines)
    assert seconds(job.start_us, job.earliest_us, job.latest_us) == (8, 4, 16)


def test_who_would_make_room_is_named_and_starts_count_its_grace() -> None:
    policy = {"exempt_us": 0, "patience_us": 0}
    (job,) = planned(policy, "node a cpu=1", "submit x cpu=1 run=60s grace=3s", "submit j cpu=1 band=0 run=1s")
    assert (job.preempts, job.reason) == (("x",), "room_being_made")
    assert seconds(job.start_us) == (3,)


def test_the_quota_that_is_left_and_limits_count() -> None:
    policy = {"namespaces": [{"name": "team", "limit": "cpu=3"}]}
    jobs = planned(policy, "node a cpu=9", "submit j x4 in=team cpu=1 run=5s")
    assert [job.quota_left for job in jobs[:3]] == [(("CPU", 0),)] * 3
    assert seconds(*(job.start_us for job in jobs)) == (0, 0, 0, 5)
    (alone,) = planned(policy, "node a cpu=9", "submit j in=team cpu=1 run=5s")
    assert alone.quota_left == (("CPU", 20_000),)


@pytest.mark.parametrize(
    ("run", "deadline", "spread", "verdict"),
    [("10s", "15s", 0, "meets"), ("10s", "9s", 0, "missed"), ("10s", "11s", 200, "at_risk"), ("", "9s", 0, "unknown")],
)
def test_whether_deadlines_hold(run: str, deadline: str, spread: int, verdict: str) -> None:
    run = f"run={run}" if run else ""
    (job,) = planned({}, "node a cpu=1", f"submit j cpu=1 {run} deadline={deadline}", spread=spread)
    assert job.deadline == verdict


def test_what_never_fits_says_why() -> None:
    (job,) = planned({}, "node a cpu=1", "submit j cpu=4 run=5s")
    assert (job.node, job.start_us, job.reason, job.sure) == ("", 0, "never_fits", "unknown")


def test_a_plan_is_the_same_as_time_goes_on_and_another_one_when_something_changes() -> None:
    def plan(*lines: str) -> Plan:
        jobs = planned({}, "node a cpu=1", "submit x cpu=1 run=10s", *lines, "submit j cpu=1 run=5s deadline=99s")
        return Plan(now_us=START_US, seq=0, jobs=jobs)

    assert plan().hash == plan("wait 3s").hash
    changed = plan("node b cpu=1")
    assert plan().hash != changed.hash
    lines = plan().changes(changed)
    assert "new.0: node: a before, b now" in lines
    assert "new.0: starts at once: no before, yes now" in lines
