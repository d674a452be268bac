"""Rules in English, and the fires of a month: for people who check what they have written."""

from datetime import UTC, date, datetime, timedelta, timezone

from cron_descriptor import Options, get_description

from kos_ray.model.errors import InvalidSpec
from kos_ray.timing.civil import SECOND_US, midnight_of, zone
from kos_ray.timing.cron import MACROS
from kos_ray.timing.rules import Every, Once, Rule, is_recurrence, read_rule
from kos_ray.timing.sun import Sun
from kos_ray.timing.words import Interval, is_words, parse_words

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def described(text: str, *, dialect: str = "vixie") -> str:
    """A rule in English: cron by the package `cron-descriptor`, words by what they are read as.

    Raises:
        InvalidSpec: nobody can read it.

    """
    rule = read_rule(text, dialect=dialect)
    if isinstance(rule, Every):
        return f"Every {_length(rule.every_us // SECOND_US)}"
    if isinstance(rule, Once):
        return f"Once, at {local(rule.at_us, 'UTC').isoformat()}"
    if isinstance(rule, Sun):
        return f"Each day at {text.strip()}"
    if is_recurrence(text):
        parts = [part.lower().replace("=", " ") for part in text.strip().rpartition(":")[2].split(";")]
        return f"By recurrence rule: {', '.join(parts)}"
    if not is_words(text):
        return _of_cron(text, dialect)
    found = parse_words(text)
    assert not isinstance(found, Interval), "it would be an interval"
    return "; ".join(_of_cron(cron, "vixie") for cron in found.crons)


def _of_cron(text: str, dialect: str) -> str:
    words = [word for word in text.split() if not word.startswith(("TZ=", "CRON_TZ="))]
    plain = MACROS.get(words[0].lower(), " ".join(words))
    options = Options()
    options.use_24hour_time_format = True
    # Temporal's sixth field is a year; everybody else's first one is a second
    found = str(get_description(plain if dialect != "temporal" or len(words) != 6 else f"0 {plain}", options))
    return found[:1].upper() + found[1:]


def _length(seconds: int) -> str:
    for unit, length in _UNITS:
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}s" if count > 1 else unit
    raise AssertionError("seconds divide by one")


def month_of(text: str) -> date:
    """The first day of a month written as 2026-03.

    Raises:
        InvalidSpec: it is none.

    """
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidSpec(f"expected a month as in 2026-03, found {text!r}") from None


def fires_by_day(rule: Rule, month: date, timezone: str, *, most: int) -> dict[date, list[int]]:
    """The fires of a month by the date on the wall of a zone: at most so many of each day, days without left out."""
    place = zone(timezone)
    found: dict[date, list[int]] = {}
    day = month
    while day.month == month.month:
        until_us = place.first_at(midnight_of(day + timedelta(days=1))) * SECOND_US
        at_us = rule.next_after(place.first_at(midnight_of(day)) * SECOND_US - 1)
        while at_us is not None and at_us < until_us and len(found.get(day, ())) < most:
            found.setdefault(day, []).append(at_us)
            at_us = rule.next_after(at_us)
        day += timedelta(days=1)
    return found


def local(at_us: int, timezone_name: str) -> datetime:
    """An instant as a zone's wall shows it, with its offset."""
    seconds, micros = divmod(at_us, SECOND_US)
    place = timezone(timedelta(seconds=zone(timezone_name).offset(seconds)))
    return datetime.fromtimestamp(seconds, place) + timedelta(microseconds=micros)


def instant(text: str, timezone_name: str) -> tuple[int, str]:
    """An instant as people write it (ISO 8601), and its zone: the given one, else its own offset, else UTC.

    Raises:
        InvalidSpec: it is none.

    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSpec(f"expected an instant as in 2026-03-29T01:30:00+01:00, found {text!r}") from None
    offset = at.utcoffset()
    if offset is not None:
        if not timezone_name:
            minutes = offset // timedelta(minutes=1)
            sign, hours, rest = "-" if minutes < 0 else "+", abs(minutes) // 60, abs(minutes) % 60
            timezone_name = f"{sign}{hours:02}:{rest:02}" if minutes else "UTC"
        return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1), timezone_name
    timezone_name = timezone_name or "UTC"
    civil_s = round(at.replace(microsecond=0, tzinfo=UTC).timestamp())
    return zone(timezone_name).first_at(civil_s) * SECOND_US + at.microsecond, timezone_name
