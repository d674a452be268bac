"""Schedules in the engine: one job for each nominal fire, through restarts, a full disk, policies and wishes."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from engine_build import NODE, SPEC, Hands, array, ended

from kos_ray.engine import schedules
from kos_ray.engine.inbox import ScheduleWish
from kos_ray.engine.overview import overview
from kos_ray.journal.verify import verify
from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, AttemptEnd, JobState
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.model.schedule import CatchUp, Outcome, Overlap, Schedule, ScheduleFired
from kos_ray.observe.tables import schedules_text
from kos_ray.scheduler.machine import recover
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State

SECOND, HOUR = 1_000_000, 3_600_000_000
#: a Monday, 2026-03-02T00:00Z
NOW = 1_772_409_600 * SECOND
EVERY = Schedule(name="tick", rules=("every 10 seconds",), spec=SPEC, overlap=Overlap.ALLOW_ALL)


class Clocked(Hands):
    """Hands with a schedule, on which time is let go on."""

    def wish(self, verb: str, schedule: Schedule | None = None, **fields: Any) -> Any:
        key = schedule.key if schedule else EVERY.key
        wish = ScheduleWish(f"w{len(self.answers)}", verb, key=key, schedule=schedule, **fields)
        self.engine.wish(wish, self.answers.append)
        self.engine.tick()
        return self.answers[-1]

    def until(self, at_us: int) -> None:
        """As the process does: tick when something is due."""
        while (due := self.engine.next_due_us()) is not None and due <= at_us:
            self.time_us = max(self.time_us, due)
            self.engine.tick()
        self.time_us = at_us

    def fires(self, outcome: Outcome | None = None) -> list[ScheduleFired]:
        found = (event for frame in self.journal.frames() for event in frame.events)
        return [one for one in found if isinstance(one, ScheduleFired) and outcome in (None, one.outcome)]

    def made(self) -> dict[str, int]:
        """Names of jobs, and how often each was submitted."""
        found = (event for frame in self.journal.frames() for event in frame.events)
        return Counter(name for one in found if isinstance(one, e.JobsSubmitted) for _, name in one.names)


def begun(schedule: Schedule = EVERY, **fields: Any) -> Clocked:
    hands = Clocked(now_us=NOW)
    hands.wish("set", replace(schedule, **fields))
    return hands


def seconds(fires: list[ScheduleFired]) -> list[int]:
    return [(one.nominal_us - NOW) // SECOND for one in fires]


def test_a_fire_and_its_job_are_in_one_frame() -> None:
    hands = begun()
    hands.until(NOW + 35 * SECOND)
    assert seconds(hands.fires()) == [10, 20, 30]
    assert hands.made() == {f"tick@2026-03-02T00:00:{second}Z": 1 for second in (10, 20, 30)}
    for frame in hands.journal.frames():
        jobs = [event.first for event in frame.events if isinstance(event, e.JobsSubmitted)]
        assert jobs == [event.job for event in frame.events if isinstance(event, ScheduleFired)]
    assert verify(hands.journal).differences == ()


def test_killed_after_every_frame_there_is_one_job_for_each_fire() -> None:
    hands = begun(catch_up=CatchUp.ALL)
    for second in range(5, 1_005, 5):
        hands = Clocked(hands.journal, now_us=NOW + second * SECOND)
        hands.until(NOW + second * SECOND)
    assert seconds(hands.fires()) == list(range(10, 1_001, 10))
    assert set(hands.made().values()) == {1}
    assert len(hands.made()) == 100


def test_a_frame_that_could_not_be_written_fires_again_once(full: list[bool]) -> None:
    hands = begun()
    full[0] = True
    hands.until(NOW + 10 * SECOND)
    assert hands.engine.stalled
    assert not hands.fires()
    full[0] = False
    hands.time_us = NOW + 12 * SECOND
    hands.engine.tick()
    hands.until(NOW + 12 * SECOND)
    assert seconds(hands.fires()) == [10]


@pytest.mark.parametrize(
    ("catch_up", "started"),
    [
        (CatchUp.NONE, [3_660]),
        (CatchUp.LATEST, [3_640, 3_660]),
        (CatchUp.EARLIEST, [80, 3_660]),
        (CatchUp.ALL, [*range(80, 3_660, 20), 3_660]),
    ],
)
def test_what_was_missed_while_there_was_no_scheduler(catch_up: CatchUp, started: list[int]) -> None:
    hands = begun(rules=("every 20 seconds",), catch_up=catch_up, window_us=HOUR)
    hands = Clocked(hands.journal, now_us=NOW + 3_661 * SECOND)
    hands.until(NOW + 3_661 * SECOND)
    assert seconds(hands.fires(Outcome.SUBMITTED)) == started
    long_ago, *others = hands.fires(Outcome.SKIPPED)
    assert (long_ago.reason, long_ago.nominal_us, long_ago.until_us) == (
        Reason.MISSED_LONG_AGO,
        NOW + 20 * SECOND,
        NOW + 61 * SECOND,
    )
    assert {one.reason for one in others} <= {Reason.MISSED}
    assert sorted(seconds(others) + started) == list(range(80, 3_661, 20))


def ran(hands: Clocked, key: int, end: AttemptEnd = AttemptEnd.SUCCEEDED) -> None:
    """A job's attempt ends."""
    hands.report(ended(key, end=end), number=key)
    hands.engine.tick()
    hands.until(hands.time_us)


def test_overlap_waits_for_the_end_of_the_job_before() -> None:
    hands = begun(overlap=Overlap.BUFFER_ONE)
    hands.greet()
    hands.until(NOW + 30 * SECOND)
    assert [one.outcome for one in hands.fires()] == [Outcome.SUBMITTED, Outcome.BUFFERED, Outcome.SKIPPED]
    assert hands.fires()[-1].reason is Reason.OVERLAP
    hands = Clocked(hands.journal, now_us=hands.time_us)  # a restart in between
    hands.greet(queued=(1,), queued_attempts=(1,))
    hands.engine.tick()
    ran(hands, 1)
    assert seconds(hands.fires(Outcome.SUBMITTED)) == [10, 20]
    assert hands.fires()[-1].job == 2


def test_cancel_other_starts_when_the_other_has_ended() -> None:
    hands = begun(overlap=Overlap.CANCEL_OTHER)
    hands.greet(replace(NODE))
    hands.until(NOW + 20 * SECOND)
    assert hands.engine.state.jobs[1].cancelled
    assert seconds(hands.fires(Outcome.SUBMITTED)) == [10]
    ran(hands, 1, AttemptEnd.STOPPED)
    assert seconds(hands.fires(Outcome.SUBMITTED)) == [10, 20]


def test_pause_skips_with_its_note_and_a_failure_pauses() -> None:
    hands = begun(pause_on_failure=True)
    hands.greet()
    hands.wish("pause", note="holidays")
    hands.until(NOW + 20 * SECOND)
    assert [one.reason for one in hands.fires()] == [Reason.SCHEDULE_PAUSED] * 2
    assert hands.engine.state.schedules.by_key[EVERY.key].note == "holidays"
    hands.wish("resume")
    hands.until(NOW + 30 * SECOND)
    ran(hands, 1, AttemptEnd.FAILED)
    standing = hands.engine.state.schedules.by_key[EVERY.key]
    assert standing.paused
    assert "ended failed (pause_on_failure)" in standing.note


def test_trigger_and_backfill_make_each_job_once_in_the_lowest_band() -> None:
    hands = begun()
    hands.until(NOW + 20 * SECOND)
    stretch = {"from_us": NOW - 30 * SECOND, "to_us": NOW + 20 * SECOND}
    tried = hands.wish("backfill", **stretch, dry_run=True)
    assert [(at - NOW) // SECOND for at in tried["fires"]] == [-30, -20, -10, 0]
    assert [(at - NOW) // SECOND for at in tried["there"]] == [10]
    assert len(hands.made()) == 2
    hands.wish("backfill", **stretch)
    assert hands.wish("backfill", **stretch)["fires"] == []
    assert [job.entry.spec.band for job in hands.engine.state.jobs.values()] == [3, 3, 5, 5, 5, 5]
    assert hands.wish("trigger")["key"] == 7
    assert hands.engine.state.schedules.by_key[EVERY.key].next_us == NOW + 30 * SECOND


def test_its_bounds_and_what_is_left_out() -> None:
    hands = begun(fires_max=2)
    hands.until(NOW + 60 * SECOND)
    assert seconds(hands.fires()) == [10, 20]
    hands = begun(start_us=NOW + 25 * SECOND, end_us=NOW + 40 * SECOND)
    hands.until(NOW + 90 * SECOND)
    assert seconds(hands.fires()) == [30, 40]
    hands = begun(rules=("every day at noon",), without=("2026-03-03", "weekends"))
    hands.until(NOW + 7 * 24 * HOUR)
    assert [second // 86_400 for second in seconds(hands.fires())] == [0, 2, 3, 4]


def test_jitter_is_the_same_after_a_restart_and_the_nominal_time_stays() -> None:
    hands = begun(jitter_us=5 * SECOND)
    standing = hands.engine.state.schedules.by_key[EVERY.key]
    assert NOW + 10 * SECOND < standing.due_us < NOW + 15 * SECOND
    again = Clocked(hands.journal, now_us=NOW + 1)
    assert again.engine.next_due_us() == standing.due_us
    again.until(NOW + 16 * SECOND)
    assert seconds(again.fires()) == [10]


def test_what_cannot_be_is_refused() -> None:
    hands = begun()
    assert hands.wish("set", EVERY)["next_us"] == NOW + 10 * SECOND
    for answer, words in (
        (hands.wish("set", replace(EVERY, rules=("every noon and then",))), "schedule tick: expected"),
        (hands.wish("set", replace(EVERY, jitter_us=1)), "--replace"),
        (hands.wish("backfill", from_us=NOW, to_us=NOW + HOUR), "expected a stretch of the past"),
    ):
        assert isinstance(answer, Refused)
        assert words in str(answer)
    hands.wish("remove")
    assert "there is no schedule default/tick" in str(hands.wish("pause"))
    assert hands.engine.state.schedules.next_due_us() is None


def test_a_job_that_is_not_accepted_is_a_fire_that_was_skipped() -> None:
    hands = begun(spec=replace(SPEC, python="2.7"))
    hands.until(NOW + 10 * SECOND)
    (fired,) = hands.fires()
    assert (fired.outcome, fired.reason) == (Outcome.SKIPPED, Reason.FIRE_REFUSED)
    assert "Python 2.7" in fired.detail


def test_a_snapshot_and_the_frames_behind_it_are_the_same_state() -> None:
    hands = begun(overlap=Overlap.BUFFER_ALL, jitter_us=3 * SECOND)
    hands.greet()
    hands.until(NOW + 40 * SECOND)
    ran(hands, 1)
    hands.wish("pause", note="n")
    hands.until(NOW + 60 * SECOND)
    frames = list(hands.journal.frames())
    expected = state_to_plain(hands.engine.state)["schedules"]
    assert expected[1][0][3], "fires wait"
    for cut in range(len(frames) + 1):
        state = State()
        for number, frame in enumerate(frames):
            if number == cut:
                state = state_from_plain(state_to_plain(state))
            recover(state, frame.events, frame.decisions, frame.now_us)
        assert state_to_plain(state)["schedules"] == expected
        assert state.schedules.next_due_us() == hands.engine.state.schedules.next_due_us()


def test_a_rule_that_cannot_be_asked_any_more_stops_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a zone has gone from the machine, or another version reads less: the others go on, and it says why."""
    hands = begun()
    hands.wish("set", replace(EVERY, name="other"))
    real = schedules.rule_of

    def broken(schedule: Schedule) -> Any:
        if schedule.name == "other":
            raise ValueError("year 10000 is out of range")
        return real(schedule)

    monkeypatch.setattr(schedules, "rule_of", broken)
    hands.until(NOW + 35 * SECOND)
    refused = hands.fires(Outcome.SKIPPED)
    assert [(one.key, one.reason) for one in refused] == [(replace(EVERY, name="other").key, Reason.FIRE_REFUSED)]
    assert "year 10000" in refused[0].detail
    assert seconds(hands.fires(Outcome.SUBMITTED)) == [10, 20, 30]
    monkeypatch.undo()
    hands.wish("set", replace(EVERY, name="other", overlap=Overlap.SKIP), replace=True)
    hands.until(NOW + 45 * SECOND)
    assert len(hands.fires(Outcome.SUBMITTED)) == 5


def handed(hands: Clocked) -> dict[int, bytes]:
    """What jobs were handed with their launch of an earlier one's result, by key."""
    orders = [launch for _, orders in hands.sent for launch in orders.launches]
    return {launch.keys[i]: payload for launch in orders for i, payload in launch.latest}


def test_the_last_successful_result_is_handed_on() -> None:
    """Of what had succeeded when the job was made; through a snapshot, and to what somebody asked for."""
    hands = begun()
    hands.greet(replace(NODE, resources=Resources.of({"CPU": 9})))
    hands.until(NOW + 10 * SECOND)
    hands.report(ended(1, result=b"first"), number=1)
    hands.engine.tick()
    hands.until(NOW + 20 * SECOND)
    hands.report(ended(2, end=AttemptEnd.FAILED), number=2)
    hands.until(NOW + 30 * SECOND)
    assert handed(hands) == {2: b"first", 3: b"first"}
    state = state_from_plain(state_to_plain(hands.engine.state))
    assert state.schedules.handed == hands.engine.state.schedules.handed == {3: 1}
    assert state.schedules.wanted() == {1}
    hands.report(ended(3, result=b"third"), number=3)
    hands.engine.tick()
    hands.wish("trigger")
    assert handed(hands)[4] == b"third"
    hands.report(ended(4, result=b"asked"), number=4)
    hands.engine.tick()
    hands.until(NOW + 40 * SECOND)
    assert handed(hands)[5] == b"asked"


def test_explained_and_in_the_overview() -> None:
    hands = begun()
    hands.until(NOW + 10 * SECOND)
    found = hands.engine.explain(JobKey(1))
    assert found is not None
    assert (found.schedule, found.nominal_us) == ("default/tick", NOW + 10 * SECOND)
    hands.wish("pause")
    view = overview(hands.engine.state, (), hands.time_us)
    assert (view.schedules, view.schedules_paused) == (1, 1)
    assert (view.next_fire, view.next_fire_us) == ("default/tick", NOW + 20 * SECOND)
    assert schedules_text(view) == "1 (1 paused), next default/tick at 2026-03-02 00:00:20 UTC"
    hands.wish("remove")
    found = hands.engine.explain(JobKey(1))
    assert found is not None
    assert (found.schedule, found.nominal_us) == ("", NOW + 10 * SECOND)


def test_a_job_of_a_schedule_waits_for_those_that_it_names() -> None:
    hands = begun(after=(("prepared", int(After.OK)),))
    hands.until(NOW + 10 * SECOND)
    assert "depends on 'prepared'" in hands.fires()[0].detail
    hands.submit(array(name="prepared"))
    hands.until(NOW + 20 * SECOND)
    assert hands.engine.state.jobs[JobKey(2)].state is JobState.BLOCKED
