"""What a spec that comes from a client may say."""

from kos_ray.model.errors import Refused
from kos_ray.model.job import BANDS, Spec

#: retries that a job may ask for
RETRIES_MAX = 1_000
#: with so many retries, a pause still is a number
BACKOFF_FACTOR_MAX = 100


def check_spec(spec: Spec, python: str) -> None:
    """See that a scheduler can do something with it; `python` is the version that the cluster runs.

    Raises:
        Refused: what is wrong.

    """
    if spec.python and spec.python != python:
        raise Refused(
            f"this code was packed by Python {spec.python}, the cluster runs Python {python}: "
            "submit from the cluster's Python version"
        )
    if not 0 <= spec.band < len(BANDS):
        raise Refused(f"band: expected 0 to {len(BANDS) - 1}, found {spec.band}")
    if not 0 <= spec.retries <= RETRIES_MAX:
        raise Refused(f"retries: expected 0 to {RETRIES_MAX}, found {spec.retries}")
    if not (spec.function or spec.entry or spec.command):
        raise Refused("a job needs a function, an entry point or a command; found none")
    if spec.timeout_ms < 0:
        raise Refused(f"timeout: expected 0 or more milliseconds, found {spec.timeout_ms}")
    backoff = spec.backoff
    if min(backoff.first_ms, backoff.max_ms) < 0 or not 1 <= backoff.factor <= BACKOFF_FACTOR_MAX:
        raise Refused(f"backoff: expected pauses of 0 or more and a factor of 1 to {BACKOFF_FACTOR_MAX}: {backoff}")
    if not 0 <= backoff.jitter <= 1:
        raise Refused(f"backoff: expected a jitter of 0 to 1, found {backoff.jitter}")
    names = [name for name, _ in spec.resources.amounts]
    if names != sorted(set(names)) or any(amount <= 0 for _, amount in spec.resources.amounts):
        raise Refused(f"resources: expected positive amounts, in the order of names, found {spec.resources.amounts}")
