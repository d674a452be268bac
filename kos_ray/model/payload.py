r"""Payloads: arguments and results as bytes, inline or as a reference to a blob.

A payload is b"" (none), b"\x00" + pickle, or b"\x01" + the blob's 32-byte SHA-256 + its size as 8 bytes, big-endian.
What a failed attempt leaves behind may be b"\x02" + the pickle of an exception: for whoever waits for the job; as a
value it is none.
"""

from dataclasses import dataclass

_INLINE = b"\x00"
_BLOB = b"\x01"
_RAISED = b"\x02"

#: A larger pickle goes to the blob store. Bounded by what a Unix socket takes as one packet (about 200 KiB).
INLINE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob by content: SHA-256 in hexadecimal, size in bytes."""

    hash: str
    size: int


def inline(data: bytes) -> bytes:
    """The payload that carries `data` itself."""
    return _INLINE + data


def referring(ref: BlobRef) -> bytes:
    """The payload that refers to a blob."""
    return _BLOB + bytes.fromhex(ref.hash) + ref.size.to_bytes(8, "big")


def raising(data: bytes) -> bytes:
    """The payload that carries the pickle of an exception."""
    return _RAISED + data


def raised_by(payload: bytes) -> bytes:
    """The pickle of the exception that a payload carries, b"" where it carries none."""
    return payload[1:] if payload[:1] == _RAISED else b""


def open_payload(payload: bytes) -> bytes | BlobRef | None:
    """What a payload carries: bytes, a reference, or None for the empty one and for an exception.

    Raises:
        ValueError: it has none of these forms.

    """
    if not payload:
        return None
    tag = payload[:1]
    if tag == _INLINE:
        return payload[1:]
    if tag == _BLOB and len(payload) == 41:
        return BlobRef(payload[1:33].hex(), int.from_bytes(payload[33:], "big"))
    if tag == _RAISED:
        return None
    raise ValueError(f"not a payload: {len(payload)} bytes beginning with {tag!r}")
