"""The sink for files: what an attempt writes is there whole or not at all, and never over what a later one wrote.

Beside a file lies a book with the highest fence of each token that has written it; see `worker.effects`.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from kos_ray.model.errors import KosError
from kos_ray.worker.context import context
from kos_ray.worker.effects import StaleFence

#: tokens that are remembered beside one file; of many jobs that wrote it, those that wrote it last
_TOKENS_MAX = 1_000


@contextlib.contextmanager
def file(
    path: str | os.PathLike[str], mode: str = "wb", *, token: str | None = None, fence: int | None = None
) -> Iterator[IO[Any]]:
    """Write a file whole or not at all, and never over what a later attempt of the same job has written.

        with effects.file("/data/report.csv", "w") as out:
            out.write(text)

    What is written appears under the name at the end of the block, synced to disk; an exception leaves all as it was.
    A symbolic link is followed, and the file keeps its mode. The fences stand beside it in `.NAME.fence`. Its
    folder must be on a file system with locks (`flock`).

    Raises:
        StaleFence: a later attempt has been here, and wrote something else, or has not written yet.
        KosError: the mode is neither "w" nor "wb".

    """
    if mode not in ("w", "wb"):
        raise KosError(f'effects: expected the mode "w" or "wb", found {mode!r}')
    if token is None or fence is None:
        here = context()
        token, fence = token or here.token, here.fence if fence is None else fence
    target = Path(path).resolve()  # the block may change the current directory
    with _fences(target) as found:
        _check_fence(found, token, fence, "")
        found[token] = (fence, found.pop(token, (0, ""))[1])
        _sweep(target)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        file_ = partial.open(mode, encoding=None if "b" in mode else "utf-8")
        fcntl.flock(file_, fcntl.LOCK_EX)  # until it is closed: whoever sweeps leaves it alone
    try:
        with file_ as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        with _fences(target) as found:
            if not _check_fence(found, token, fence, digest):
                return
            found[token] = (fence, digest)
            partial.replace(target)  # the folder is synced with the book
    finally:
        partial.unlink(missing_ok=True)


def _sweep(target: Path) -> None:
    """Remove what writers that were killed have left beside a file: nobody has it locked. Call it under `_fences`."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with contextlib.suppress(OSError), left.open("rb") as unfinished:
            fcntl.flock(unfinished, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _check_fence(found: dict[str, tuple[int, str]], token: str, fence: int, digest: str) -> bool:
    """Whether this attempt may write; False where a later one has written the same.

    Raises:
        StaleFence: a later one has written something else, or is about to.

    """
    highest, written = found.get(token, (0, ""))
    if highest <= fence:
        return True
    if digest and digest == written:
        return False
    raise StaleFence(token, fence, highest)


@contextlib.contextmanager
def _fences(target: Path) -> Iterator[dict[str, tuple[int, str]]]:
    """Highest fence and hash of what was written last, by token; kept, where it changes, at the end of the block.

    Whoever is at it holds a lock on the folder. The book is replaced whole: there is never half of one.
    """
    book = target.with_name(f".{target.name}.fence")
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        kept = json.loads(book.read_bytes()) if book.exists() else {}
        found = {token: (fence, digest) for token, (fence, digest) in kept.items()}
        before = dict(found)
        yield found
        if found == before:
            return
        while len(found) > _TOKENS_MAX:
            del found[next(iter(found))]
        partial = book.with_name(f"{book.name}.part")
        with partial.open("w") as out:
            json.dump(found, out)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(book)
        os.fsync(folder)
    finally:
        os.close(folder)
