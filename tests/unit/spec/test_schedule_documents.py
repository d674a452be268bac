"""Schedules in documents: beside a job, and as documents of their own; what is wrong has its line."""

from datetime import UTC, datetime

import pytest

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import Draft, lower
from kos_ray.spec.schedule import ScheduleSpec


def read(text: str) -> Draft:
    return lower([load_text(text, "x.yaml")])[0]


def spec_of(text: str) -> ScheduleSpec:
    found = read(text).schedule
    assert found is not None
    return found


def test_a_rule_stands_for_a_schedule() -> None:
    for written in ("every day at noon", "[every day at noon]", "{when: every day at noon}"):
        draft = read(f"id: noon\nrun: x\nschedule: {written}")
        assert draft.schedule is not None
        assert (draft.name, draft.schedule.when) == ("noon", ("every day at noon",))
    assert spec_of("id: a\nrun: x\nschedule: 2026-03-29T09:00:00+02:00").when == ("2026-03-29T09:00:00+02:00",)


def test_every_word_of_a_document_of_its_own() -> None:
    draft = read(
        """
        kind: schedule
        name: nightly
        when: [every day at 2:30, "0 12 * * 5"]
        tz: Europe/Berlin
        dst: robfig
        without: [weekends, 2026-12-25]
        start: 2026-03-01T00:00:00Z
        end: 2027-03-01T00:00:00Z
        max_fires: 5
        jitter: 5m
        window: 2h
        overlap: buffer_one
        catch_up: all
        pause_on_failure: true
        job: {id: train, entry: "m:f", args: [1], priority: 1, after: [prepared]}
        """
    )
    assert (draft.name, draft.spec.entry, draft.spec.band) == ("nightly", "m:f", 1)
    assert draft.after == (("prepared", After.OK),)
    assert draft.schedule is not None
    assert draft.schedule.terms() == {
        "tz": "Europe/Berlin",
        "dst": "robfig",
        "without": ("weekends", "2026-12-25"),
        "start": datetime(2026, 3, 1, tzinfo=UTC),
        "end": datetime(2027, 3, 1, tzinfo=UTC),
        "max_fires": 5,
        "jitter": 300.0,
        "window": 7_200.0,
        "overlap": "buffer_one",
        "catch_up": "all",
        "pause_on_failure": True,
    }


def test_for_events() -> None:
    found = spec_of("id: a\nrun: x\nschedule:\n  on: file.created\n  where: [path ~ *.csv, size > 10]")
    assert (found.on, found.where, found.when) == (("file.created",), ("path ~ *.csv", "size > 10"), ())
    assert "overlap" not in found.terms(), "the client knows what is usual"
    assert spec_of("kind: schedule\nname: a\non: [a, b.*]\noverlap: skip\njob: {run: x}").on == ("a", "b.*")


def test_in_a_workflow_it_has_the_workflows_name() -> None:
    found = lower([load_text("name: w\njobs:\n- {id: a, run: x}\n- {id: b, run: x, schedule: hourly, after: [a]}")])
    assert [(draft.name, draft.schedule is None) for draft in found] == [("w/a", True), ("w/b", False)]
    assert found[1].after == (("w/a", After.OK),)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("id: a\nrun: x\nschedule: every dat", 3, "schedule.when: expected a day of the week, found 'dat'"),
        ("id: a\nrun: x\nschedule:\n  tz: UTC\n  when: 0 25 * * *", 5, "schedule.when: "),
        ("id: a\nrun: x\nschedule:\n  when: hourly\n  tz: Mars", 4, "expected a time zone"),
        (
            "id: a\nrun: x\nschedule:\n  when: hourly\n  without: sometimes",
            5,
            "schedule.without: 'sometimes': expected",
        ),
        ("id: a\nrun: x\nschedule: {when: hourly, overlap: both}", 3, "schedule.overlap: expected one of skip"),
        ("id: a\nrun: x\nschedule: {when: hourly, tc: UTC}", 3, "the fields are when, on, where"),
        ("id: a\nrun: x\nschedule: {when: hourly, jitter: soon}", 3, "schedule.jitter: expected"),
        (
            "id: a\nrun: x\nschedule: {when: hourly, on: a}",
            3,
            "schedule: expected either when (a rule) or on (an event)",
        ),
        ("id: a\nrun: x\nschedule: {tz: UTC}", 3, "found neither"),
        ("id: a\nrun: x\nschedule:\n  when: hourly\n  where: a > 1", 5, "schedule.where: expected where beside on"),
        ("id: a\nrun: x\nschedule:\n  on: a\n  where: a bit", 5, "schedule.where: expected a condition"),
        ("id: a\nrun: x\nschedule:\n  on: what else", 4, "schedule.on: expected an event's name"),
        ("id: a\nrun: x\nschedule: {on: a, jitter: 5s}", 3, "has no times"),
        ("run: x\nschedule: hourly", 2, "expected a name of the schedule, or an id of its job"),
        ("id: a\nrun: x\ncount: 3\nschedule: hourly", 3, "expected one job that a schedule starts, found count"),
        ("id: a\nrun: x\nafter: {any: [b], rule: one_success}\nschedule: hourly", 3, "expected"),
        ("kind: schedule\nname: a\nwhen: every dat\njob: {run: x}", 3, "when: expected a day of the week"),
        ("kind: schedule\nname: a\nwhen: hourly\njob:\n  rum: x", 5, 'did you mean "run"?'),
        ("kind: schedule\nname: a\nwhen: hourly", 1, "expected the field 'job'"),
        ("kind: schedule\nname: a\nwhen: hourly\njob: {id: b, run: x, schedule: daily}", 4, "without times of its own"),
        (
            "type: once\nid: a\naction: {module: m, function: f}\nrun_at: 2999-01-01T00:00:00Z\nschedule: hourly",
            5,
            "one",
        ),
        ("name: w\njobs:\n- {id: a, run: x, schedule: hourly}\n- {id: b, run: x, after: [a]}", 4, "found 'a'"),
    ],
)
def test_what_is_wrong_has_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read(text)
    (message,) = str(refused.value).splitlines()
    assert message.startswith(f"x.yaml:{line}: "), message
    assert said in message
