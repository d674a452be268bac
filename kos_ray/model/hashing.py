"""Content hashes of model values."""

import hashlib

from kos_ray.model.job import Spec
from kos_ray.model.wire import to_plain


def spec_hash(spec: Spec) -> str:
    """SHA-256, in hexadecimal, of a spec's fields that do not hold their default, in the order of their names."""
    plain = sorted(to_plain(spec).items())
    return hashlib.sha256(repr(plain).encode()).hexdigest()
