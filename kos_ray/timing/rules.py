"""Rules of when something is due, and what can be made of them: a rule says which instant comes next behind another."""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from dateutil.rrule import DAILY, HOURLY, MINUTELY, MONTHLY, SECONDLY, WEEKLY, YEARLY, rrule, rruleset, rrulestr

from kos_ray.model.errors import InvalidSpec
from kos_ray.timing.civil import DAY_S, SECOND_US, Zone, day_of, zone
from kos_ray.timing.cron import DIALECTS, Cron, parse_cron
from kos_ray.timing.sun import EVENTS, sun_rule
from kos_ray.timing.words import Interval, is_words, parse_words

#: on the wall, whichever it is
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
#: days, or instants, that an exclusion may take out one after another before a rule counts as one that never fires:
#: looking takes a fraction of a second then, and who asks may be the scheduler
_EXCLUDED_MAX = 4_000
_LENGTH = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")

_SUN = re.compile(
    rf"(?P<event>(?:civil |nautical |astronomical )?(?:{'|'.join(EVENTS)})) at (?P<north>-?[\d.]+), ?(?P<east>-?[\d.]+)"
    r"(?: (?P<sign>[+-])(?P<minutes>\d+)m)?"
)

_STEPS = {
    WEEKLY: timedelta(weeks=1),
    DAILY: timedelta(days=1),
    HOURLY: timedelta(hours=1),
    MINUTELY: timedelta(minutes=1),
}


class Rule(Protocol):
    """What can be due."""

    def next_after(self, after_us: int) -> int | None:
        """The first instant behind one, in microseconds since 1970; None: there is none."""
        ...


class Calendar(Protocol):
    """What can be left out."""

    def holds(self, at_us: int) -> bool:
        """Whether an instant belongs to it."""
        ...

    def until(self, at_us: int) -> int:
        """Of an instant that belongs to it, the last one up to which all do; the instant itself where nobody knows."""
        ...


@dataclass(frozen=True)
class Every:
    """Intervals of elapsed time, counted from 1970 (UTC), or a phase later: clocks and restarts do not matter."""

    every_us: int
    phase_us: int = 0

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        return ((after_us - self.phase_us) // self.every_us + 1) * self.every_us + self.phase_us


@dataclass(frozen=True)
class Once:
    """One instant."""

    at_us: int

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        return self.at_us if self.at_us > after_us else None


@dataclass(frozen=True)
class Listed:
    """Instants that are known, in order."""

    instants: tuple[int, ...]

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        place = bisect_right(self.instants, after_us)
        return self.instants[place] if place < len(self.instants) else None


@dataclass(frozen=True)
class Recurrence:
    """A recurrence rule of iCalendar (RFC 5545), on the wall of a zone: a time in a gap is due behind it, once."""

    rule: rrule | rruleset
    zone: Zone

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        at_s = after_us // SECOND_US
        # what the wall showed before a gap, or the first time round, is looked at again
        wall = datetime.fromtimestamp(at_s + self.zone.offset(at_s), UTC).replace(tzinfo=None)
        rule = _begun_later(self.rule, wall)
        found = rule.before(wall, inc=True) or rule.after(wall)
        while found is not None:
            at_us = self.zone.first_at(_civil_s(found)) * SECOND_US
            if at_us > after_us:
                return at_us
            found = rule.after(found)
        return None


@dataclass(frozen=True)
class Union:
    """Whatever of several rules comes first; what comes at the same instant comes once."""

    rules: tuple[Rule, ...]

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        return min((at_us for rule in self.rules if (at_us := rule.next_after(after_us)) is not None), default=None)


@dataclass(frozen=True)
class Without:
    """A rule less the instants that belong to any of some calendars."""

    rule: Rule
    calendars: tuple[Calendar, ...]

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        at_us = self.rule.next_after(after_us)
        for _ in range(_EXCLUDED_MAX):
            if at_us is None:
                return None
            out = [calendar.until(at_us) for calendar in self.calendars if calendar.holds(at_us)]
            if not out:
                return at_us
            at_us = self.rule.next_after(max(out))
        return None


@dataclass(frozen=True)
class Days:
    """Whole days on the wall: those that any of some expressions names, at whatever time."""

    crons: tuple[Cron, ...]

    def holds(self, at_us: int) -> bool:
        """See `Calendar`."""
        at_s = at_us // SECOND_US
        return any(cron.matches_day(day_of(at_s + cron.zone.offset(at_s))) for cron in self.crons)

    def until(self, at_us: int) -> int:
        """See `Calendar`: the last microsecond of the day."""
        at_s, zone = at_us // SECOND_US, self.crons[0].zone
        midnight_s = ((at_s + zone.offset(at_s)) // DAY_S + 1) * DAY_S
        return max(at_us, zone.first_at(midnight_s) * SECOND_US - 1)


@dataclass(frozen=True)
class Between:
    """A rule from a first instant on, and up to a last one; both belong to it."""

    rule: Rule
    start_us: int | None = None
    end_us: int | None = None

    def next_after(self, after_us: int) -> int | None:
        """See `Rule`."""
        at_us = self.rule.next_after(after_us if self.start_us is None else max(after_us, self.start_us - 1))
        return None if at_us is None or (self.end_us is not None and at_us > self.end_us) else at_us


def fires(rule: Rule, after_us: int, count: int) -> Iterator[int]:
    """The next so many instants; fewer where there are not so many."""
    for _ in range(count):
        at_us = rule.next_after(after_us)
        if at_us is None:
            return
        yield at_us
        after_us = at_us


def jittered(name: str, nominal_us: int, next_us: int | None, most_us: int) -> int:
    """When a fire that is due at `nominal_us` really happens: up to `most_us` later, but before the next one.

    By a hash of the schedule's name and the nominal instant, so that it is the same after a restart.
    """
    if next_us is not None:
        most_us = min(most_us, next_us - nominal_us)
    if most_us <= 0:
        return nominal_us
    digest = hashlib.sha256(f"{name}\0{nominal_us}".encode()).digest()
    return nominal_us + int.from_bytes(digest[:8]) * most_us // (1 << 64)


def read_rule(text: str, *, timezone: str = "UTC", dialect: str = "vixie") -> Rule:
    """A rule as people write it: cron, plain words, `RRULE:...`, `every 15m` as words.

    Raises:
        InvalidSpec: nobody can read it; with the place, what was expected and what was found.

    """
    if not text.strip():
        raise InvalidSpec("expected a cron expression, RRULE:..., or words as in 'every weekday at 9am', found nothing")
    if dialect not in DIALECTS:
        raise InvalidSpec(f"expected one of {', '.join(DIALECTS)}, found {dialect!r}")
    single = _single(text, timezone)
    if single is not None:
        return single
    if is_recurrence(text):
        return read_recurrence(text, timezone)
    if dialect == "robfig" and text.strip().startswith("@every "):
        return _every_of_robfig(text)
    if not is_words(text):
        return parse_cron(text, dialect=dialect, timezone=timezone)
    found = parse_words(text)
    if isinstance(found, Interval):
        return Every(found.seconds * SECOND_US)
    crons: tuple[Cron, ...] = tuple(parse_cron(cron, timezone=timezone) for cron in found.crons)
    return crons[0] if len(crons) == 1 else Union(crons)


def read_calendar(text: str, timezone: str = "UTC") -> Calendar:
    """What is to be left out: a date (2026-12-25), words for days (weekends), or cron for single instants.

    Raises:
        InvalidSpec: nobody can read it; with the place, what was expected and what was found.

    """
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        pass
    else:
        return Days((parse_cron(f"0 0 {day.day} {day.month} * {day.year}", dialect="temporal", timezone=timezone),))
    if not is_words(text):
        return parse_cron(text, timezone=timezone)
    found = parse_words(text)
    if isinstance(found, Interval):
        raise InvalidSpec(f"expected days, a date or a cron expression, found {text!r}")
    return Days(tuple(parse_cron(cron, timezone=timezone) for cron in found.crons))


def _single(text: str, timezone: str) -> Rule | None:
    """One instant (ISO 8601), or what the sun does at a place: `sunset at 52.5,13.4`, `dawn at 52.5,13.4 -30m`."""
    found = _SUN.fullmatch(text.strip().lower())
    if found:
        minutes = int(found["sign"] + found["minutes"]) if found["minutes"] else 0
        return sun_rule(found["event"], float(found["north"]), float(found["east"]), minutes * 60 * SECOND_US)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if at.tzinfo is None:
        return Once(zone(timezone).first_at(_civil_s(at)) * SECOND_US)
    return Once(round(at.timestamp() * SECOND_US))


def is_recurrence(text: str) -> bool:
    """Whether a text is meant as a recurrence rule of iCalendar."""
    return text.lstrip().upper().startswith(("RRULE:", "DTSTART"))


def _every_of_robfig(text: str) -> Every:
    """`@every 1h30m`: whole seconds, counted from 1970 rather than from when somebody started."""
    length = text.strip().removeprefix("@every ").strip()
    found = _LENGTH.fullmatch(length)
    seconds = sum(int(found[unit] or 0) * size for unit, size in (("h", 3_600), ("m", 60), ("s", 1))) if found else 0
    if not seconds:
        raise InvalidSpec(f"expected a length of time as in @every 1h30m, found {length!r}")
    return Every(seconds * SECOND_US)


def read_recurrence(text: str, timezone: str) -> Recurrence:
    """`RRULE:FREQ=...`, with or without a line `DTSTART:20260101T090000` before it (without: 1970, a Thursday).

    Raises:
        InvalidSpec: it is none.

    """
    dtstart = None if "DTSTART" in text.upper() else _EPOCH
    try:
        found = rrulestr(text, dtstart=dtstart, ignoretz=True)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        expected = "expected a recurrence rule as in RRULE:FREQ=DAILY;BYHOUR=9"
        raise InvalidSpec(f"{expected}, found {text!r}: {error}") from None
    if isinstance(found, rrule) and found._freq == SECONDLY:  # type: ignore[attr-defined]  # noqa: SLF001
        raise InvalidSpec(f"expected FREQ=MINUTELY or longer (seconds: every 30 seconds), found {text!r}")
    return Recurrence(found, zone(timezone))


def _begun_later(rule: rrule | rruleset, wall: datetime) -> rrule | rruleset:
    """The same rule from shortly before an instant on: it goes through all of its times, since 1970 where none is said.

    The beginning is moved by whole intervals, so what it leaves open (the time of day, the weekday) stays as it was.
    """
    if not isinstance(rule, rrule):
        return rule
    plain: Any = rule
    begin, interval = plain._dtstart, plain._interval  # noqa: SLF001
    if plain._count is not None or wall - begin < timedelta(days=4 * 366 + 2 * interval * 366):  # noqa: SLF001
        return rule
    if plain._freq in (YEARLY, MONTHLY):  # noqa: SLF001
        years = (wall.year - begin.year - 2) // interval * interval
        return (
            rule
            if (begin.month, begin.day) == (2, 29)
            else rule.replace(dtstart=begin.replace(year=begin.year + years))
        )
    step = _STEPS[plain._freq] * interval  # noqa: SLF001
    return rule.replace(dtstart=begin + (wall - begin - timedelta(days=2) - step) // step * step)


def _civil_s(wall: datetime) -> int:
    return round(wall.replace(tzinfo=UTC).timestamp())
