"""What this process has under leases, and the thread that is heard of for all of it."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

#: of a lease, after which it is renewed
_SHARE = 3
#: seconds until somebody who is not answered asks again
_AGAIN_S = 0.5
#: seconds between two heartbeats at least
_LEAST_S = 0.1

_thread = threading.local()
_tasks: "WeakKeyDictionary[asyncio.Task[object], str]" = WeakKeyDictionary()


def here() -> str:
    """What stands for this task, or this thread where none runs: no other one ever has it."""
    task = None
    with suppress(RuntimeError):
        task = asyncio.current_task()
    if task is not None:
        return _tasks.setdefault(task, uuid.uuid4().hex)
    if not hasattr(_thread, "id"):
        _thread.id = uuid.uuid4().hex
    return str(_thread.id)


def clock_s() -> float:
    """Seconds that go on while the machine sleeps, and whatever becomes of the time of day."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One ticket. What it is for is held until `left_s` is 0, counted from before it was last asked for."""

    def __init__(self, ticket: str, ttl_s: float) -> None:
        self.ticket = ticket
        self.ttl_s = ttl_s
        self.heard_s = clock_s()
        self._lost = False

    @property
    def left_s(self) -> float:
        """Seconds for which it is held for certain, if nobody renews it."""
        return 0.0 if self._lost else max(0.0, self.heard_s + self.ttl_s - clock_s())

    @property
    def lost(self) -> bool:
        """Whether what it is for may be somebody else's."""
        return self.left_s <= 0

    def lose(self) -> None:
        """The scheduler says that it is over."""
        self._lost = True


class Keeper:
    """Renews the leases of one client, all of them with one message. Its thread is there while there are any."""

    def __init__(self, renew: Callable[[list[str]], Sequence[str]]) -> None:
        self._renew = renew
        self._leases: dict[str, Lease] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def keep(self, lease: Lease) -> None:
        """Have it renewed from now on."""
        with self._changed:
            self._leases[lease.ticket] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kos-leases", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drop(self, ticket: str) -> None:
        """It is over."""
        with self._changed:
            self._leases.pop(ticket, None)
            self._changed.notify_all()

    def drop_all(self) -> list[str]:
        """All are over; which they were."""
        with self._changed:
            tickets = list(self._leases)
            self._leases.clear()
            self._changed.notify_all()
        return tickets

    def _run(self) -> None:
        last_s, heard = clock_s(), True
        while leases := self._when_due(last_s, heard=heard):
            last_s = clock_s()
            heard = self._beat(leases)

    def _when_due(self, last_s: float, *, heard: bool) -> dict[str, Lease]:
        """All leases when they are to be renewed; nothing when there are none any more: the thread ends then."""
        with self._changed:
            while self._leases:
                soonest_s = min(lease.ttl_s for lease in self._leases.values()) / _SHARE
                left_s = last_s + max(_LEAST_S, soonest_s if heard else min(soonest_s, _AGAIN_S)) - clock_s()
                if left_s <= 0:
                    return dict(self._leases)
                self._changed.wait(left_s)
            self._thread = None
            return {}

    def _beat(self, leases: dict[str, Lease]) -> bool:
        """Be heard of; whether somebody has heard it."""
        asked_s = clock_s()
        try:
            gone = set(self._renew(list(leases)))
        except Exception:  # noqa: BLE001 - whoever does not answer, or in whatever way: the leases go on to their ends
            return False
        for ticket, lease in leases.items():
            if ticket in gone:
                lease.lose()
            else:
                lease.heard_s = max(lease.heard_s, asked_s)
        return True
