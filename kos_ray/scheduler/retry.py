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
