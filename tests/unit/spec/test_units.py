"""Units: exact integers, or a clear refusal."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.spec.units import parse_amount, parse_bytes, parse_milliseconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (1000, 1000),
        ("17", 17),
        ("512MB", 512_000_000),
        ("1.5GiB", 1_610_612_736),
        ("1.5 GiB", 1_610_612_736),
        ("4Gi", 4 * 2**30),
        ("1kB", 1000),
        ("1KB", 1000),
        ("2TiB", 2 * 2**40),
        ("0.5KiB", 512),
        ("3B", 3),
        (1e9, 1_000_000_000),
    ],
)
def test_bytes(written: object, size: int) -> None:
    assert parse_bytes(written) == size


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("2m", 120_000),
        ("5min", 300_000),
        ("1.5h", 5_400_000),
        ("1h30m", 5_400_000),
        ("1d 12h", 129_600_000),
        (90, 90_000),
        (0.25, 250),
        ("12", 12_000),
        (0, 0),
    ],
)
def test_milliseconds(written: object, milliseconds: int) -> None:
    assert parse_milliseconds(written) == milliseconds


@pytest.mark.parametrize(("written", "amount"), [(1, 10_000), (0.5, 5_000), ("0.25", 2_500), (0.1, 1_000), (0, 0)])
def test_amounts(written: object, amount: int) -> None:
    assert parse_amount(written) == amount


@pytest.mark.parametrize(
    ("parse", "written", "message"),
    [
        (parse_bytes, "1gb", 'did you mean "GB"'),
        (parse_bytes, "1 parsec", "the units are"),
        (parse_bytes, "0.3B", "whole number of bytes"),
        (parse_bytes, -1, "negative"),
        (parse_bytes, True, "found true"),
        (parse_bytes, None, "found nothing"),
        (parse_bytes, [1], "a list of 1"),
        (parse_bytes, "", "found ''"),
        (parse_bytes, "9" * 41, "expected a size"),
        (parse_bytes, "99999999PiB", "at most"),
        (parse_bytes, float("inf"), "expected a size"),
        (parse_bytes, float("nan"), "expected a size"),
        (parse_milliseconds, "0.1ms", "whole number of milliseconds"),
        (parse_milliseconds, "soon", "expected a time"),
        (parse_milliseconds, "3 weeks", "the units are ms, s, m"),
        (parse_milliseconds, "-5s", "negative"),
        (parse_milliseconds, "99999d", "at most"),
        (parse_amount, 0.00001, "steps of 1/10000"),
        (parse_amount, "2 cores", "found the unit 'cores'"),
        (parse_amount, {}, "an empty mapping"),
        (parse_amount, "٣", "expected a number"),
    ],
)
def test_refusals(parse: object, written: object, message: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as refused:
        parse(written)  # type: ignore[operator]
    assert message in str(refused.value)


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([("KiB", 2**10), ("MB", 10**6), ("GiB", 2**30), ("", 1)]))
def test_bytes_are_exact(thousandths: int, unit: tuple[str, int]) -> None:
    exact = Fraction(thousandths, 1000) * unit[1]
    text = f"{thousandths // 1000}.{thousandths % 1000:03}{unit[0]}"
    if exact.denominator == 1 and exact <= 1024**5:
        assert parse_bytes(text) == exact
    else:
        with pytest.raises(ValueError, match="expected"):
            parse_bytes(text)


@settings(deadline=None)
@given(st.floats(0, 1e6, allow_nan=False))
def test_amounts_never_round(units: float) -> None:
    try:
        amount = parse_amount(units)
    except ValueError:
        return
    assert amount == Fraction(repr(units) if "e" not in repr(units) else units) * 10_000
