"""Others' tables of next fires: Vixie's (cronsim) by default, robfig's and Temporal's by their dialects; the sun's."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dateutil.rrule import rrulestr

from kos_ray.model.errors import InvalidSpec
from kos_ray.timing.cron import parse_cron
from kos_ray.timing.rules import Between, Every, Rule, Union, Without, fires, jittered, read_rule
from kos_ray.timing.sun import Sun

DATA = Path(__file__).parent / "data"
SECOND_US = 1_000_000


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text())


VIXIE, ROBFIG, TEMPORAL = load("cronsim_vixie.json"), load("robfig_cron.json"), load("temporal_schedule_spec.json")
LONDON = load("london_utc.json")


def us(text: str) -> int:
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)


def moment(said: dict[str, str]) -> tuple[int, str]:
    """An instant of robfig's table, and the zone that it is told in."""
    if "naive" in said:
        return us(said["naive"]), "UTC"
    return us(said["instant"]), said["tz"] or datetime.fromisoformat(said["instant"]).strftime("%z")


@pytest.mark.parametrize("case", VIXIE["next"], ids=lambda case: case["test"])
def test_vixie(case: dict[str, Any]) -> None:
    cron = parse_cron(case["spec"], timezone=case["tz"] or "UTC")
    assert list(fires(cron, us(case["now"]), len(case["expected"]))) == [us(text) for text in case["expected"]]


@pytest.mark.parametrize("spec", sorted({case["spec"] for case in VIXIE["must_reject"]}))
def test_vixie_rejects(spec: str) -> None:
    with pytest.raises(InvalidSpec, match="expected"):
        parse_cron(spec)


@pytest.mark.parametrize("case", ROBFIG["activation_5field"], ids=lambda case: f"{case['spec']} {case['fires']}")
def test_robfig_activation(case: dict[str, Any]) -> None:
    at_us, timezone = moment(case["time"])
    assert parse_cron(case["spec"], dialect="robfig", timezone=timezone).holds(at_us) is case["fires"]


@pytest.mark.parametrize(
    "case", ROBFIG["next_6field_seconds_first"] + ROBFIG["next_5field_tz"], ids=lambda case: case["spec"]
)
def test_robfig_next(case: dict[str, Any]) -> None:
    after_us, timezone = moment(case["after"])
    expected = case["expected_next"] and moment(case["expected_next"])[0]
    assert parse_cron(case["spec"], dialect="robfig", timezone=timezone).next_after(after_us) == expected


@pytest.mark.parametrize("spec", ROBFIG["must_reject_5field"])
def test_robfig_rejects(spec: str) -> None:
    with pytest.raises(InvalidSpec, match="expected"):
        parse_cron(spec, dialect="robfig")


def temporal_rule(case: dict[str, Any]) -> Rule:
    """A case of Temporal's table as a rule of ours."""
    if "cron" in case:
        return parse_cron(case["cron"], dialect="temporal")
    spec = case["spec"]
    rules: list[Rule] = [
        Every(one["Interval"]["seconds"] * SECOND_US, one.get("Phase", {}).get("seconds", 0) * SECOND_US)
        for one in spec.get("Interval", ())
    ]
    rules += [temporal_calendar(one) for one in spec.get("Calendar", ())]
    rules += [parse_cron(text, dialect="temporal") for text in spec.get("CronString", ())]
    excluded = tuple(temporal_calendar(one) for one in spec.get("ExcludeCalendar", ()))
    return Between(
        Without(Union(tuple(rules)), excluded), start_us=us(spec["StartTime"]) if "StartTime" in spec else None
    )


def temporal_calendar(said: dict[str, str]) -> Any:
    fields = [("Second", "0"), ("Minute", "0"), ("Hour", "0"), ("DayOfMonth", "*"), ("Month", "*"), ("DayOfWeek", "*")]
    words = [said.get(name, default) for name, default in (*fields, ("Year", "*"))]
    return parse_cron(" ".join(words), dialect="temporal")


@pytest.mark.parametrize("case", TEMPORAL, ids=lambda case: case["test"])
def test_temporal(case: dict[str, Any]) -> None:
    rule, jitter_us = temporal_rule(case), case.get("spec", {}).get("Jitter", {}).get("seconds", 0) * SECOND_US
    found = list(fires(rule, us(case["start"]), len(case["expected"])))
    assert len(found) == len(case["expected"])
    for nominal_us, text in zip(found, case["expected"], strict=True):
        next_us = rule.next_after(nominal_us)
        # both are the nominal time, and up to so much later; how much exactly is each one's own hash
        last_us = nominal_us + min(jitter_us, next_us - nominal_us if next_us else jitter_us)
        assert nominal_us <= us(text) <= last_us
        assert nominal_us <= jittered(case["test"], nominal_us, next_us, jitter_us) <= last_us


@pytest.mark.parametrize("case", LONDON, ids=lambda case: f"{case['event']} {case['date']}")
def test_sun(case: dict[str, Any]) -> None:
    rule = Sun(case["event"], case["lat"], case["lon"], depression=case.get("depression_deg") or 6.0)
    expected_us = us(case["expected_utc"])
    found = rule.next_after(expected_us - 3_600 * SECOND_US)
    assert found is not None
    assert abs(found - expected_us) <= case["tolerance_s"] * SECOND_US


def test_polar_days_have_no_sunset_and_nights_no_sunrise() -> None:
    """Svalbard: from the end of April to the end of August the sun does not set."""
    sunset, sunrise = Sun("sunset", 78.2, 15.6), Sun("sunrise", 78.2, 15.6)
    june, december = date(2026, 6, 21), date(2026, 12, 21)
    assert sunset.on(june) is None
    assert sunrise.on(december) is None
    after_us = us("2026-06-21T00:00:00")
    found = sunset.next_after(after_us)
    assert found is not None
    assert us("2026-08-15T00:00:00") < found < us("2026-09-01T00:00:00")


def test_an_offset_of_the_sun() -> None:
    plain, early = (
        Sun("sunrise", 51.5, 0.0),
        Sun("sunrise", 51.5, 0.0, -int(timedelta(hours=1) / timedelta(microseconds=1))),
    )
    after_us = us("2026-03-01T00:00:00")
    first, hour = plain.next_after(after_us), 3_600 * SECOND_US
    assert first is not None
    assert early.next_after(after_us) == first - hour
    # the hour before it belongs to the next day
    assert early.next_after(first - hour) == (plain.next_after(first) or 0) - hour


@pytest.mark.parametrize("freq", ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"])
@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("by", ["", ";BYMINUTE=30", ";BYDAY=FR", ";BYMONTHDAY=13"])
def test_a_recurrence_does_not_go_through_its_whole_past(freq: str, interval: int, by: str) -> None:
    begin = "20110813T070500" if freq != "HOURLY" else "20240813T070500"
    text = f"DTSTART:{begin}\nRRULE:FREQ={freq};INTERVAL={interval}{by}"
    rule = read_rule(text)
    plain = rrulestr(text)
    at = datetime(2033, 5, 6, 7, 8)  # noqa: DTZ001
    for _ in range(4):
        expected = plain.after(at)
        found = rule.next_after(us(at.isoformat()))
        assert found == (None if expected is None else us(expected.isoformat()))
        if expected is None:
            return
        at = expected
