"""A ratio that is worse than it was, by more than the noise, is found; one that is not, is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.report import Row, compare, read, spread, worse, write

FAST = Row(name="map", value=20.0, unit="jobs/s", peer=1.0, ratio=20.0, goal=">= 5x", met=True, spread=0.05)
SLOW = Row(name="trip", value=4.0, unit="ms", peer=2.0, ratio=2.0, goal="<= 4x", met=True, spread=0.05)


@pytest.mark.parametrize(
    ("row", "ratio", "found"),
    [
        (FAST, 17.9, True),
        (FAST, 18.1, False),
        (FAST, 40.0, False),
        (SLOW, 2.3, True),
        (SLOW, 2.2, False),
        (SLOW, 1.0, False),
    ],
)
def test_worse_than_the_noise(row: Row, ratio: float, *, found: bool) -> None:
    assert bool(worse(replace(row, ratio=ratio), row)) is found


def test_noisier_rounds_need_a_larger_change() -> None:
    assert worse(replace(FAST, ratio=15.0), FAST)
    assert not worse(replace(FAST, ratio=15.0, spread=0.25), FAST)


def test_without_a_peer_there_is_no_ratio() -> None:
    assert not worse(replace(FAST, peer=None, ratio=None), FAST)


def test_rounds_are_told_by_their_medians_and_their_spread(tmp_path: Path) -> None:
    ours, peer = iter((30.0, 20.0, 22.0)), iter((1.0, 1.0, 1.0))
    row = compare("map", "jobs/s", lambda: next(ours), lambda: next(peer), rounds=3, at_least=5)
    assert (row.value, row.ratio, row.met) == (22.0, 22.0, True)
    assert row.spread == spread([30.0, 20.0, 22.0]) == pytest.approx(8 / 22)
    write([row], tmp_path / "rows.json")
    assert read(tmp_path / "rows.json") == {"map": row}
