"""Files that appear or change.

The kernel's notices (inotify, through `watchfiles`) only wake it: it compares what is there with what it has told,
which it keeps in a small file of its own, so that nothing is missed while it is away.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from kos_ray.intake import Emit

#: seconds between looks where the kernel says nothing
LOOK_S = 1.0
#: a file that was written to within so many seconds may not be whole yet
SETTLED_S = 0.5
#: an event's key and id are cut to their ends, which tell files apart
KEY_MAX = 400
_ID_MAX = 500


class Stamp(NamedTuple):
    """What a file is known by."""

    modified_ns: int
    size: int
    inode: int


class FileWatch:
    """What is in a folder, and what of it was told; `look` tells the rest."""

    def __init__(self, emit: Emit, folder: Path, pattern: str, state: Path, *, existing: bool = False) -> None:
        self._emit = emit
        self._folder = folder.resolve()
        self._pattern = pattern
        state.parent.mkdir(parents=True, exist_ok=True)
        first = not state.exists()
        self._own = state.resolve()
        self._told = sqlite3.connect(state, isolation_level=None)
        self._told.execute("PRAGMA journal_mode = WAL")
        self._told.execute("CREATE TABLE IF NOT EXISTS told (path TEXT PRIMARY KEY, modified, size, inode)")
        if first and not existing:
            for path, stamp in self._there():
                self._note(path, stamp)

    def close(self) -> None:
        """Let its file go."""
        self._told.close()

    def look(self, now_s: float) -> bool:
        """Tell what is new. True: something is being written to, and is to be looked at again soon."""
        told = {path: Stamp(*stamp) for path, *stamp in self._told.execute("SELECT * FROM told")}
        busy = False
        for path, stamp in self._there():
            before = told.pop(path, None)
            if before == stamp:
                continue
            if abs(now_s - stamp.modified_ns / 1e9) < SETTLED_S:
                busy = True
                continue
            self._tell(path, stamp, created=before is None)
        for path in told:
            if not Path(path).exists():
                self._told.execute("DELETE FROM told WHERE path = ?", (path,))
        return busy

    def _tell(self, path: str, stamp: Stamp, *, created: bool) -> None:
        data = {"path": path, "name": Path(path).name, "size": stamp.size, "modified": stamp.modified_ns / 1e9}
        name = "file.created" if created else "file.changed"
        self._emit(name, data, key=path[-KEY_MAX:], id=occasion_id(path, stamp), source="files")
        self._note(path, stamp)

    def _note(self, path: str, stamp: Stamp) -> None:
        self._told.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", (path, *stamp))

    def _there(self) -> Iterator[tuple[str, Stamp]]:
        for path in sorted(self._folder.rglob("*")):
            if not fnmatchcase(path.name, self._pattern) or path.name.startswith(self._own.name):
                continue
            with contextlib.suppress(OSError):  # it has gone since
                if path.is_file():
                    yield printable(path), stamp_of(path)


def stamp_of(path: Path) -> Stamp:
    """What a file is known by now.

    Raises:
        OSError: it has gone, or nobody may look.

    """
    found = path.stat()
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def occasion_id(path: str, stamp: Stamp) -> str:
    """The id of the event that a file is so now: the same however often it is seen, and whoever sees it."""
    return f"file:{path}:{stamp.modified_ns}:{stamp.size}:{stamp.inode}"[-_ID_MAX:]


def removal_id(path: str, stamp: Stamp) -> str:
    """The id of the event that a file which was so is there no more."""
    return f"{occasion_id(path, stamp)}:removed"[-_ID_MAX:]


def printable(path: Path) -> str:
    r"""A path as text: bytes in it that are no UTF-8, which no event and no database can hold, stand as `\xff`."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def watch_files(
    emit: Emit, folder: Path, *, pattern: str, state: Path, existing: bool = False, ready: Callable[[], None]
) -> None:
    """Tell of files until the process ends."""
    watch = FileWatch(emit, folder, pattern, state, existing=existing)
    ready()
    for _ in _wakings(folder):
        while watch.look(time.time()):
            time.sleep(SETTLED_S)


def _wakings(folder: Path) -> Iterator[None]:
    """At once, when the kernel says that something has changed, and every now and then."""
    yield
    try:
        from watchfiles import watch  # noqa: PLC0415 - an extra
    except ImportError:
        while True:
            time.sleep(LOOK_S)
            yield
    for _ in watch(folder, watch_filter=None, rust_timeout=round(LOOK_S * 1_000), yield_on_timeout=True):
        yield
