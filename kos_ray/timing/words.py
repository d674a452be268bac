"""Schedules in plain English: `every weekday at 9am`, `last friday of the month at noon`, `every 15 minutes`.

    every N seconds|minutes|hours|days|weeks
    every day|weekday|weekend|monday and friday|2nd tuesday|last day of the month  [of march] [at TIMES]
    on the 1st and 15th [of january] [at TIMES]     weekdays at 9 and 17:30     hourly, daily, weekly, monthly, yearly

`every` may be left out where days are named; without a time it is midnight. What is read becomes cron fields or a
length of time, so it means exactly what those mean.
"""

import re
from typing import NamedTuple, NoReturn

from kos_ray.model.errors import InvalidSpec

_UNITS_S = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}
_TIMES = {"midnight": (0, 0), "noon": (12, 0), "midday": (12, 0)}
_SHORT = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "yearly": "0 0 1 1 *",
}
_WORD = re.compile(r"\d\d?:\d\d\s*[ap]\.?m\.?|\d\d?\s*[ap]\.?m\.?(?=\W|$)|\d+:\d\d|[\w:]+|,|\S", re.IGNORECASE)
_CLOCK = re.compile(r"(?P<hour>\d\d?)(?::(?P<minute>\d\d))?\s*(?P<half>[ap])?\.?(?:m\.?)?", re.IGNORECASE)
#: what can be nothing but a time of day
_CLOCK_ALONE = re.compile(r"\d\d?:\d\d\s*(?:[ap]\.?m\.?)?|\d\d?\s*[ap]\.?m\.?|noon|midnight|midday", re.IGNORECASE)
_AND = ("and", ",", "&")


class Interval(NamedTuple):
    """Every so many seconds."""

    seconds: int


class Fields(NamedTuple):
    """Five cron fields in Vixie's dialect, one for each time of day that does not share its minutes with the others."""

    crons: tuple[str, ...]


class _Days(NamedTuple):
    """Which days: of the month, of the week, and of which months; `*` for all."""

    month_days: str = "*"
    months: str = "*"
    weekdays: str = "*"


def parse_words(text: str) -> Interval | Fields:
    """Read a schedule in words.

    Raises:
        InvalidSpec: with the word where it ends to make sense, and what was expected there.

    """
    return _Reader(text).schedule()


def is_words(text: str) -> bool:
    """Whether a text is meant as words rather than as a cron expression: it begins with a word of this language."""
    first = text.split(maxsplit=1)[0].lower() if text.strip() else ""
    known = ("every", "each", "on", "at", "weekday", "weekend", "weekdays", "weekends", "the", *_SHORT, *_ORDINALS)
    return first in known or _number_of(first, _DAYS) is not None


class _Reader:
    """The words of one text, one after another."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [(found.start(), found.group()) for found in _WORD.finditer(text)]
        self._at = 0

    def schedule(self) -> Interval | Fields:
        if self._peek() in _SHORT:
            return self._short()
        self._take("every", "each")
        interval = self._interval()
        if interval is not None:
            self._end()
            return interval
        days = self._days()
        times = self._times() if self._take("at") or _CLOCK_ALONE.fullmatch(self._peek()) else [(0, 0)]
        if days == _Days() and not self._at:
            self._refuse("expected days, times, or a length of time")
        self._end()
        return Fields(tuple(_crons(days, times)))

    def _short(self) -> Fields:
        fields = _SHORT[self._next()].split()
        if self._take("at"):
            (hour, minute), *more = self._times()
            if more or fields[1] == "*":
                self._refuse("expected one time of day, and none with hourly")
            fields[:2] = [str(minute), str(hour)]
        self._end()
        return Fields((" ".join(fields),))

    def _interval(self) -> Interval | None:
        """`15 minutes`, `minute`, `other hour`; days and weeks only where a number says how many."""
        began = self._at
        word = self._peek()
        count = int(word) if word.isdigit() else 2 if word == "other" else 0
        if count or word.isdigit():
            self._next()
        unit = self._peek().removesuffix("s")
        if unit == "second" and not count and self._peek(1):
            self._at = began  # the second of something
            return None
        if unit in _UNITS_S and (count or _UNITS_S[unit] < _UNITS_S["day"]):
            if word.isdigit() and not count:
                self._at = began
                self._refuse("expected a number above 0")
            self._next()
            return Interval(max(1, count) * _UNITS_S[unit])
        self._at = began
        return None

    def _days(self) -> _Days:
        self._take("on")
        self._take("the")
        word = self._peek()
        if word in ("day", "days", "") or word == "at":
            self._take("day", "days")
            return _Days(months=self._of_month())
        if self._take("weekday", "weekdays"):
            return _Days(weekdays="1-5", months=self._of_month())
        if self._take("weekend", "weekends"):
            return _Days(weekdays="0,6", months=self._of_month())
        if _ordinal(word) is not None:
            return self._by_ordinals()
        return _Days(weekdays=",".join(map(str, self._list(_DAYS, "a day of the week"))), months=self._of_month())

    def _by_ordinals(self) -> _Days:
        """`1st and 15th`, `last day of the month`, `second tuesday of march`."""
        numbers = [self._one_ordinal()]
        while self._peek() in _AND and _ordinal(self._peek(1)) is not None:
            self._next()
            numbers.append(self._one_ordinal())
        weekday = _number_of(self._peek(), _DAYS)
        if weekday is not None:
            self._next()
            if any(number > 5 for number in numbers):
                self._refuse("expected at most the fifth of a weekday")
            terms = (f"{weekday}L" if number < 0 else f"{weekday}#{number}" for number in numbers)
            return _Days(weekdays=",".join(terms), months=self._of_month())
        if self._take("weekday", "workday"):
            if numbers != [-1]:
                self._refuse("expected `last` before weekday")
            return _Days(month_days="LW", months=self._of_month())
        self._take("day")
        if any(number > 31 for number in numbers):
            self._refuse("expected a day of the month up to the 31st")
        return _Days(
            month_days=",".join("L" if number < 0 else str(number) for number in numbers), months=self._of_month()
        )

    def _one_ordinal(self) -> int:
        found = _ordinal(self._next())
        assert found is not None, "looked at before"
        return found

    def _of_month(self) -> str:
        """`of the month`, `of march and june`, `in may`; `*` for all."""
        if not self._take("of", "in"):
            return "*"
        self._take("the", "each", "every")
        if self._take("month", "months"):
            return "*"
        return ",".join(str(number + 1) for number in self._list(_MONTHS, "a month"))

    def _list(self, names: tuple[str, ...], what: str) -> list[int]:
        found: list[int] = []
        while True:
            number = _number_of(self._peek(), names)
            if number is None:
                self._refuse(f"expected {what}")
            self._next()
            found.append(number)
            if self._take("to", "through", "-"):
                last = _number_of(self._peek(), names)
                if last is None:
                    self._refuse(f"expected {what}")
                self._next()
                while found[-1] != last:
                    found.append((found[-1] + 1) % len(names))
            if self._peek() not in _AND or _number_of(self._peek(1), names) is None:
                return sorted(set(found))
            self._next()

    def _times(self) -> list[tuple[int, int]]:
        found = [self._time()]
        while self._take(*_AND):
            self._take("at")
            found.append(self._time())
        return sorted(set(found))

    def _time(self) -> tuple[int, int]:
        word = self._peek()
        if word in _TIMES:
            self._next()
            return _TIMES[word]
        clock = _CLOCK.fullmatch(word)
        if clock is None:
            self._refuse("expected a time of day as in 9am, 17:30 or noon")
        hour, minute, half = int(clock["hour"]), int(clock["minute"] or 0), (clock["half"] or "").lower()
        if half and not 1 <= hour <= 12:
            self._refuse("expected an hour of 1 to 12 before am or pm")
        if half:
            hour = hour % 12 + 12 * (half == "p")
        if hour > 23 or minute > 59:
            self._refuse("expected a time of day up to 23:59")
        self._next()
        return hour, minute

    # --- words

    def _peek(self, ahead: int = 0) -> str:
        place = self._at + ahead
        return self._words[place][1].lower() if place < len(self._words) else ""

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def _take(self, *words: str) -> bool:
        if self._peek() in words:
            self._at += 1
            return True
        return False

    def _end(self) -> None:
        if self._at < len(self._words):
            self._refuse("expected nothing more")

    def _refuse(self, expected: str) -> NoReturn:
        at, found = self._words[self._at] if self._at < len(self._words) else (len(self._text), "the end")
        mark = f"\n  {self._text}\n  {' ' * at}^"
        raise InvalidSpec(f"{expected}, found {found!r}{mark}")


def _crons(days: _Days, times: list[tuple[int, int]]) -> list[str]:
    """One expression for all times of day that have the same minute."""
    by_minute: dict[int, list[int]] = {}
    for hour, minute in times:
        by_minute.setdefault(minute, []).append(hour)
    return [
        f"{minute} {','.join(map(str, hours))} {days.month_days} {days.months} {days.weekdays}"
        for minute, hours in sorted(by_minute.items())
    ]


def _ordinal(word: str) -> int | None:
    if word in _ORDINALS:
        return _ORDINALS[word]
    found = re.fullmatch(r"(\d+)(?:st|nd|rd|th)", word)
    return int(found[1]) if found and int(found[1]) else None


def _number_of(word: str, names: tuple[str, ...]) -> int | None:
    """The place of a name that may be shortened to three letters or more, and may stand in the plural."""
    if len(word) < 3:
        return None
    single = word.removesuffix("s") if word not in names else word
    return next(
        (number for number, name in enumerate(names) if name.startswith((word, single)[word not in name])), None
    )
