"""The clock of the scheduler's process."""

import time

import pytest

from kos_ray.runtime.clock import SystemClock


def test_a_jump_of_the_wall_clock_moves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before_us, wall_ns = clock.now_us(), time.time_ns()
    for jump_ns in (-86_400 * 10**9, 86_400 * 10**9):
        monkeypatch.setattr(time, "time_ns", lambda at=wall_ns + jump_ns: at)
        assert 0 <= clock.now_us() - before_us < 60_000_000
