"""All fires of many cron expressions over three years in four zones, against an oracle that looks at each minute.

`python -m benchmarks.crons --expressions 500 --seed 1`: so many are drawn from the whole grammar, and all are added
that stand in others' published tables (`cron-schedules`). Every difference is a line with expression, zone and instant.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import cron_oracle as oracle
from benchmarks.published.data import find_data
from kos_ray.model.errors import InvalidSpec
from kos_ray.timing.cron import Cron, parse_cron

SECOND_US = 1_000_000
DAY_S = 86_400
#: fires of one expression: of those drawn, and of all; who has more is looked at only where clocks change
_DRAWN_MAX, _WHOLE_MAX = 40_000, 300_000
_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def _term(chance: Random, low: int, high: int, names: Sequence[str]) -> str:
    def said(value: int) -> str:
        return names[value] if value < len(names) and chance.random() < 0.4 else str(value)

    first, last = sorted((chance.randint(low, high), chance.randint(low, high)))
    step = chance.randint(1, max(2, (high - low) // 2))
    return chance.choice(
        (said(first), said(last), f"{said(first)}-{said(last)}", f"{first}-{last}/{step}", f"{first}/{step}")
    )


def _field(chance: Random, low: int, high: int, star: float, names: Sequence[str] = ()) -> str:
    if chance.random() < star:
        return "*" if chance.random() < 0.7 else f"*/{chance.randint(1, max(2, (high - low) // 2))}"
    return ",".join(_term(chance, low, high, names) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def _day(chance: Random) -> str:
    special = chance.choice(("L", "LW", "L,15", "LW,1", "1-7,L")) if chance.random() < 0.15 else ""
    return special or _field(chance, 1, 31, 0.5)


def _weekday(chance: Random) -> str:
    if chance.random() < 0.15:
        day = chance.randint(0, 7)
        named = chance.choice(_WEEKDAYS)
        return chance.choice(
            (f"{day}#{chance.randint(1, 5)}", f"{named}#{chance.randint(1, 5)}", f"{day}L", f"1,{day}L")
        )
    return _field(chance, 0, 7, 0.5, _WEEKDAYS)


def drawn(chance: Random) -> Iterator[str]:
    """Expressions of five and six fields that the default dialect accepts, none of which fires all the time."""
    while True:
        fields = [_field(chance, 0, 59, 0.15), _field(chance, 0, 23, 0.3), _day(chance)]
        text = " ".join([*fields, _field(chance, 1, 12, 0.6, _MONTHS), _weekday(chance)])
        if chance.random() < 0.25:
            text = f"{_field(chance, 0, 59, 0.05)} {text}"
        if _times(oracle.meaning(text)) <= _DRAWN_MAX and _read(text, "UTC"):
            yield text


def _times(meant: oracle.Meaning) -> int:
    """No more fires than so many, if it fired each day."""
    return oracle.YEARS * 366 * len(meant.seconds) * len(meant.minutes) * len(meant.hours)


def _read(text: str, zone: str) -> Cron | None:
    try:
        return parse_cron(text, timezone=zone)
    except InvalidSpec:
        return None


def published(folder: Path) -> list[str]:
    """All texts in others' tables that the default dialect accepts."""
    found: set[str] = set()

    def collect(said: Any) -> None:
        if isinstance(said, str):
            found.add(said)
        elif isinstance(said, dict | list):
            for one in said.values() if isinstance(said, dict) else said:
                collect(one)

    for path in sorted(folder.glob("*.json")):
        collect(json.loads(path.read_text()))
    return sorted(text for text in found if _read(text, "UTC"))


@dataclass
class Sums:
    """What was compared."""

    fires: int = 0
    differences: int = 0
    #: expressions that were looked at only where clocks change
    partly: int = 0


def _instant(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def compare(text: str, zone: str, sums: Sums, most: int = _WHOLE_MAX) -> Iterator[str]:
    """The differences of one expression in one zone, each a line; with more than `most` fires, around changes."""
    cron, meant = _read(text, zone), oracle.meaning(text)
    assert cron is not None, "it was read before"
    windows = [oracle.stretch(zone)]
    if _times(meant) > most:
        sums.partly += 1
        begins = [windows[0][0], *(at_s - DAY_S for at_s in oracle.changes(zone))]
        windows = [(begin, begin + 2 * DAY_S) for begin in begins]
    for (begin, end), expected in zip(windows, oracle.fires(zone, meant, windows), strict=True):
        found = _found(cron, begin, end, len(expected))
        sums.fires += len(expected)
        if found == expected:
            continue
        ours, theirs = set(found), set(expected)
        for at_s in sorted(ours ^ theirs):
            sums.differences += 1
            yield f"{text} in {zone} at {_instant(at_s)}: {'fires here alone' if at_s in ours else 'is missed'}"


def _found(cron: Cron, begin: int, end: int, expected: int) -> list[int]:
    """Our fires between two seconds; not far more than are expected, and none once time does not go on."""
    found: list[int] = []
    at_us = cron.next_after(begin * SECOND_US)
    while at_us is not None and at_us < end * SECOND_US and len(found) <= expected + 1_000:
        found.append(at_us // SECOND_US)
        next_us = cron.next_after(at_us)
        if next_us is not None and next_us <= at_us:
            break
        at_us = next_us
    return found


def main() -> int:
    """Compare and print; exit code 1 where anything differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crons", description=__doc__)
    parser.add_argument("--expressions", type=int, default=500, help="so many are drawn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", metavar="DIR", help="where the published tables are")
    options = parser.parse_args()
    chance = Random(options.seed)
    texts = [text for _, text in zip(range(options.expressions), drawn(chance), strict=False)]
    texts += published(find_data(options.data) / "cron-schedules")
    sums, began = Sums(), time.process_time()
    for zone in oracle.ZONES:
        for text in texts:
            for line in compare(text, zone, sums):
                print(line, flush=True)
        print(f"{zone}: {sums.fires:,} fires so far, {sums.differences} differences", file=sys.stderr, flush=True)
    print(
        f"{len(texts)} expressions in {len(oracle.ZONES)} zones over {oracle.YEARS} years: {sums.fires:,} fires, "
        f"{sums.differences} differences; {sums.partly // len(oracle.ZONES)} of them, which fire more than "
        f"{_WHOLE_MAX:,} times, only around changes of clocks; {time.process_time() - began:.0f} s of the processor"
    )
    return 1 if sums.differences else 0


if __name__ == "__main__":
    sys.exit(main())
