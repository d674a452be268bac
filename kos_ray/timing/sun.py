"""What the sun does at a place, with an offset: after NOAA's equations, by the package `astral`.

Where the sun does not rise or set that day, or it never gets that dark, nothing is due that day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from astral import Observer
from astral import sun as astral_sun

from kos_ray.model.errors import InvalidSpec
from kos_ray.timing.civil import SECOND_US

#: how far the sun's centre is below the horizon
DEPRESSIONS: Final = {"civil": 6.0, "nautical": 12.0, "astronomical": 18.0}
EVENTS: Final = ("sunrise", "sunset", "dawn", "dusk", "noon", "midnight")
_DAY = timedelta(days=1)
#: polar nights and days last for less than half a year
_DAYS_MAX = 400


@dataclass(frozen=True)
class Sun:
    """One event of the sun, each day that it occurs."""

    event: str
    #: degrees, north and east are positive
    latitude: float
    longitude: float
    offset_us: int = 0
    #: degrees below the horizon that make dawn and dusk
    depression: float = DEPRESSIONS["civil"]

    def next_after(self, after_us: int) -> int | None:
        """The first occurrence behind an instant, None where there is none for more than a year."""
        begin = datetime.fromtimestamp((after_us - self.offset_us) // SECOND_US, UTC).date() - _DAY
        for number in range(_DAYS_MAX):
            found = self.on(begin + number * _DAY)
            if found is not None and found + self.offset_us > after_us:
                return found + self.offset_us
        return None

    def on(self, day: date) -> int | None:
        """The instant at which it occurs on a date (UTC), to the second; without the offset."""
        observer = Observer(self.latitude, self.longitude)
        try:
            found = self._of()(observer, day)
        except ValueError:
            return None  # it does not occur
        return round(found.timestamp()) * SECOND_US

    def _of(self) -> Callable[[Observer, date], datetime]:
        if self.event in ("dawn", "dusk"):
            told = astral_sun.dawn if self.event == "dawn" else astral_sun.dusk
            return lambda observer, day: told(observer, day, self.depression)
        return {
            "sunrise": astral_sun.sunrise,
            "sunset": astral_sun.sunset,
            "noon": astral_sun.noon,
            "midnight": astral_sun.midnight,
        }[self.event]


def sun_rule(event: str, latitude: float, longitude: float, offset_us: int = 0) -> Sun:
    """An event by name: `sunset`, `dawn`, `nautical dusk`.

    Raises:
        InvalidSpec: there is no such event, or no such place.

    """
    kind, _, name = event.strip().lower().rpartition(" ")
    if name not in EVENTS or (kind and (kind not in DEPRESSIONS or name not in ("dawn", "dusk"))):
        kinds = ", ".join(DEPRESSIONS)
        raise InvalidSpec(f"expected one of {', '.join(EVENTS)} (dawn and dusk also as {kinds}), found {event!r}")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise InvalidSpec(
            f"expected a latitude of -90 to 90 and a longitude of -180 to 180, found {latitude}, {longitude}"
        )
    return Sun(name, latitude, longitude, offset_us, DEPRESSIONS[kind or "civil"])
