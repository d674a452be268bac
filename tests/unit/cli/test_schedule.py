"""`kos schedule` without a cluster: what a rule means, where it is wrong, and what its month looks like."""

import json

import pytest
from fake_cluster import Kos


def test_validate_points_at_the_error(kos: Kos) -> None:
    code, out, err = kos("schedule", "validate", "0 61 * * *")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "kos: hour: expected 0 to 23, found '61'",
        "  0 61 * * *",
        "    ^^",
    ]
    code, out, _ = kos("schedule", "validate", "every weekday at 25", "--json")
    found = json.loads(out)
    assert (code, found["valid"], found["fires"]) == (2, False, [])
    assert found["error"].splitlines()[-1].index("^") == 2 + len("every weekday at ")


def test_validate_says_it_in_english_with_five_fires(kos: Kos) -> None:
    asked = ("schedule", "validate", "0 9 * * 1-5", "--after", "2026-03-27T00:00+01:00")
    code, out, _ = kos(*asked)
    assert code == 0
    assert out.splitlines() == [
        "At 09:00, Monday through Friday",
        *(f"2026-03-{day}T09:00:00+01:00" for day in (27, 30, 31)),
        *(f"2026-04-0{day}T09:00:00+01:00" for day in (1, 2)),
    ]
    found = json.loads(kos(*asked, "--json")[1])
    assert (found["valid"], found["error"], len(found["fires"])) == (True, None, 5)


@pytest.mark.parametrize(
    ("dst", "spring", "autumn"),
    [
        ("vixie", ["2026-03-29T03:00:00+02:00"], ["2026-10-25T02:30:00+02:00"]),
        ("robfig", [], ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]),
        ("temporal", [], ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]),
    ],
)
def test_next_on_the_nights_when_clocks_change(kos: Kos, dst: str, spring: list[str], autumn: list[str]) -> None:
    for day, expected in (("2026-03-29", spring), ("2026-10-25", autumn)):
        asked = ("next", "30 2 * * *", "--tz", "Europe/Berlin", "--after", day, "--count", "3", "--dst", dst)
        found = json.loads(kos("schedule", *asked, "--json")[1])
        assert (found["timezone"], found["dst"], len(found["fires"])) == ("Europe/Berlin", dst, 3)
        assert [fire for fire in found["fires"] if fire.startswith(day)] == expected


def test_the_offset_of_after_is_the_zone_unless_one_is_given(kos: Kos) -> None:
    after = ("--after", "2026-03-01T00:00-05:00", "--count", "1")
    assert kos("schedule", "next", "0 9 * * *", *after)[1] == "2026-03-01T09:00:00-05:00\n"
    assert kos("schedule", "next", "0 9 * * *", *after, "--tz", "UTC")[1] == "2026-03-01T09:00:00+00:00\n"
    assert (
        kos("schedule", "next", "RRULE:FREQ=DAILY;COUNT=1", "--after", "2026-01-01")[2] == "it never fires after that\n"
    )
    for wrong in (("--after", "now"), ("--tz", "Mars"), ("--dst", "cron")):
        code, _, err = kos("schedule", "next", "every day", *wrong)
        assert (code, "expected" in err) == (2, True)


@pytest.mark.parametrize(
    ("dst", "text", "english"),
    [
        ("vixie", "last friday of the month at noon", "At 12:00, on the last Friday of the month"),
        ("vixie", "every day at 9 and 17:30", "At 09:00; At 17:30"),
        ("vixie", "every 90 minutes", "Every 90 minutes"),
        ("vixie", "RRULE:FREQ=DAILY;BYHOUR=9", "By recurrence rule: freq daily, byhour 9"),
        ("robfig", "TZ=Asia/Tokyo @daily", "At 00:00"),
        ("robfig", "@every 1h30m", "Every 90 minutes"),
        ("temporal", "0 9 * * * 2027", "At 09:00, only in 2027"),
    ],
)
def test_describe(kos: Kos, dst: str, text: str, english: str) -> None:
    assert kos("schedule", "describe", text, "--dst", dst)[1] == f"{english}\n"


def test_the_calendar_of_a_month(kos: Kos) -> None:
    lines = kos("schedule", "calendar", "0 9,17 13 * FRI", "--month", "2026-03", "--tz", "Europe/Berlin")[
        1
    ].splitlines()
    assert lines[0].strip() == "March 2026"
    assert [line for line in lines if "*" in line] == [
        "  2   3   4   5   6*  7   8",
        "  9  10  11  12  13* 14  15",
        " 16  17  18  19  20* 21  22",
        " 23  24  25  26  27* 28  29",
    ]
    assert lines[-1] == "09:00, 17:00  on 6, 13, 20, 27"
    found = json.loads(kos("schedule", "calendar", "every minute", "--month", "2026-02", "--json")[1])
    assert len(found["days"]) == 28
    assert found["days"]["2026-02-28"] == {"first": ["00:00", "00:01", "00:02"], "more": True}
    assert kos("schedule", "calendar", "every day", "--month", "march")[0] == 2
