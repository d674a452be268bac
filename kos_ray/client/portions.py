"""What goes in one request: the jobs of a map are cut into portions."""

from collections.abc import Iterable, Iterator, Sequence

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.gang import GangSpec
from kos_ray.model.job import After

#: jobs and bytes of one request; more are sent in several
REQUEST_JOBS = 5_000
REQUEST_BYTES = 8 * 2**20


def of_portion(parents: Sequence[tuple[str, After]], number: int) -> tuple[tuple[str, After], ...]:
    """The parents of one portion of a map: of arrays that are paired with it item by item, the same portion."""
    paired = [parent for parent, kind in parents if kind is After.CORR]
    if len(paired) <= 1:
        return tuple(parents)
    if number >= len(paired):
        raise InvalidSpec(f"after: corr: expected arrays of the same size, found more than {number} portions")
    return (*(entry for entry in parents if entry[1] is not After.CORR), (paired[number], After.CORR))


def one_portion(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    """All of it, for what is one or nothing."""
    portion = list(payloads)
    if len(portion) > REQUEST_JOBS or sum(map(len, portion)) > REQUEST_BYTES:
        raise InvalidSpec(
            f"idempotency_key: expected a map of at most {REQUEST_JOBS} items and {REQUEST_BYTES >> 20} MiB of "
            f"arguments, found {len(portion)} items, {sum(map(len, portion))} bytes: give each call a key of its own "
            "(submit_many)"
        )
    if portion:
        yield portion


def portions(payloads: Iterable[bytes], gang: GangSpec | None = None) -> Iterator[list[bytes]]:
    """What goes in one request; a gang goes whole, one of all items in the only one."""
    portion: list[bytes] = []
    size = 0
    for data in payloads:
        portion.append(data)
        size += len(data)
        whole = gang is None or (gang.size and not len(portion) % gang.size)
        if whole and (len(portion) >= REQUEST_JOBS or size >= REQUEST_BYTES):
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
