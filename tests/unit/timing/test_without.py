"""What is left out, against a filter over all instants; and that looking for what is left has an end."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.timing import rules
from kos_ray.timing.rules import Every, Without, fires, read_calendar, read_rule

SECOND = 1_000_000
#: around changes of clocks, and around the day that Apia never had
BEGINS = (datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC), datetime(2011, 12, 28, tzinfo=UTC))


@settings(deadline=None)
@given(
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"]),
    begin=st.sampled_from(BEGINS),
    minutes=st.integers(7, 600),
)
def test_days_are_left_out_as_a_whole(zone: str, begin: datetime, minutes: int) -> None:
    begin_us, end_us = (round((begin + timedelta(days=days)).timestamp()) * SECOND for days in (0, 9))
    rule = Every(minutes * 60 * SECOND)
    skipped = begin.date() + timedelta(days=2)
    found = Without(rule, (read_calendar("weekends", zone), read_calendar(skipped.isoformat(), zone)))

    def stays(at_us: int) -> bool:
        wall = datetime.fromtimestamp(at_us // SECOND, ZoneInfo(zone))
        return wall.weekday() < 5 and wall.date() != skipped

    every = list(takewhile(lambda at: at < end_us, fires(rule, begin_us, 3_000)))
    assert list(takewhile(lambda at: at < end_us, fires(found, begin_us, 3_000))) == [at for at in every if stays(at)]


@pytest.mark.parametrize("without", ["every day", "* * * * *"])
def test_what_leaves_nothing_is_given_up_soon(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler asks: it must not be kept."""
    asked = 0
    real = Every.next_after

    def counted(self: Every, after_us: int) -> int:
        nonlocal asked
        asked += 1
        return real(self, after_us)

    monkeypatch.setattr(Every, "next_after", counted)
    rule = Without(read_rule("every minute"), (read_calendar(without),))
    assert rule.next_after(0) is None
    assert asked <= rules._EXCLUDED_MAX + 1


def test_every_second_but_at_weekends_is_asked_a_few_times_only() -> None:
    friday_us = round(datetime(2026, 3, 27, 23, 59, 59, tzinfo=UTC).timestamp()) * SECOND
    found = Without(read_rule("every second"), (read_calendar("weekends"),)).next_after(friday_us)
    assert found == round(datetime(2026, 3, 30, tzinfo=UTC).timestamp()) * SECOND
