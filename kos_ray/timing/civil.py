"""Civil time: what clocks on the wall show in a zone, as seconds, and when they are put forward or back.

A civil second is what the wall shows, counted as if it were UTC: a plain integer that can be compared and divided.
Between two changes of a zone's offset, instants and civil seconds differ by a constant; all rules use only that.
"""

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kos_ray.model.errors import InvalidSpec

SECOND_US = 1_000_000
DAY_S = 86_400
#: `date.toordinal` of the first of January 1970
_EPOCH_DAY = date(1970, 1, 1).toordinal()
#: so far apart a zone's offset is looked at for changes: no two came nearer to each other in the tz database
_LOOK_S = 6 * 3_600
_OFFSET = re.compile(r"(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)")


class Zone:
    """One IANA time zone, or a fixed offset. Two of the same name are the same: see `zone`."""

    def __init__(self, name: str, info: tzinfo) -> None:
        self.name = name
        self._info = info
        #: by year, the instants at which the offset changes
        self._changes: dict[int, list[int]] = {}

    def offset(self, at_s: int) -> int:
        """Seconds that the wall is ahead of UTC at an instant."""
        found = datetime.fromtimestamp(at_s, UTC).astimezone(self._info).utcoffset()
        assert found is not None, "every zone has an offset"
        return found // timedelta(seconds=1)

    def until(self, at_s: int) -> int:
        """An instant up to which the offset stays what it is at `at_s`: that of the next change, where there is one."""
        year = datetime.fromtimestamp(at_s, UTC).year
        for each in (year, year + 1):
            changes = self._in_year(each)
            place = bisect_right(changes, at_s)
            if place < len(changes):
                return changes[place]
        return _new_year(year + 2)

    def _in_year(self, year: int) -> list[int]:
        found = self._changes.get(year)
        if found is None:
            found = self._changes[year] = []
            looks = [*range(_new_year(year), _new_year(year + 1), _LOOK_S), _new_year(year + 1)]
            offsets = [self.offset(at_s) for at_s in looks]
            for number in range(1, len(looks)):
                if offsets[number] != offsets[number - 1]:
                    found.append(self._change(looks[number - 1], looks[number]))
        return found

    def _change(self, low: int, high: int) -> int:
        """The first instant behind `low` with the offset of `high`."""
        new = self.offset(high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.offset(middle) == new else (middle, high)
        return high

    def first_at(self, civil_s: int) -> int:
        """The instant at which the wall first shows so much, or more: behind a gap where it never shows just that."""
        # offsets are less than a day; the earliest instant that may be meant lies on the side of the larger one
        at_s = civil_s - max(self.offset(civil_s - DAY_S), self.offset(civil_s + DAY_S), self.offset(civil_s))
        while at_s + self.offset(at_s) < civil_s:
            at_s = min(self.until(at_s), civil_s - self.offset(at_s))
        return at_s


@lru_cache(maxsize=512)
def zone(name: str) -> Zone:
    """The zone of a name: `Europe/Berlin`, `UTC`, `+05:30`.

    Raises:
        InvalidSpec: there is none.

    """
    fixed = _OFFSET.fullmatch(name)
    if fixed:
        ahead = timedelta(hours=int(fixed["hours"]), minutes=int(fixed["minutes"]))
        return Zone(name, timezone(ahead if fixed["sign"] == "+" else -ahead))
    try:
        return Zone(name, ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSpec(f"expected a time zone as in Europe/Berlin or +05:30, found {name!r}") from None


def day_of(civil_s: int) -> date:
    """The date on the wall."""
    return date.fromordinal(civil_s // DAY_S + _EPOCH_DAY)


def midnight_of(day: date) -> int:
    """The civil second at which a date begins."""
    return (day.toordinal() - _EPOCH_DAY) * DAY_S


def _new_year(year: int) -> int:
    return midnight_of(date(year, 1, 1))
