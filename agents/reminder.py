"""Reminds people: what `trigger_reminder` is told is printed, and kept until somebody has seen to it.

kos agent register agents.reminder:SchedulerUnit --name reminder --code .
kos agent call reminder trigger_reminder 'meeting with team'
"""

from datetime import UTC, datetime
from typing import Any

import kos_ray as kos

#: more than so many, and the oldest are forgotten
KEPT_MAX = 1_000


@kos.agent(resources={"cpu": 0.1}, snapshot_every=1, capabilities=("reminders",), roles=("reminder",))
class SchedulerUnit:
    """Keeps reminders by number."""

    def __init__(self) -> None:
        self._open: dict[int, dict[str, Any]] = {}
        self._count = 0

    def trigger_reminder(self, text: str) -> int:
        """Remind of something now; the reminder's number."""
        if not text.strip():
            raise ValueError("expected what to be reminded of, found an empty text")
        self._count += 1
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._open[self._count] = {"number": self._count, "text": text, "at": at}
        while len(self._open) > KEPT_MAX:
            del self._open[next(iter(self._open))]
        print(f"{at} reminder {self._count}: {text}")
        return self._count

    def pending(self) -> list[dict[str, Any]]:
        """What nobody has seen to, the oldest first."""
        return list(self._open.values())

    def done(self, number: int) -> bool:
        """See to one; False when nobody is reminded of it any more."""
        return self._open.pop(number, None) is not None
