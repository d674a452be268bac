"""Named locks: who asks for one, who has it, and the fence that each grant carries."""

from dataclasses import dataclass
from enum import IntEnum

from kos_ray.model.ids import JobKey

#: signs of the name of a lock, a mailbox, a barrier or an approval
NAME_MAX = 500
#: how long a lease may be, in milliseconds; it has to outlive a few heartbeats
TTL_MS = (1_000, 86_400_000)
#: asks that one name, and all names together, may have
WAITING_MAX = 10_000
ASKS_MAX = 100_000
#: outcomes of asks that were refused are remembered for whoever asks again, the last so many
ENDED_MAX = 10_000


class LockMode(IntEnum):
    """How a lock is held. Stored in journals."""

    EXCLUSIVE = 0
    SHARED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who takes part: a thread or task of a client, or of an attempt. `told` is for people."""

    id: str
    told: str = ""
    #: the attempt in which it runs, JobKey(0) for none: what it holds goes with it
    job: JobKey = JobKey(0)
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockAsked:
    """Somebody wants a lock. `ticket` is the ask's own id: asked again, it is the same ask."""

    ticket: str
    #: namespace, NUL, name
    lock: str
    party: Party
    mode: int = LockMode.EXCLUSIVE
    #: how long it stays granted to a holder who is not heard
    ttl_ms: int = 30_000
    #: until when it waits; 0: for as long as it takes
    until_us: int = 0
    band: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LocksLeft:
    """Asks are over by wish: released, or given up; `broken`: somebody took the lock away from who had it."""

    tickets: tuple[str, ...]
    broken: bool = False
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesOver:
    """Whoever had these tickets has not been heard for as long as was agreed."""

    tickets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLocks:
    """These asks have their locks from now on. A fence is higher than all that were granted before."""

    tickets: tuple[str, ...]
    fences: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseLock:
    """An ask will not get its lock; `told` says what stands against it."""

    ticket: str
    reason: int
    told: str = ""


LockEvent = LockAsked | LocksLeft | LeasesOver
LockDecision = GrantLocks | RefuseLock
LOCK_EVENTS: tuple[type, ...] = (LockAsked, LocksLeft, LeasesOver)
LOCK_DECISIONS: tuple[type, ...] = (GrantLocks, RefuseLock)
