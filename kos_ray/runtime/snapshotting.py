"""When the reader is asked for a snapshot: it folds all frames since the last one, which takes a processor for seconds.

So that is left until nothing is happening; who is never quiet has one all the same before a start would take long.
"""

import asyncio
from collections.abc import Callable

from kos_ray.engine.ports import Frame
from kos_ray.model import decisions as d
from kos_ray.model import events as e

#: changes of jobs after which one is due when it is quiet, and after which it is due at once: a start folds those
#: behind the newest snapshot, some 12 µs for a job that comes, starts and ends
CHANGES, CHANGES_MAX = 200_000, 600_000
#: quiet: so few changes in so many seconds
_CALM, _CALM_S = 3_000, 1.0


class SnapshotsDue:
    """A listener of the engine; `take` asks for one."""

    def __init__(self, take: Callable[[], None]) -> None:
        self._take = take
        self._changes = 0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, frame: Frame) -> None:
        """Count one frame."""
        self._changes += sum(_size(record) for record in (*frame.events, *frame.decisions))
        if self._changes >= CHANGES_MAX:
            self._due()
        elif self._changes >= CHANGES and self._timer is None:
            self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_CALM_S, self._look, self._changes)

    def _look(self, before: int) -> None:
        if self._changes - before <= _CALM:
            self._due()
        else:
            self._wait()

    def _due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._changes = 0
        self._take()


def _size(record: e.Event | d.Decision) -> int:
    return len(getattr(record, "keys", ())) or len(getattr(record, "args", ())) or 1
