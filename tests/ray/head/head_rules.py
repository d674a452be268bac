"""Repeat rules as they are installed where the scheduler runs."""

from datetime import datetime, timedelta


def every_second(after: datetime) -> datetime:
    """The next whole second."""
    return after.replace(microsecond=0) + timedelta(seconds=1)


def never_answers(_after: datetime) -> datetime:
    """One that is broken."""
    raise RuntimeError("no calendar")
