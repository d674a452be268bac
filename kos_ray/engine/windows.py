"""Windows as people write them, expanded into intervals: weekly times, or an iCalendar file (RFC 5545).

    Mon-Fri 20:00-06:00          open at these times, in UTC
    Sat,Sun 00:00-24:00 Europe/Berlin

Of a calendar, events (VEVENT that are not TRANSPARENT, with their recurrences) and busy periods of VFREEBUSY are when
nothing runs. Where it has free periods (FBTYPE=FREE) as well, it is open in those only, less what is busy.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kos_ray.model.errors import Refused
from kos_ray.model.windows import Windows

#: so far ahead they are expanded, and again when less than this is left
HORIZON_US = 60 * 86_400_000_000
AGAIN_US = HORIZON_US // 2
_MOST = 20_000
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKLY = re.compile(
    r"(?P<days>[A-Za-z]{3}(?:[-,][A-Za-z]{3})*|daily)\s+(?P<from>\d\d?:\d\d)\s*-\s*(?P<to>\d\d?:\d\d)(?:\s+(?P<zone>\S+))?"
)
_Span = tuple[int, int]


def expanded(scope: str, text: str, now_us: int) -> Windows:
    """The windows of a scope from now on.

    Raises:
        Refused: nobody can read them; with the line, what was expected and what was found.

    """
    if not text.strip():
        return Windows(scope=scope)
    until_us = now_us + HORIZON_US
    if text.lstrip().upper().startswith("BEGIN:VCALENDAR"):
        spans = _of_calendar(text, now_us, until_us)
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
        spans = [span for number, line in lines if line for span in _of_week(line, number, now_us, until_us)]
    return Windows(scope=scope, text=text, open=joined(spans, now_us, until_us), until_us=until_us)


def joined(spans: Iterable[_Span], from_us: int, to_us: int) -> tuple[_Span, ...]:
    """Intervals in order, cut to what is asked for; those that touch are one."""
    found: list[_Span] = []
    for start, end in sorted((max(start, from_us), min(end, to_us)) for start, end in spans):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def without(spans: Iterable[_Span], busy: Iterable[_Span]) -> list[_Span]:
    """What is left of intervals when others are taken out; both in order and apart."""
    found = list(spans)
    for from_us, to_us in busy:
        found = [
            part
            for start, end in found
            for part in ((start, min(end, from_us)), (max(start, to_us), end))
            if part[0] < part[1]
        ]
    return found


# --- weekly times


def _of_week(line: str, number: int, from_us: int, to_us: int) -> list[_Span]:
    form = 'times such as "Mon-Fri 20:00-06:00" or "daily 08:00-18:00 Europe/Berlin"'
    match = _WEEKLY.fullmatch(line)
    if match is None:
        raise Refused(f"windows, line {number}: expected {form}, or an iCalendar file; found {line!r}")
    days = _days(match["days"], number)
    start, end = (_minutes(match[name], number) for name in ("from", "to"))
    if start == end:
        raise Refused(f"windows, line {number}: expected an end that is not the beginning, found {line!r}")
    zone = _zone(match["zone"] or "UTC", number)
    first = datetime.fromtimestamp(from_us / 1e6, zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(to_us / 1e6, zone).date()
    spans = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        if day.weekday() in days:
            spans.append((_at(day, start, zone), _at(day, end if end > start else end + 24 * 60, zone)))
    return spans


def _days(text: str, number: int) -> set[int]:
    if text == "daily":
        return set(range(7))
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise Refused(f"windows, line {number}: expected days of {', '.join(_DAYS)}, found {part!r}")
        begin, length = _DAYS.index(first), (_DAYS.index(last or first) - _DAYS.index(first)) % 7
        found.update((begin + step) % 7 for step in range(length + 1))
    return found


def _minutes(text: str, number: int) -> int:
    hours, minutes = map(int, text.split(":"))
    if hours * 60 + minutes > 24 * 60 or minutes > 59:
        raise Refused(f"windows, line {number}: expected a time from 00:00 to 24:00, found {text!r}")
    return hours * 60 + minutes


def _zone(name: str, number: int) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refused(f"windows, line {number}: expected a time zone such as Europe/Berlin, found {name!r}") from None


def _at(day: date, minutes: int, zone: tzinfo) -> int:
    """The instant of a wall-clock time, so that windows keep their hour when clocks are changed."""
    whole = day + timedelta(days=minutes // (24 * 60))
    clock = time(minutes // 60 % 24, minutes % 60)
    return round(datetime.combine(whole, clock, zone).timestamp() * 1e6)


# --- calendars


def _of_calendar(text: str, from_us: int, to_us: int) -> list[_Span]:
    import icalendar  # noqa: PLC0415 - only where somebody has a calendar
    import recurring_ical_events  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        calendar: Any = icalendar.Calendar.from_ical(text)
        free, busy = _periods(calendar)
        begin, end = (datetime.fromtimestamp(at / 1e6, UTC) for at in (from_us, to_us))
        events = [found for found in recurring_ical_events.of(calendar).between(begin, end) if _counts(found)]
        busy += [(_us(found.start), _us(found.end)) for found in events]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(
            f"windows: expected an iCalendar file (RFC 5545), found one that cannot be read: {error}"
        ) from None
    if len(free) + len(busy) > _MOST:
        raise Refused(f"windows: expected at most {_MOST} periods in sixty days, found {len(free) + len(busy)}")
    return without(joined(free or [(from_us, to_us)], from_us, to_us), joined(busy, from_us, to_us))


def _counts(event: Any) -> bool:
    return str(event.get("TRANSP", "OPAQUE")).upper() != "TRANSPARENT" and event.get("STATUS") != "CANCELLED"


def _periods(calendar: Any) -> tuple[list[_Span], list[_Span]]:
    """Free and busy periods of the VFREEBUSY of a calendar."""
    free: list[_Span] = []
    busy: list[_Span] = []
    for part in calendar.walk("VFREEBUSY"):
        values = part.get("FREEBUSY", [])
        for value in values if isinstance(values, list) else [values]:
            kind = str(value.params.get("FBTYPE", "BUSY")).upper()
            (free if kind == "FREE" else busy).append((_us(value.start), _us(value.end)))
    return free, busy


def _us(at: Any) -> int:
    if not isinstance(at, datetime):
        at = datetime.combine(at, time())
    instant: datetime = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round(instant.timestamp() * 1e6)
