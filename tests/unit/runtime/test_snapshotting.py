"""A snapshot is taken when it is quiet, and at the latest after so many changes."""

from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.runtime import snapshotting
from kos_ray.runtime.snapshotting import SnapshotsDue


class Play:
    """The timers of a loop, in the test's hands; frames of so many changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        self.timers: list[Any] = []
        loop = SimpleNamespace(call_later=self._later)
        monkeypatch.setattr(snapshotting.asyncio, "get_running_loop", lambda: loop)
        self.due = SnapshotsDue(self._take)

    def _take(self) -> None:
        self.taken += 1

    def _later(self, _seconds: float, call: Any, *args: Any) -> Any:
        self.timers.append((call, args))
        return SimpleNamespace(cancel=self.timers.clear)

    def frame(self, changes: int) -> int:
        self.due(SimpleNamespace(events=[SimpleNamespace(keys=range(changes))], decisions=[]))  # type: ignore[arg-type]
        return self.taken

    def second(self) -> int:
        timers = list(self.timers)
        self.timers.clear()
        for call, args in timers:
            call(*args)
        return self.taken


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(monkeypatch)


def test_it_waits_until_it_is_quiet(play: Play) -> None:
    assert play.frame(199_999) == 0
    assert not play.timers
    assert play.frame(1) == 0
    assert play.frame(50_000) == 0
    assert play.second() == 0
    assert play.frame(3_000) == 0
    assert play.second() == 1
    assert not play.timers
    assert play.frame(199_999) == 1
    assert not play.timers


def test_it_does_not_wait_for_ever(play: Play) -> None:
    assert play.frame(200_000) == 0
    for _ in range(3):
        assert play.frame(100_000) == 0
        assert play.second() == 0
    assert play.frame(100_000) == 1
    assert not play.timers
    assert play.frame(100_000) == 1
