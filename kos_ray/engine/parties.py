"""What all wishes of parties have in common: names, leases, and who asks."""

from collections.abc import Mapping
from typing import Any

from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.locks import NAME_MAX, TTL_MS, Party
from kos_ray.scheduler.state import State

Granted = tuple[list[e.Event], object]


def checked_name(name: object, what: str) -> str:
    """The name, if something may have it.

    Raises:
        Refused: it may not.

    """
    if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX or "\0" in name:
        raise Refused(f"{what}: expected a name of 1 to {NAME_MAX} signs, found {name!r}")
    return name


def checked_ttl(ttl_ms: int) -> int:
    """How long a lease is, if it may be so long.

    Raises:
        Refused: it may not.

    """
    low, high = TTL_MS
    if not low <= ttl_ms <= high:
        raise Refused(f"ttl: expected {low // 1000} s to {high // 3_600_000} h, found {ttl_ms / 1000:g} s")
    return ttl_ms


def party_of(plain: Mapping[str, Any], state: State) -> Party:
    """Who asks.

    Raises:
        Refused: an attempt that is over for the scheduler.

    """
    party = Party(**plain)
    if party.job:
        job = state.jobs.get(JobKey(party.job))
        if job is None or job.attempt != party.attempt or job.node is None:
            raise Refused(
                f"attempt {party.attempt} of the job that asks is over for the scheduler (its node counts as lost, or "
                "another attempt has taken its place); expected the current one: end this one"
            )
    return party


def until(wait_ms: int, now_us: int) -> int:
    """Until when somebody waits; negative: for as long as it takes."""
    return 0 if wait_ms < 0 else now_us + wait_ms * MS_US
