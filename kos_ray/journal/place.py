"""The state directory: on a local disk, private, and held by one process."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from kos_ray.journal.schema import JournalUnusable

#: Their locks and their fsync are not what a local disk's are: a write-ahead log on them loses or mixes commits.
NETWORK_FILE_SYSTEMS = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "pvfs2",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
    ]
)
_NETWORK_FUSE = frozenset(
    [
        "blobfuse",
        "blobfuse2",
        "ceph",
        "cephfs",
        "gcsfuse",
        "glusterfs",
        "goofys",
        "juicefs",
        "mount-s3",
        "rclone",
        "s3fs",
        "sshfs",
    ]
)

#: what a disk says that refuses: full, over a quota, broken, read-only
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)

FileSystemType = Callable[[Path], str]


def file_system_type(path: Path, mounts: str | None = None) -> str:
    """The type of the file system under an existing path, such as "ext4"; "" where the kernel does not tell.

    `mounts` is the text of `/proc/self/mountinfo`, read where it is None.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
    place = path.resolve()
    best, found = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        if not right:
            continue
        point = Path(left.split()[4].encode().decode("unicode_escape"))
        # Of two mounts on one point the later one is seen.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), right.split()[0]
    return found


def prepare(state_dir: Path, file_system: FileSystemType = file_system_type) -> None:
    """Create the directory, for its owner alone, and refuse one on a network file system.

    Raises:
        JournalUnusable: it is on a network file system.

    """
    make_directory(state_dir)
    kind = file_system(state_dir)
    if kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse.") and kind[5:] in _NETWORK_FUSE):
        raise JournalUnusable(
            f"{state_dir} is on a network file system ({kind}): file locks and fsync do not hold there, and the "
            "journal would lose acknowledged work; choose a directory on a local disk"
        )


def lock(state_dir: Path) -> int:
    """Hold the directory for this process until the returned descriptor is closed.

    Raises:
        JournalUnusable: another process holds it.

    """
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise JournalUnusable(
            f"{state_dir} is held by process {holder or '(unknown)'}: one scheduler at a time"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def make_directory(directory: Path) -> None:
    """Have a directory, for its owner alone, whose name is durable too: a power cut must not take all that is in it.

    The name is synced though it is there already: whoever made it may have died before.
    """
    missing = [above for above in (directory, *directory.parents) if not above.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in missing or [directory]:
        with contextlib.suppress(PermissionError):  # of a parent that only others may read, they see to the names
            sync_directory(made.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
