"""What people write for sizes, times and amounts, to integers without rounding.

Every parser raises `ValueError` with "expected ..., found ..." and never accepts a value that it would have to round.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from kos_ray.model.resources import UNIT

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*", re.ASCII)
#: longer numbers are a mistake, and would cost time to parse
_MAX_TEXT = 40

_BYTES = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGTP", start=1):
    _BYTES[f"{_letter}iB"] = _BYTES[f"{_letter}i"] = 1024**_power
    _BYTES[f"{_letter}B"] = 1000**_power
_BYTES["kB"] = 1000

_BITS = {"": 1, "bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}

#: nothing on earth is larger, and what is stays inside 64-bit columns
MAX_BYTES = 1024**5
MAX_MILLISECONDS = 10 * 365 * 86_400_000
MAX_UNITS = 1_000_000_000

BYTES_FORM = 'a size such as "512MB" or "1.5GiB", or a whole number of bytes'
DURATION_FORM = 'a time such as "250ms", "30s", "2m" or "1h30m", or a number of seconds'


def parse_bytes(value: object) -> int:
    """A size in bytes: `"1.5GiB"` is 1 610 612 736, `"512MB"` 512 000 000, `1000` itself.

    Raises:
        ValueError: no size, negative, too large, or not a whole number of bytes.

    """
    number, suffix = _split(value, BYTES_FORM)
    if suffix not in _BYTES:
        near = next((unit for unit in _BYTES if unit.lower() == suffix.lower()), "")
        hint = f'; did you mean "{near}"?' if near else f"; the units are {', '.join(u for u in _BYTES if u)}"
        raise ValueError(f"expected {BYTES_FORM}, found the unit {suffix!r}{hint}")
    return _whole(number * _BYTES[suffix], "bytes", value, MAX_BYTES)


def parse_bits(value: object) -> int:
    """Bits a second: `"100Mbit"`, `"1Gbit"`, or a whole number.

    Raises:
        ValueError: it is none, negative, or not a whole number of bits.

    """
    form = 'a rate such as "100Mbit" or "1Gbit", or a whole number of bits a second'
    number, suffix = _split(value, form)
    if suffix not in _BITS:
        units = ", ".join(unit for unit in _BITS if unit)
        raise ValueError(f"expected {form}, found the unit {suffix!r}; the units are {units}")
    return _whole(number * _BITS[suffix], "bits", value, MAX_BYTES)


def parse_milliseconds(value: object) -> int:
    """A time in milliseconds: `"250ms"`, `"30s"`, `"2m"`, `"1h30m"`; a bare number counts seconds.

    Raises:
        ValueError: no time, negative, too long, or finer than a millisecond.

    """
    if isinstance(value, str) and len(value) <= _MAX_TEXT and re.fullmatch(r"\s*(?:[0-9]+[a-z]+\s*){2,}", value):
        parts = re.findall(r"[0-9]+[a-z]+", value)
        return _bounded(sum(parse_milliseconds(part) for part in parts), value, MAX_MILLISECONDS)
    number, suffix = _split(value, DURATION_FORM)
    if (suffix or "s") not in _MILLISECONDS:
        units = ", ".join(_MILLISECONDS)
        raise ValueError(f"expected {DURATION_FORM}, found the unit {suffix!r}; the units are {units}")
    return _whole(number * _MILLISECONDS[suffix or "s"], "milliseconds", value, MAX_MILLISECONDS)


def parse_amount(value: object) -> int:
    """An amount of devices in 1/10 000: 2 is 20 000, 0.5 is 5 000, "0.25" is 2 500.

    Raises:
        ValueError: no number, negative, too large, or finer than 1/10 000.

    """
    form = "a number such as 1 or 0.5"
    _no_range(value, form)
    number, suffix = _split(value, form)
    if suffix:
        raise ValueError(f"expected {form}, found the unit {suffix!r}")
    amount = number * UNIT
    if amount != amount.to_integral_value():
        raise ValueError(f"expected steps of 1/{UNIT}, found {value!r}")
    return _bounded(int(amount), value, MAX_UNITS * UNIT)


def _no_range(value: object, form: str) -> None:
    """Say what to write where one may think of a least and a most."""
    if isinstance(value, Mapping) and value and value.keys() <= {"min", "max"}:
        raise ValueError(
            f"expected {form}, found a range; write what would do instead, the best first: "
            "resources: {any: [{cpu: 8}, {cpu: 2}]}"
        )


def _split(value: object, form: str) -> tuple[Decimal, str]:
    """Number and unit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {form}, found {describe(value)}")  # noqa: TRY004 - pydantic reports ValueError
    text = value if isinstance(value, str) else format(Decimal(repr(value)), "f")
    if text.lstrip().startswith("-"):
        raise ValueError(f"expected {form}, found the negative {shorten(value)}")
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise ValueError(f"expected {form}, found {shorten(value)}")
    return Decimal(match[1]), match[2]


def _whole(number: Decimal, unit: str, value: object, limit: int) -> int:
    if number != number.to_integral_value():
        raise ValueError(f"expected a whole number of {unit}, found {shorten(value)}")
    return _bounded(int(number), value, limit)


def _bounded(number: int, value: object, limit: int) -> int:
    if number > limit:
        raise ValueError(f"expected at most {limit}, found {shorten(value)}")
    return number


def describe(value: object) -> str:
    """A value as people call it, with its content where that is short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    return shorten(value)


def shorten(value: object, limit: int = 60) -> str:
    """The value's repr, cut."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
