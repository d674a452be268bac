"""Windows as they are written, and that the engine goes on knowing of them."""

from datetime import UTC, datetime

import pytest

from kos_ray.engine.inbox import WindowsWish
from kos_ray.engine.windows import AGAIN_US, HORIZON_US, expanded, joined, without
from kos_ray.model.errors import Refused
from kos_ray.model.events import WindowsChanged
from kos_ray.model.windows import NEVER_US, Windows
from tests.unit.engine.engine_build import Hands


def us(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1e6)  # type: ignore[arg-type]


#: a Monday, at noon
NOW = us(2026, 3, 2, 12)
CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:test
BEGIN:VEVENT
UID:1
DTSTART;TZID=Europe/Berlin:20260302T080000
DTEND;TZID=Europe/Berlin:20260302T180000
RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
EXDATE;TZID=Europe/Berlin:20260304T080000
END:VEVENT
BEGIN:VEVENT
UID:2
TRANSP:TRANSPARENT
DTSTART:20260303T000000Z
DTEND:20260303T030000Z
END:VEVENT
BEGIN:VFREEBUSY
UID:3
FREEBUSY;FBTYPE=BUSY:20260307T000000Z/PT6H
END:VFREEBUSY
END:VCALENDAR
"""


def first(text: str, count: int) -> list[tuple[int, int]]:
    return list(expanded("node:a", text, NOW).open[:count])


def test_weekly_times_over_midnight() -> None:
    assert first("Mon-Tue 20:00-06:00", 3) == [
        (us(2026, 3, 2, 20), us(2026, 3, 3, 6)),
        (us(2026, 3, 3, 20), us(2026, 3, 4, 6)),
        (us(2026, 3, 9, 20), us(2026, 3, 10, 6)),
    ]


def test_a_window_that_is_open_now_begins_now_and_several_lines_are_one_calendar() -> None:
    assert first("daily 08:00-18:00\nMon 18:00-19:30", 2) == [
        (NOW, us(2026, 3, 2, 19, 30)),
        (us(2026, 3, 3, 8), us(2026, 3, 3, 18)),
    ]


def test_days_around_the_weekend_and_whole_days() -> None:
    assert first("Sun-Mon,Wed 00:00-24:00", 2) == [(NOW, us(2026, 3, 3)), (us(2026, 3, 4), us(2026, 3, 5))]


def test_wall_clocks_are_changed_in_march() -> None:
    spans = expanded("node:a", "Sun 12:00-13:00 Europe/Berlin", NOW).open
    assert [start for start, _ in spans[3:5]] == [us(2026, 3, 29, 10), us(2026, 4, 5, 10)]
    assert spans[2][0] == us(2026, 3, 22, 11)


def test_a_calendar_of_busy_times_with_recurrences_and_exceptions() -> None:
    assert first(CALENDAR, 5) == [
        (us(2026, 3, 2, 17), us(2026, 3, 3, 7)),
        (us(2026, 3, 3, 17), us(2026, 3, 5, 7)),
        (us(2026, 3, 5, 17), us(2026, 3, 6, 7)),
        (us(2026, 3, 6, 17), us(2026, 3, 7)),
        (us(2026, 3, 7, 6), us(2026, 3, 9, 7)),
    ]


def test_of_a_calendar_with_free_times_only_those_are_open() -> None:
    free = "FREEBUSY;FBTYPE=FREE:20260302T160000Z/20260302T190000Z\nFREEBUSY;FBTYPE=BUSY"
    text = CALENDAR.replace("FREEBUSY;FBTYPE=BUSY", free)
    assert expanded("node:a", text, NOW).open == ((us(2026, 3, 2, 17), us(2026, 3, 2, 19)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("daily 1:00-2:00\nsometimes", "windows, line 2: expected times such as .* found 'sometimes'"),
        ("Mon-Fry 1:00-2:00", "line 1: expected days of mon, .* found 'mon-fry'"),
        ("Mon 25:00-26:00", "expected a time from 00:00 to 24:00, found '25:00'"),
        ("Mon 1:00-1:00", "expected an end that is not the beginning"),
        ("Mon 1:00-2:00 Mars/Base", "expected a time zone such as Europe/Berlin, found 'Mars/Base'"),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT", "expected an iCalendar file"),
    ],
)
def test_what_nobody_can_read(text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        expanded("node:a", text, NOW)


def test_intervals() -> None:
    assert joined([(5, 9), (1, 3), (3, 4), (8, 12), (20, 20)], 2, 10) == ((2, 4), (5, 10))
    assert without([(0, 10)], [(2, 3), (9, 20)]) == [(0, 2), (3, 9)]
    windows = Windows(scope="node:a", text="x", open=((2, 4), (6, 9)), until_us=9)
    assert [windows.end_us(at) for at in (1, 2, 3, 4, 6)] == [0, 4, 4, 0, NEVER_US]
    assert [windows.opens_us(at) for at in (1, 2, 5, 6)] == [2, 6, 6, None]


def test_the_engine_looks_ahead_again_before_it_knows_no_more() -> None:
    hands = Hands(now_us=NOW)
    hands.engine.wish(WindowsWish("r", "node:a", "sometimes"), hands.answers.append)
    hands.tick()
    assert isinstance(hands.answers[-1], Refused)
    hands.engine.wish(WindowsWish("r", "node:a", "daily 1:00-2:00"), hands.answers.append)
    hands.tick()
    said = hands.answers[-1]
    assert said.until_us - hands.time_us == HORIZON_US
    assert hands.engine.next_due_us() == said.until_us - AGAIN_US
    hands.time_us = said.until_us - AGAIN_US
    hands.tick()
    known = hands.engine.state.windows["node:a"]
    assert known.until_us - hands.time_us == HORIZON_US
    assert (
        len([1 for frame in hands.journal.frames() for event in frame.events if isinstance(event, WindowsChanged)]) == 2
    )
    again = Hands(hands.journal, now_us=hands.time_us)
    assert again.engine.state.windows == {"node:a": known}
    again.engine.wish(WindowsWish("r", "node:a", ""), again.answers.append)
    again.tick()
    assert again.engine.state.windows == {}
