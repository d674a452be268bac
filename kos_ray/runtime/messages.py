"""Messages of the protocol as bytes: Ray carries them untouched, so that versions can differ on its two sides."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgpack

from kos_ray.model.wire import from_plain, to_plain

T = TypeVar("T")


def pack(message: Any) -> bytes:
    """One message."""
    return msgpack.packb(to_plain(message))  # type: ignore[no-any-return]


def unpack(cls: type[T], data: bytes) -> T:
    """The inverse of `pack`."""
    return from_plain(cls, msgpack.unpackb(data, use_list=False, strict_map_key=False))


def pack_all(messages: Sequence[Any]) -> bytes:
    """Messages of one kind, in their order."""
    return msgpack.packb([to_plain(message) for message in messages])  # type: ignore[no-any-return]


def unpack_all(cls: type[T], data: bytes) -> list[T]:
    """The inverse of `pack_all`."""
    return [from_plain(cls, plain) for plain in msgpack.unpackb(data, use_list=False, strict_map_key=False)]
