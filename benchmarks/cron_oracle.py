"""Every fire of a cron expression, by somebody who looks at each minute that passes.

It knows nothing of days, months or gaps to be stepped over: it has the wall's fields at every real minute, by the tz
database, and says which minutes match; for jobs at fixed times it goes over the minutes of the wall instead, gaps
included. What an expression means it reads by itself, value by value. Only the dialect `vixie`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

YEARS = 3
#: a zone, and where three years begin that hold its changes: Apia had no 30th of December in 2011
ZONES = {"America/New_York": 2024, "Australia/Lord_Howe": 2023, "Pacific/Apia": 2010, "UTC": 2023}
#: the wall's first and last days may lie outside of what is known of either side
_MARGIN_S = 2 * 86_400
#: in these zones and years clocks change at half hours
_HALF_HOUR = 30
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_TERM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


@dataclass(frozen=True)
class Meaning:
    """What an expression stands for: the values of its fields, and how they are put together."""

    minutes: set[int]
    hours: set[int]
    days: set[int]
    months: set[int]
    #: 0 is Sunday
    weekdays: set[int]
    #: whether day and weekday must both match, else either
    both: bool
    #: whether a time in a gap fires behind it, and one that comes twice fires once
    fixed: bool
    seconds: set[int] = field(default_factory=lambda: {0})
    last_day: bool = False
    last_workday: bool = False
    #: `(weekday, number)` of the month; -1 the last
    nth: frozenset[tuple[int, int]] = frozenset()


def meaning(text: str) -> Meaning:
    """Read an expression that is known to be a right one."""
    words = _MACROS.get(text.strip(), text).upper().split()
    second = words.pop(0) if len(words) == 6 else None
    minute, hour, day, month, weekday = words
    found = weekday.split(",")
    numbered = {re.fullmatch(r"(\w+)#(\d)", term) or re.fullmatch(r"(\d)(L)", term) for term in found} - {None}
    nth = {(_number(one[1], _WEEKDAYS) % 7, -1 if one[2] == "L" else int(one[2])) for one in numbered if one}
    plain = [term for term in found if not re.search(r"#|\dL", term)]
    return Meaning(
        seconds={0} if second is None else _values(second.split(","), 0, 59),
        minutes=_values(minute.split(","), 0, 59),
        hours=_values(hour.split(","), 0, 23),
        days=_values([term for term in day.split(",") if term not in ("L", "LW")], 1, 31),
        months=_values(month.split(","), 1, 12, ["", *_MONTHS]),
        weekdays={value % 7 for value in _values(plain, 0, 7, _WEEKDAYS)},
        both=day.startswith("*") or weekday.startswith("*"),
        fixed=second is None and not (minute.startswith("*") or hour.startswith("*")),
        last_day="L" in day.split(","),
        last_workday="LW" in day.split(","),
        nth=frozenset(nth),
    )


def _number(text: str, names: Sequence[str]) -> int:
    return names.index(text) if text in names else int(text)


def _values(terms: Sequence[str], low: int, high: int, names: Sequence[str] = ()) -> set[int]:
    found = set()
    for term in terms:
        read = _TERM.fullmatch(term)
        assert read, f"{term!r} is no term"
        step = int(read["step"] or 1)
        first = low if read["first"] is None else _number(read["first"], names)
        last = first if read["first"] and not read["step"] else high
        if read["last"]:
            last = _number(read["last"], names)
        found |= {value for value in range(low, high + 1) if first <= value <= last and (value - first) % step == 0}
    return found


@lru_cache(maxsize=1)
def real_minutes(name: str) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Every minute that passes in a zone's three years, in seconds since 1970, and what the wall shows then."""
    begin = int(datetime(ZONES[name], 1, 1, tzinfo=UTC).timestamp())
    instants = np.arange(begin, begin + YEARS * 366 * 86_400, 60)
    info = ZoneInfo(name)
    offsets = [datetime.fromtimestamp(int(at_s), info).utcoffset() for at_s in instants[::_HALF_HOUR]]
    ahead = np.repeat([int(offset.total_seconds()) for offset in offsets if offset is not None], _HALF_HOUR)
    return instants, instants + ahead


def stretch(name: str) -> tuple[int, int]:
    """The seconds between which all fires of a zone are known, both excluded."""
    instants = real_minutes(name)[0]
    return int(instants[0]) + _MARGIN_S, int(instants[-1]) - _MARGIN_S


def changes(name: str) -> list[int]:
    """The minutes of the three years with another offset than the one before."""
    instants, shown = real_minutes(name)
    return [int(at_s) for at_s in instants[1:][np.diff(shown) != 60]]


def _wall_minutes(name: str) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """When each minute of the wall is there for the first time, or in a gap when that is over; and these minutes."""
    instants, shown = real_minutes(name)
    there, first = np.unique(shown, return_index=True)
    walls = np.arange(there[0], there[-1] + 1, 60)
    return instants[first[np.searchsorted(there, walls)]], walls


class _Columns:
    """Minutes, and what the wall's fields are in each."""

    def __init__(self, instants: "np.ndarray[Any, Any]", walls: "np.ndarray[Any, Any]") -> None:
        self.instants = instants
        days = walls // 86_400
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        day = (dates - months).astype(int) + 1
        last = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(int)
        end_weekday = (days - day + last + 4) % 7
        before = np.where(end_weekday == 6, 1, np.where(end_weekday == 0, 2, 0))
        self.minute, self.hour = (walls // 60 % 60).astype(np.int8), (walls // 3_600 % 24).astype(np.int8)
        self.day, self.month = day.astype(np.int8), (months.astype(int) % 12 + 1).astype(np.int8)
        self.weekday = ((days + 4) % 7).astype(np.int8)
        self.is_last, self.is_last_workday = day == last, day == last - before
        self.nth, self.is_last_week = ((day + 6) // 7).astype(np.int8), day + 7 > last


@lru_cache(maxsize=2)
def _columns(name: str, fixed: bool) -> _Columns:
    return _Columns(*(_wall_minutes(name) if fixed else real_minutes(name)))


def fires(name: str, meant: Meaning, windows: Sequence[tuple[int, int]]) -> list[list[int]]:
    """All instants, in seconds since 1970, at which it fires between the two seconds of each of these windows."""
    columns = _columns(name, meant.fixed)
    of_month = _among(columns.day, meant.days)
    if meant.last_day:
        of_month |= columns.is_last
    if meant.last_workday:
        of_month |= columns.is_last_workday
    of_week = _among(columns.weekday, meant.weekdays)
    for weekday, number in meant.nth:
        of_week |= (columns.weekday == weekday) & (columns.is_last_week if number < 0 else columns.nth == number)
    days = of_month & of_week if meant.both else of_month | of_week
    times = _among(columns.minute, meant.minutes) & _among(columns.hour, meant.hours)
    minutes = columns.instants[times & days & _among(columns.month, meant.months)]
    found: list[list[int]] = []
    for begin, end in windows:
        # a whole minute on each side, of which some seconds may lie inside
        inside = np.unique(minutes[(minutes > begin - 60) & (minutes < end)])
        seconds = (inside[:, None] + np.array(sorted(meant.seconds))).ravel()
        found.append(seconds[(seconds > begin) & (seconds < end)].tolist())
    return found


def _among(column: "np.ndarray[Any, Any]", wanted: set[int]) -> "np.ndarray[Any, Any]":
    table = np.zeros(64, dtype=bool)
    table[list(wanted)] = True
    return np.asarray(table[column])
