"""Frames as bytes: the body, the hash that links it to the frame before, and the hash of a spec."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from kos_ray.journal import schema as versions
from kos_ray.model.decisions import DECISION_TYPES, Decision
from kos_ray.model.errors import JournalDamaged
from kos_ray.model.events import EVENT_TYPES, Event
from kos_ray.model.job import Spec
from kos_ray.model.wire import from_plain, tagged, to_plain, untagged

#: first_seq, last_seq, epoch, now_us, schema
_HEADER = struct.Struct(">QQQQI")
_EVENTS = {cls.__name__: cls for cls in EVENT_TYPES}
_DECISIONS = {cls.__name__: cls for cls in DECISION_TYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One commit. Events, then decisions, take the sequence numbers `first_seq` to `last_seq`, one each."""

    first_seq: int
    last_seq: int
    epoch: int
    now_us: int
    schema: int
    events: tuple[Event, ...]
    decisions: tuple[Decision, ...]
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame's row as it lies in the table: the columns of `frames`, in their order."""

    first_seq: int
    last_seq: int
    epoch: int
    now_us: int
    schema: int
    prev_hash: bytes
    hash: bytes
    body: bytes

    @property
    def place(self) -> str:
        """Where it is, for errors."""
        return f"frame {self.first_seq}..{self.last_seq}"


def pack(plain: Any) -> bytes:
    """Plain data to bytes."""
    packed: bytes = msgpack.packb(plain, use_bin_type=True)
    return packed


def unpack(data: bytes) -> Any:
    """Bytes to plain data, with tuples for arrays."""
    return msgpack.unpackb(data, use_list=False, strict_map_key=False)


def encode_body(events: Sequence[Event], decisions: Sequence[Decision]) -> bytes:
    """The body of a frame."""
    return pack({"e": [tagged(event) for event in events], "d": [tagged(decision) for decision in decisions]})


def genesis(cluster_id: str) -> bytes:
    """What the first frame names as the hash before it."""
    return hashlib.sha256(cluster_id.encode()).digest()


def frame_hash(stored: StoredFrame) -> bytes:
    """The hash that a frame must have, by what it holds."""
    header = _HEADER.pack(stored.first_seq, stored.last_seq, stored.epoch, stored.now_us, stored.schema)
    digest = hashlib.sha256(stored.prev_hash + header)
    digest.update(stored.body)
    return digest.digest()


def check(stored: StoredFrame) -> None:
    """Raise JournalDamaged unless a stored frame's hash is that of its content."""
    expected = frame_hash(stored)
    if expected != stored.hash:
        raise JournalDamaged(f"{stored.place}: content has hash {expected.hex()}, found {stored.hash.hex()}")


def decode(stored: StoredFrame) -> Frame:
    """A stored frame's content, once its hash is found right.

    Raises:
        JournalDamaged: the hash is another than the content's, or the content cannot be read.

    """
    check(stored)
    try:
        plain = versions.upgrade(unpack(stored.body), stored.schema)
        events = tuple([untagged(_EVENTS, item) for item in plain["e"]])
        decisions = tuple([untagged(_DECISIONS, item) for item in plain["d"]])
    except (ValueError, TypeError, KeyError) as error:
        raise JournalDamaged(f"{stored.place}: expected events and decisions, found {error!r}") from error
    count, span = len(events) + len(decisions), stored.last_seq - stored.first_seq + 1
    if count != span:
        raise JournalDamaged(f"{stored.place}: expected {span} events and decisions, found {count}")
    return replace(undecoded(stored), events=events, decisions=decisions)


def undecoded(stored: StoredFrame) -> Frame:
    """A stored frame without what it holds, and without a look at that."""
    return Frame(
        first_seq=stored.first_seq,
        last_seq=stored.last_seq,
        epoch=stored.epoch,
        now_us=stored.now_us,
        schema=stored.schema,
        events=(),
        decisions=(),
        prev_hash=stored.prev_hash,
        hash=stored.hash,
    )


def encode_spec(spec: Spec) -> bytes:
    """A spec as bytes, the same for equal specs: keys are in order."""
    return pack(_canonical(to_plain(spec)))


def decode_spec(body: bytes) -> Spec:
    """The inverse of `encode_spec`."""
    return from_plain(Spec, unpack(body))


def _canonical(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: _canonical(plain[name]) for name in sorted(plain)}
    if isinstance(plain, tuple):
        return tuple(_canonical(item) for item in plain)
    return plain
