"""Blobs: bytes by their SHA-256, for what is too large for a frame."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from kos_ray.journal.place import make_directory, sync_directory
from kos_ray.model.errors import JournalDamaged, NotFound, Refused
from kos_ray.model.failpoints import reach
from kos_ray.model.payload import BlobRef

_HEX = frozenset("0123456789abcdef")
_PARTIAL = "partial"


class BlobStore(Protocol):
    """The port; `tests/unit/journal/blob_contract.py` is what every store keeps to.

    A hash is 64 lower-case hexadecimal digits. A blob is durable when `put` returns, and never changes.
    """

    def put(self, chunks: Iterable[bytes]) -> BlobRef:
        """Keep what the chunks are together; the same content again changes nothing.

        Raises:
            Refused: it is larger than the store takes.

        """

    def open(self, hash: str, *, verify: bool = False) -> BinaryIO:  # noqa: A002
        """A blob as a file at its beginning, to be closed by the caller; `verify` reads it all first.

        Raises:
            NotFound: there is no such blob.
            JournalDamaged: `verify` found other content.

        """

    def read(self, hash: str, offset: int = 0, size: int = -1) -> bytes:  # noqa: A002
        """At most `size` bytes from `offset` on; -1 is the rest. A whole blob is verified."""

    def has(self, hash: str) -> bool:  # noqa: A002
        """Whether the blob is there."""

    def size(self, hash: str) -> int:  # noqa: A002
        """A blob's size in bytes, or NotFound."""


class FileBlobStore:
    """Blobs as files `ab/cd/abcd...` below a directory; `max_bytes` bounds one blob."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._partial = directory / _PARTIAL
        make_directory(directory)
        self._partial.mkdir(mode=0o700, exist_ok=True)

    def put(self, chunks: Iterable[bytes]) -> BlobRef:
        """See `BlobStore`."""
        descriptor, name = tempfile.mkstemp(dir=self._partial)
        partial = Path(name)
        reach("blobs.begun")
        try:
            with os.fdopen(descriptor, "wb") as file:
                ref = self._write(file, chunks)
            # Content that is there already is written over: that heals a damaged blob, and is as durable as a new one.
            self._publish(partial, self._path(ref.hash))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return ref

    def open(self, hash: str, *, verify: bool = False) -> BinaryIO:  # noqa: A002
        """See `BlobStore`."""
        try:
            file = self._path(hash).open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no blob {hash}") from None
        if verify:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != hash:
                file.close()
                raise JournalDamaged(f"blob {hash}: its content has hash {found}")
            file.seek(0)
        return file

    def read(self, hash: str, offset: int = 0, size: int = -1) -> bytes:  # noqa: A002
        """See `BlobStore`."""
        with self.open(hash) as file:
            file.seek(offset)
            data = file.read(size)
            whole = offset == 0 and len(data) == os.fstat(file.fileno()).st_size
        if whole and hashlib.sha256(data).hexdigest() != hash:
            raise JournalDamaged(f"blob {hash}: its content has hash {hashlib.sha256(data).hexdigest()}")
        return data

    def has(self, hash: str) -> bool:  # noqa: A002
        """See `BlobStore`."""
        return self._path(hash).exists()

    def size(self, hash: str) -> int:  # noqa: A002
        """See `BlobStore`."""
        try:
            return self._path(hash).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"there is no blob {hash}") from None

    def remove_older(self, hash: str, before_s: float) -> bool:  # noqa: A002
        """Remove a blob that was stored (last, where that was more than once) before an instant of the wall clock.

        Returns:
            Whether it was there, and so old.

        """
        path = self._path(hash)
        try:
            if path.stat().st_mtime >= before_s:
                return False
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def older(self, before_s: float) -> Iterator[str]:
        """Hashes of blobs that were stored (last) before an instant of the wall clock."""
        for path in self.directory.glob("??/??/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    yield path.name

    def sweep(self) -> int:
        """Remove what puts of processes that died have left; call it while nothing is being put.

        Returns:
            How many unfinished files were removed.

        """
        left = list(self._partial.iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _write(self, file: BinaryIO, chunks: Iterable[bytes]) -> BlobRef:
        digest, size = hashlib.sha256(), 0
        for chunk in chunks:
            size += len(chunk)
            if size > self.max_bytes:
                raise Refused(f"a blob has at most {self.max_bytes} bytes here, this one has more; raise the limit")
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        return BlobRef(digest.hexdigest(), size)

    def _publish(self, partial: Path, path: Path) -> None:
        """Give a whole file its name, durably: the new folders' names, too."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.chmod(0o400)
        reach("blobs.written")
        partial.replace(path)
        reach("blobs.named")
        for folder in (path.parent, path.parent.parent, self.directory):
            sync_directory(folder)
        reach("blobs.synced")

    def _path(self, hash_: str) -> Path:
        if len(hash_) != 64 or not _HEX.issuperset(hash_):
            raise NotFound(f"not the hash of a blob: {hash_!r}")
        return self.directory / hash_[:2] / hash_[2:4] / hash_
