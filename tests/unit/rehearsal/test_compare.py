"""Intervals over seeds, against values from textbooks."""

import pytest
from small_worlds import job, report

from kos_ray.rehearsal.compare import METRICS, compared, estimate


def test_an_interval_by_hand() -> None:
    """Mean 3, deviation sqrt(2.5), t of 4 degrees 2.776: 2.776 * sqrt(2.5 / 5)."""
    found = estimate([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.half == pytest.approx(1.962928, abs=1e-6)
    assert found.distinct
    assert estimate([7]).half is None
    assert not estimate([7]).distinct
    assert estimate([0.0, 1.0] * 50).half == pytest.approx(2.000 * 0.5025189 / 10, abs=1e-6)  # 99 degrees: those of 60


def test_differences_are_taken_seed_by_seed() -> None:
    """What both policies share cancels out, however different the seeds are."""
    slow = [report("1x1cpu", job(0, length), job(0, 5)) for length in (10, 50, 90)]
    fast = [report("2x1cpu", job(0, length), job(0, 5)) for length in (10, 50, 90)]
    first, second = compared({"slow": slow, "fast": fast})
    assert {found.mean for found in first.differences.values()} == {0}
    assert set(second.differences) == set(METRICS)
    difference = second.differences["makespan_s"]
    assert (difference.mean, difference.half) == (-5, 0)
    assert second.metrics["makespan_s"].mean == 50
    assert second.metrics["makespan_s"].half > 50
