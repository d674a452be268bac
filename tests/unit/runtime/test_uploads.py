"""Blobs that come in parts: what is cut off leaves nothing behind, and is never taken for the whole."""

import asyncio
import hashlib
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kos_ray.model.errors import Refused
from kos_ray.runtime import agent_actor
from kos_ray.runtime.agent_actor import _RemoteBlobs
from kos_ray.runtime.reader import ReaderActor


class _Called:
    """An actor's method, called in this process."""

    def __init__(self, real: Any) -> None:
        self.remote = lambda *args: self._later(real, *args)

    async def _later(self, real: Any, *args: Any) -> Any:
        return real(*args)


def test_a_part_that_does_not_fit_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ReaderActor(str(tmp_path))
    upload = uuid.uuid4().hex
    reader.blob_write(upload, b"first")
    real = Path.open

    def full(self: Path, mode: str = "r", *args: Any) -> Any:
        if "a" in mode:
            raise OSError(28, "No space left on device")
        return real(self, mode, *args)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(Refused, match="No space"):
        reader.blob_write(upload, b"second")
    assert list((tmp_path / "uploads").iterdir()) == []


def test_what_a_dead_reader_had_begun_is_removed(tmp_path: Path) -> None:
    ReaderActor(str(tmp_path)).blob_write(uuid.uuid4().hex, b"half")
    assert len(list((tmp_path / "uploads").iterdir())) == 1
    ReaderActor(str(tmp_path))
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_blob_of_which_a_part_is_missing_is_not_taken_for_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is started anew between two parts."""
    data = b"a" * agent_actor.CHUNK_BYTES + b"b"
    path = tmp_path / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    (tmp_path / "state").mkdir()
    readers = [ReaderActor(str(tmp_path / "state"))]
    dies = [True]

    def write(upload: str, chunk: bytes) -> None:
        readers[-1].blob_write(upload, chunk)
        if dies:
            dies.clear()
            readers.append(ReaderActor(str(tmp_path / "state")))

    def finish(upload: str) -> tuple[str, int]:
        return readers[-1].blob_finish(upload)

    handle = SimpleNamespace(blob_write=_Called(write), blob_finish=_Called(finish))
    blobs = _RemoteBlobs()
    monkeypatch.setattr(blobs, "_reader", lambda: handle)
    with pytest.raises(OSError, match="in part"):
        asyncio.run(blobs.store(path))
    asyncio.run(blobs.store(path))
    assert readers[-1].blob_read(path.name, 0, len(data)) == data
