"""Cron expressions, in three dialects that differ in what they allow and in what happens when clocks change.

- `vixie`, the default: five fields, or six with seconds first. As Debian's cron does it: a job at fixed times (neither
  minute nor hour begins with `*`) whose time falls into a gap fires right after it, and one whose time comes twice
  fires at the first; all others, and those with seconds, follow the wall: nothing in a gap, and twice in an overlap.
  Where a day field begins with `*` both must match, else either. `L`, `LW`, `5L` and `1#2` as in cronsim.
- `robfig` (github.com/robfig/cron): gaps are skipped and overlaps fire twice, always. `?`, `@daily`, `@every 1h`,
  `TZ=Zone` in front; a day field with a step is no star.
- `temporal` (Temporal's schedules): clocks as `robfig`; both day fields must match always; a sixth field is the year,
  a seventh, in front, seconds.
"""

import calendar
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from kos_ray.model.errors import InvalidSpec
from kos_ray.timing.civil import DAY_S, SECOND_US, Zone, day_of, midnight_of, zone

DIALECTS = ("vixie", "robfig", "temporal")
#: no rule of Gregorian dates that ever holds pauses for longer: the 29th of February on a given weekday, past 2100
_YEARS_MAX = 41
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
#: names for expressions
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(NamedTuple):
    """What one field may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_SECOND = _Field("second", 0, 59)
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, ("", *_MONTHS))
_WEEKDAY = _Field("day of week", 0, 7, _DAYS)
_YEAR = _Field("year", 1970, 2199)
#: fields by dialect and number
_LAYOUTS: dict[tuple[str, int], tuple[_Field, ...]] = {
    (dialect, count): fields
    for dialect in DIALECTS
    for count, fields in (
        (5, (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)),
        (6, (_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)),
    )
} | {
    ("temporal", 6): (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _YEAR),
    ("temporal", 7): (_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY, _YEAR),
}


@dataclass(frozen=True)
class Cron:
    """One expression, read. `next_after` is what it is for."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    #: of a month; `last_day`, `last_workday`: and its last one, its last from Monday to Friday
    days: frozenset[int]
    months: frozenset[int]
    #: 0 is Sunday
    weekdays: frozenset[int]
    zone: Zone
    last_day: bool = False
    last_workday: bool = False
    #: `(weekday, number)`: so many-th of the month, -1 the last
    nth_weekdays: frozenset[tuple[int, int]] = frozenset()
    #: empty: all
    years: tuple[int, ...] = ()
    #: whether day and weekday must both match
    both: bool = True
    #: whether a time in a gap fires behind it, and one that comes twice fires once
    fixed: bool = False

    def next_after(self, after_us: int) -> int | None:
        """The first fire behind an instant; None: there is none."""
        at_s = after_us // SECOND_US + 1
        found = self._next_fixed(at_s) if self.fixed else self._next_on_wall(at_s)
        return None if found is None else found * SECOND_US

    def _next_on_wall(self, at_s: int) -> int | None:
        """The first instant from `at_s` on at which the wall shows a time that matches."""
        civil_s: int | None = None
        began_s = 0
        while True:
            offset = self.zone.offset(at_s)
            wall_s = at_s + offset
            # looked for again only where clocks were put back, or forward beyond what was found
            if civil_s is None or not began_s <= wall_s <= civil_s:
                civil_s, began_s = self._next_civil(wall_s), wall_s
                if civil_s is None:
                    return None
            until_s = self.zone.until(at_s)
            if civil_s - offset < until_s:
                return civil_s - offset
            at_s = until_s

    def _next_fixed(self, at_s: int) -> int | None:
        """The same where each time that matches fires exactly once."""
        civil_s = self._next_civil(at_s + self.zone.offset(at_s) - _before(self.zone, at_s))
        while civil_s is not None:
            found = self.zone.first_at(civil_s)
            if found >= at_s:
                return found
            civil_s = self._next_civil(civil_s + 1)
        return None

    def holds(self, at_us: int) -> bool:
        """Whether the wall shows a time that matches at an instant."""
        at_s = at_us // SECOND_US
        civil_s = at_s + self.zone.offset(at_s)
        return self._next_civil(civil_s) == civil_s

    def until(self, at_us: int) -> int:
        """See `rules.Calendar`: single instants."""
        return at_us

    def _next_civil(self, from_s: int) -> int | None:
        day = day_of(from_s)
        if self.matches_day(day):
            time_s = self._next_time(from_s % DAY_S)
            if time_s is not None:
                return midnight_of(day) + time_s
        found = self._next_day(day)
        if found is None:
            return None
        return midnight_of(found) + self.hours[0] * 3_600 + self.minutes[0] * 60 + self.seconds[0]

    def _next_time(self, from_s: int) -> int | None:
        """The first time of day that matches, from one on."""
        hour, minute, second = from_s // 3_600, from_s // 60 % 60, from_s % 60
        if hour in self.hours:
            if minute in self.minutes:
                place = bisect_left(self.seconds, second)
                if place < len(self.seconds):
                    return hour * 3_600 + minute * 60 + self.seconds[place]
            place = bisect_left(self.minutes, minute + 1)
            if place < len(self.minutes):
                return hour * 3_600 + self.minutes[place] * 60 + self.seconds[0]
        place = bisect_left(self.hours, hour + 1)
        if place < len(self.hours):
            return self.hours[place] * 3_600 + self.minutes[0] * 60 + self.seconds[0]
        return None

    def _next_day(self, behind: date) -> date | None:
        """The first date that matches behind one."""
        for number in range(12 * _YEARS_MAX):
            year, month = divmod(behind.year * 12 + behind.month - 1 + number, 12)
            if month + 1 not in self.months or year > date.max.year - 1 or (self.years and year not in self.years):
                continue
            days = _days_of(self, year, month + 1)
            place = 0 if number else bisect_left(days, behind.day + 1)
            if place < len(days):
                return date(year, month + 1, days[place])
        return None

    def matches_day(self, day: date) -> bool:
        """Whether a date matches."""
        if day.month not in self.months or (self.years and day.year not in self.years):
            return False
        of_month, of_week = self._matches_day_of_month(day), self._matches_weekday(day)
        return of_month and of_week if self.both else of_month or of_week

    def _matches_day_of_month(self, day: date) -> bool:
        if day.day in self.days:
            return True
        if not (self.last_day or self.last_workday):
            return False
        last = calendar.monthrange(day.year, day.month)[1]
        if self.last_day and day.day == last:
            return True
        weekday = date(day.year, day.month, last).weekday()
        return self.last_workday and day.day == last - max(0, weekday - 4)

    def _matches_weekday(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if weekday in self.weekdays:
            return True
        if not self.nth_weekdays:
            return False
        last = day.day + 7 > calendar.monthrange(day.year, day.month)[1]
        return (weekday, (day.day + 6) // 7) in self.nth_weekdays or (last and (weekday, -1) in self.nth_weekdays)


@lru_cache(maxsize=65_536)
def _days_of(cron: Cron, year: int, month: int) -> tuple[int, ...]:
    count = calendar.monthrange(year, month)[1]
    return tuple(day for day in range(1, count + 1) if cron.matches_day(date(year, month, day)))


def _before(place: Zone, at_s: int) -> int:
    """How far clocks were put forward at an instant: times in that gap fire now."""
    return max(0, place.offset(at_s) - place.offset(at_s - 1))


def parse_cron(text: str, *, dialect: str = "vixie", timezone: str = "UTC") -> Cron:
    """Read an expression.

    Raises:
        InvalidSpec: with the field, what was expected, what was found, and a mark below it.

    """
    if dialect not in DIALECTS:
        raise InvalidSpec(f"expected one of {', '.join(DIALECTS)}, found {dialect!r}")
    words = _words(text)
    if words and dialect != "vixie" and words[0][1].startswith(("TZ=", "CRON_TZ=")):
        timezone = words[0][1].partition("=")[2]
        words = words[1:]
    if len(words) == 1 and words[0][1].startswith("@"):
        macro = MACROS.get(words[0][1].lower())
        if macro is None:
            raise _wrong(text, words[0], f"expected one of {', '.join(MACROS)}")
        return parse_cron(macro, dialect=dialect, timezone=timezone)
    layout = _LAYOUTS.get((dialect, len(words)))
    if layout is None:
        counts = " or ".join(str(count) for name, count in sorted(_LAYOUTS) if name == dialect)
        raise InvalidSpec(f"{text!r}: expected {counts} fields, found {len(words)}")
    fields = {field: _Terms(text, word, field, dialect) for field, word in zip(layout, words, strict=True)}
    cron = _cron(fields, dialect, zone(timezone), five=layout[0] is _MINUTE)
    return _checked(text, cron) if dialect == "vixie" else cron


def _cron(fields: "dict[_Field, _Terms]", dialect: str, place: Zone, *, five: bool) -> Cron:
    day, weekday = fields[_DAY], fields[_WEEKDAY]
    hour, minute = fields[_HOUR], fields[_MINUTE]
    return Cron(
        seconds=fields[_SECOND].values if _SECOND in fields else (0,),
        minutes=minute.values,
        hours=hour.values,
        days=frozenset(day.values),
        months=frozenset(fields[_MONTH].values),
        weekdays=frozenset(number % 7 for number in weekday.values),
        zone=place,
        last_day=day.last,
        last_workday=day.last_workday,
        nth_weekdays=frozenset(weekday.nth),
        years=fields[_YEAR].values if _YEAR in fields and not fields[_YEAR].star else (),
        both=dialect == "temporal" or day.star or weekday.star,
        fixed=dialect == "vixie" and five and not (hour.star or minute.star),
    )


def _checked(text: str, cron: Cron) -> Cron:
    """Refuse days that no month has."""
    most = max(29 if month == 2 else calendar.monthrange(2001, month)[1] for month in cron.months)
    if cron.both and cron.days and min(cron.days) > most and not (cron.last_day or cron.last_workday):
        raise InvalidSpec(f"{text!r}: day of month: expected at most {most} in these months, found {min(cron.days)}")
    return cron


class _Terms:
    """One field, read."""

    def __init__(self, text: str, word: tuple[int, str], field: _Field, dialect: str) -> None:
        self._text = text
        self._word = word
        self._field = field
        self._dialect = dialect
        self.star = False
        self.last = self.last_workday = False
        self.nth: set[tuple[int, int]] = set()
        found: set[int] = set()
        at, whole = word
        for term in whole.split(","):
            found.update(self._term((at, term)))
            at += len(term) + 1
        if dialect == "vixie":
            self.star = whole.startswith("*")
        #: sorted
        self.values = tuple(sorted(found))

    def _term(self, term: tuple[int, str]) -> Sequence[int]:
        at, text = term
        base, slash, step_text = text.partition("/")
        step = 1
        if slash:
            step = self._number((at + len(base) + 1, step_text), 1, None)
        if base == "*" or (base == "?" and self._dialect != "vixie"):
            self.star = self.star or step == 1
            return range(self._field.low, self._high + 1, step)
        if self._field is _DAY and base.upper() in ("L", "LW") and self._dialect == "vixie":
            self.last, self.last_workday = self.last or base.upper() == "L", self.last_workday or len(base) == 2
            return ()
        if self._field is _WEEKDAY and self._dialect == "vixie" and not slash and self._nth((at, base)):
            return ()
        low_text, dash, high_text = base.partition("-")
        low = self._value((at, low_text))
        if not dash:
            return range(low, self._high + 1, step) if slash else (low,)
        high = self._value((at + len(low_text) + 1, high_text))
        if high < low:
            raise self._refused(term, f"expected a range that does not fall, as in {high}-{low}")
        return range(low, high + 1, step)

    @property
    def _high(self) -> int:
        """Of weekdays, 7 is another name of the first: ranges and stars end before it but in cronsim."""
        return 6 if self._field is _WEEKDAY and self._dialect != "vixie" else self._field.high

    def _nth(self, term: tuple[int, str]) -> bool:
        at, text = term
        base, hash_, number = text.partition("#")
        if hash_:
            self.nth.add((self._value((at, base)) % 7, self._number((at + len(base) + 1, number), 1, 5)))
            return True
        if text[-1:].upper() == "L" and text[:-1].isascii() and text[:-1].isdigit():
            self.nth.add((self._value((at, text[:-1])) % 7, -1))
            return True
        return False

    def _value(self, term: tuple[int, str]) -> int:
        names = self._field.names
        if term[1] and term[1].upper() in names:
            return names.index(term[1].upper())
        return self._number(term, self._field.low, self._high)

    def _number(self, term: tuple[int, str], low: int, high: int | None) -> int:
        text = term[1]
        if not (text.isascii() and text.isdigit()):
            names = f" or {self._field.names[1]}-{self._field.names[-1]}" if self._field.names else ""
            raise self._refused(term, f"expected {low} to {high}{names}" if high else "expected a number above 0")
        number = int(text)
        if number < low or (high is not None and number > high):
            raise self._refused(term, f"expected {low} to {high}" if high else "expected a number above 0")
        return number

    def _refused(self, term: tuple[int, str], expected: str) -> InvalidSpec:
        return _wrong(self._text, term, f"{self._field.name}: {expected}")


def _words(text: str) -> list[tuple[int, str]]:
    """The words of a text with their places."""
    found: list[tuple[int, str]] = []
    at = 0
    for word in text.split():
        at = text.index(word, at)
        found.append((at, word))
        at += len(word)
    return found


def _wrong(text: str, term: tuple[int, str], expected: str) -> InvalidSpec:
    at, found = term
    return InvalidSpec(f"{expected}, found {found!r}\n  {text}\n  {' ' * at}{'^' * max(1, len(found))}")
