"""Names of things. All instants are integer microseconds since the Unix epoch (`Us`)."""

from typing import NewType

#: A job's dense number, given by the scheduler at acceptance in order of arrival; internal and on the wire.
JobKey = NewType("JobKey", int)
#: A spec's dense number, given at its first use.
SpecKey = NewType("SpecKey", int)
#: Ray's hexadecimal node id.
NodeId = NewType("NodeId", str)
#: Position of an event or decision in the journal, from 1, without gaps.
Seq = NewType("Seq", int)
#: Microseconds since the Unix epoch; never goes backwards inside one engine.
Us = NewType("Us", int)

#: characters of an idempotency key
KEY_MAX = 255

SECOND_US = 1_000_000
MS_US = 1_000


def item_id(array_id: str, index: int | None) -> str:
    """The public id of one job: `array_id`, with `.index` behind it when it is an item of an array."""
    return array_id if index is None else f"{array_id}.{index}"


def split_item_id(public_id: str) -> tuple[str, int | None]:
    """The inverse of `item_id`; an id without a numeric suffix has index None."""
    head, dot, tail = public_id.rpartition(".")
    return (head, int(tail)) if dot and tail.isdigit() else (public_id, None)
