"""A second copy of a state directory: the database as it was at one instant, what it refers to, and snapshots.

The database is copied by SQLite's own backup, in one step: beside a write-ahead log that holds up no writer, and a
frame is in the copy as a whole or not at all. Blobs come after it. One is durable before a frame refers to it, and
never changes, so that the copy has all that its frames need, and perhaps some more.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kos_ray.journal import home, place
from kos_ray.journal.anchor import Anchor, newest_anchor
from kos_ray.journal.reader import connect_read_only
from kos_ray.journal.snapshots import BASE
from kos_ray.journal.store import DATABASE
from kos_ray.journal.verify import verify
from kos_ray.model.errors import JournalDamaged, NotFound, Refused
from kos_ray.model.failpoints import reach

_PARTIAL = "journal.partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied: up to which frame, and how many files."""

    path: str
    anchor: str
    frames: int
    blobs: int
    snapshots: int


def copy_state(source: Path, target: Path, *, in_its_place: bool = False) -> Copied:
    """Copy the state directory `source`, where a scheduler may be writing, to `target`, and prove the copy.

    With `in_its_place` the copy may be brought up as the same cluster; else it is told from the original (`home.py`).
    `target` is new or empty. Its database gets its name last: a copy that was interrupted is not taken for one.

    Raises:
        NotFound: there is no journal in `source`.
        Refused: `target` holds something.
        JournalUnusable: `target` is on a network file system, or the journal is of another version.
        JournalDamaged: the copy is not a sound journal, because the original is not; it is left for a look at it.

    """
    if not (source / DATABASE).exists():
        raise NotFound(f"there is no journal in {source}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Refused(f"{target}: expected a directory that is empty or not there yet, found something in it")
    place.prepare(target)
    partial = target / _PARTIAL
    reach("backup.begun")
    try:
        anchor = _copy_database(source, partial, in_its_place=in_its_place)
    except sqlite3.DatabaseError as error:
        partial.unlink(missing_ok=True)
        raise JournalDamaged(f"{source / DATABASE}: cannot be copied: {error}; see `kos audit verify`") from error
    reach("backup.database_copied")
    blobs = _copy_files(source / "blobs", target / "blobs", "??/??/*")
    _copy_files(source / BASE, target / BASE, "*.*")
    snapshots = _copy_files(source / "snapshots", target / "snapshots", "*.snap", last=anchor.seq)
    reach("backup.copied")
    partial.rename(target / DATABASE)
    place.sync_directory(target)
    reach("backup.named")
    report = verify(target, anchor)
    if not report.good:
        raise JournalDamaged(f"the copy in {target} is not sound, nor is then {source}: {report}")
    return Copied(path=str(target), anchor=str(anchor), frames=report.frames, blobs=blobs, snapshots=snapshots)


def _copy_database(source: Path, partial: Path, *, in_its_place: bool) -> Anchor:
    with closing(connect_read_only(source)) as original, closing(sqlite3.connect(partial)) as copy:
        partial.chmod(0o600)
        original.backup(copy)
        # one file, that can be moved about; whoever opens it for writing turns the log on again
        copy.execute("PRAGMA journal_mode = DELETE")
        if in_its_place:
            home.leave(copy)
            copy.commit()
        anchor = newest_anchor(copy)
    _sync(partial)
    return anchor


def _copy_files(source: Path, target: Path, pattern: str, last: int | None = None) -> int:
    """Copy what matches, durably; of numbered files those up to `last`. How many."""
    count = 0
    folders: set[Path] = set()
    target.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(source.glob(pattern)):
        if last is not None and not (path.stem.isdigit() and int(path.stem) <= last):
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            shutil.copy2(path, copy)
        except FileNotFoundError:
            continue  # a log whose time is over, or a snapshot that newer ones have replaced
        _sync(copy)
        folders |= {copy.parent, copy.parent.parent, target}
        count += 1
    for folder in folders:
        place.sync_directory(folder)
    return count


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
