"""The timer of exclusive work: what it took to ask for time is gone."""

import pytest

from kos_ray.worker import lease as lease_module
from kos_ray.worker.lease import Lease


class Timer:
    """Notes what it was set to."""

    def __init__(self) -> None:
        self.set_to: list[float] = []

    def set(self, seconds: float) -> None:
        self.set_to.append(seconds)

    def close(self) -> None:
        """No end any more."""


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    found = Timer()
    monkeypatch.setattr(lease_module, "KillTimer", lambda: found)
    return found


@pytest.mark.parametrize(("took_s", "left_s"), [(0.0, 10.0), (4.0, 6.0), (11.0, 0.001)])
def test_time_counts_from_before_it_was_asked_for(
    timer: Timer, monkeypatch: pytest.MonkeyPatch, took_s: float, left_s: float
) -> None:
    clock = [100.0]
    monkeypatch.setattr(lease_module.time, "clock_gettime", lambda _clock: clock[0])

    def ask() -> int:
        clock[0] += took_s
        return 10_000

    lease = Lease(ask)
    lease.close()
    assert timer.set_to[0] == pytest.approx(left_s)
