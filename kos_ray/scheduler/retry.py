"""When a failed job is tried again."""

from hashlib import blake2b

from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.job import Backoff


def backoff_us(backoff: Backoff, key: JobKey, failures: int) -> int:
    """Microseconds from the end of the attempt that was failure number `failures` (from 1) to the next one.

    Exponential with a ceiling. The jitter takes away up to its share of the delay, by a hash of (key, failures), so
    that jobs that failed together do not come back together, and a replay gives the same instant.
    """
    delay_ms = min(backoff.first_ms * backoff.factor ** (failures - 1), backoff.max_ms)
    digest = blake2b(f"{key}.{failures}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return int(delay_ms * (1 - backoff.jitter * share) * MS_US)


def lease_over_us(lease_us: int) -> int:
    """How long after the last renewal a lease is over for certain, on every machine.

    Clocks may run at rates that differ by a tenth. They never do by more than some hundred parts in a million; what is
    left is for the kernel, which may fire late on a machine that has too much to do.
    """
    return lease_us + lease_us // 10


def longest_lease_us(lease_us: int, longer: tuple[int, int], now_us: int) -> int:
    """The longest lease that may still run somewhere; `longer`: see `State.longer_lease`."""
    before_us, until_us = longer
    return max(lease_us, before_us) if now_us < until_us else lease_us
