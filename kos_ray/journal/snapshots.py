"""Snapshots: all that the scheduler holds, at one sequence number. A cache: a bad one is passed over.

A snapshot says which frame it follows by that frame's hash, so that one from another history is never loaded.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from kos_ray.journal.codec import pack, unpack
from kos_ray.journal.place import make_directory, sync_directory
from kos_ray.model.failpoints import reach

#: Version of the file's form. What the body means is its writer's business.
SNAPSHOT_FORMAT = 4
#: snapshots that are kept
KEPT = 3
#: the folder beside them with the one that stands for frames that retention has removed; see `base.py`
BASE = "base"

#: magic, format, last_seq, hash of the frame that ends there, SHA-256 of the body
_HEADER = struct.Struct(">8sIQ32s32s")
_MAGIC = b"kos snap"

Loaded = tuple[int, Any]


class FrameHashes(Protocol):
    """The part of a journal that a snapshot is checked against."""

    def hash_at(self, seq: int) -> bytes | None:
        """The hash of the frame that ends with `seq`, None where no frame does."""


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    #: what was wrong with snapshots that were passed over, in the order they were tried
    warnings: list[str]

    def save(self, seq: int, frame_hash: bytes, plain: Any) -> None:
        """Keep plain data as of the frame that ends with `seq` and has that hash."""

    def load_newest(self, journal: FrameHashes) -> Loaded | None:
        """`(seq, plain)` of the newest snapshot that is whole and follows the journal; None where there is none."""


class FileSnapshots:
    """Snapshots as files `<seq>.snap` in one directory, for its one writer: what a dead one left is removed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        make_directory(directory)
        for left in directory.glob("*.partial"):
            left.unlink()

    def save(self, seq: int, frame_hash: bytes, plain: Any) -> None:
        """Keep a snapshot; it is durable when this returns. All but the newest few are removed."""
        data = encode_snapshot(seq, frame_hash, plain)
        partial = self.directory / f"{seq}.partial"
        reach("snapshots.begun")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            reach("snapshots.written")
            partial.replace(self.directory / f"{seq}.snap")
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(self.directory)
        reach("snapshots.named")
        for old in self._newest_first()[KEPT:]:
            self._path(old).unlink(missing_ok=True)
            reach("snapshots.removed")

    def load_newest(self, journal: FrameHashes) -> Loaded | None:
        """See `SnapshotStore`."""
        tries = [(seq, self._path(seq).read_bytes) for seq in self._newest_first()]
        return newest_good(tries, journal, self.warnings) or self.load_base(journal)

    def load_base(self, journal: FrameHashes) -> Loaded | None:
        """The one that stands for frames that retention has removed; None where there is none."""
        paths = [path for path in self.directory.with_name(BASE).glob("*.snap") if path.stem.isdigit()]
        return newest_good([(int(path.stem), path.read_bytes) for path in paths], journal, self.warnings)

    def _newest_first(self) -> list[int]:
        names = [path.stem for path in self.directory.glob("*.snap")]
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def _path(self, seq: int) -> Path:
        return self.directory / f"{seq}.snap"


class MemorySnapshots:
    """Snapshots in memory, for simulations: the bytes are those of a file."""

    def __init__(self) -> None:
        self.files: dict[int, bytes] = {}
        self.warnings: list[str] = []

    def save(self, seq: int, frame_hash: bytes, plain: Any) -> None:
        """Keep a snapshot. All but the newest few are removed."""
        self.files[seq] = encode_snapshot(seq, frame_hash, plain)
        for old in sorted(self.files)[:-KEPT]:
            del self.files[old]

    def load_newest(self, journal: FrameHashes) -> Loaded | None:
        """See `SnapshotStore`."""
        tries = [(seq, lambda seq=seq: self.files[seq]) for seq in sorted(self.files, reverse=True)]
        return newest_good(tries, journal, self.warnings)


def encode_snapshot(seq: int, frame_hash: bytes, plain: Any) -> bytes:
    """The bytes of a snapshot."""
    body = pack(plain)
    return _HEADER.pack(_MAGIC, SNAPSHOT_FORMAT, seq, frame_hash, hashlib.sha256(body).digest()) + body


def decode_snapshot(data: bytes, journal: FrameHashes) -> Loaded:
    """The inverse of `encode_snapshot`, for a snapshot that follows the journal.

    Raises:
        ValueError: it is not whole, of an unknown format, or follows another history.

    """
    if len(data) < _HEADER.size or data[:8] != _MAGIC:
        raise ValueError(f"not a snapshot: {len(data)} bytes beginning with {data[:8]!r}")
    _, version, seq, frame_hash, body_hash = _HEADER.unpack_from(data)
    if version != SNAPSHOT_FORMAT:
        raise ValueError(f"format {version}, expected {SNAPSHOT_FORMAT}")
    body = data[_HEADER.size :]
    found = hashlib.sha256(body).digest()
    if found != body_hash:
        raise ValueError(f"its content has hash {found.hex()}, expected {body_hash.hex()}")
    expected = journal.hash_at(seq)
    if expected != frame_hash:
        there = expected.hex() if expected else "no frame that ends there"
        raise ValueError(f"it follows frame {frame_hash.hex()}, the journal has {there}")
    return seq, unpack(body)


def newest_good(
    tries: Iterable[tuple[int, Callable[[], bytes]]], journal: FrameHashes, warnings: list[str]
) -> Loaded | None:
    """The first of `tries`, newest first, that can be read; what is wrong with the others goes to `warnings`."""
    for seq, read in tries:
        try:
            return decode_snapshot(read(), journal)
        except (OSError, ValueError, OverflowError) as error:
            warnings.append(f"snapshot {seq} is passed over: {error}")
    return None
