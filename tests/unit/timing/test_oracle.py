"""Every fire of random expressions over three years, against the oracle of `benchmarks.cron_oracle`.

`python -m benchmarks.crons` does the same with hundreds of expressions of the whole grammar.
"""

import random
from collections.abc import Iterator

import pytest

from benchmarks import crons
from benchmarks.cron_oracle import ZONES, Meaning, meaning
from benchmarks.crons import Sums, compare
from kos_ray.timing.cron import parse_cron

EXPRESSIONS = 32
#: of what fires more often, only what is near to changes of clocks is looked at here
MOST = 20_000
#: the last day that every month has
DAY = 28
RARE = ("0 0 L * *", "0 0 LW,3 * *", "30 2 * * 7#1,5L", "15 1-3 10 * sun", "*/30 5 2 L feb *")


def a_field(chance: random.Random, low: int, high: int, star: float) -> tuple[str, set[int]]:
    """A field of an expression, and what it means."""
    kind = chance.random()
    if kind < star:
        return "*", set(range(low, (31 if high == DAY else high) + 1))
    if kind < star + 0.15:
        step = chance.randint(2, max(2, (high - low) // 2))
        return f"*/{step}", set(range(low, (31 if high == DAY else high) + 1, step))
    if kind < star + 0.3:
        first = chance.randint(low, high - 1)
        last, step = chance.randint(first + 1, high), chance.randint(1, 4)
        return f"{first}-{last}/{step}", set(range(first, last + 1, step))
    values = {chance.randint(low, high) for _ in range(chance.randint(1, 3))}
    return ",".join(map(str, sorted(values))), values


def expressions(seed: int) -> Iterator[tuple[str, list[set[int]], bool, bool]]:
    """Expressions, the values of their fields, whether days and weekdays must both match, whether times are fixed."""
    chance = random.Random(seed)
    while True:
        limits = ((0, 59, 0.05), (0, 23, 0.3), (1, DAY, 0.5), (1, 12, 0.7), (0, 6, 0.5))
        found = [a_field(chance, *limit) for limit in limits]
        texts = [text for text, _ in found]
        both = texts[2].startswith("*") or texts[4].startswith("*")
        fixed = not (texts[0].startswith("*") or texts[1].startswith("*"))
        yield " ".join(texts), [values for _, values in found], both, fixed


@pytest.mark.parametrize("name", ZONES)
def test_every_fire(name: str) -> None:
    sums = Sums()
    for _, (text, values, both, fixed) in zip(range(EXPRESSIONS), expressions(len(name)), strict=False):
        assert meaning(text) == Meaning(*values, both=both, fixed=fixed), "the oracle reads what was meant"
        assert list(compare(text, name, sums, MOST)) == []
    for text in RARE:
        assert list(compare(text, name, sums, MOST)) == []
    assert sums.fires > 1_000


def test_a_difference_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crons, "parse_cron", lambda _, timezone: parse_cron("0 4 1 1,6 *", timezone=timezone))
    sums = Sums()
    found = list(compare("0 4 1 1,7 *", "UTC", sums))
    assert found[0] == "0 4 1 1,7 * in UTC at 2023-06-01T04:00:00+00:00: fires here alone"
    assert found[1] == "0 4 1 1,7 * in UTC at 2023-07-01T04:00:00+00:00: is missed"
    assert sums.differences == len(found) == 6
