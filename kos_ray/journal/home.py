"""Where a journal is at home: the file that it was made as, so that a copy of its directory is found out.

Two schedulers that go on from one journal on two Ray clusters would run the same jobs and tell the same ends under the
same ids. A copied file has another inode number than the one that the journal remembers; one that was moved within its
file system, or whose disk was moved to another machine, has the same. (A copy of a whole disk cannot be told from it.)
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from kos_ray.journal import chain
from kos_ray.journal.reader import connect_read_only
from kos_ray.journal.schema import JournalUnusable
from kos_ray.journal.store import DATABASE
from kos_ray.model.errors import NotFound

_HOME = "home"


def check(state_dir: Path) -> None:
    """See that the journal in a directory is none, or at home there. One that cannot be read is not judged.

    Raises:
        JournalUnusable: it is a copy.

    """
    try:
        connection = connect_read_only(state_dir)
    except (NotFound, JournalUnusable):
        return
    with closing(connection):
        _at_home(connection, state_dir)


def settle(connection: sqlite3.Connection, state_dir: Path, new_id: str = "") -> bool:
    """Be at home in a directory. A copy becomes the cluster `new_id`, where that is given; whether it did.

    Raises:
        JournalUnusable: it is a copy, and no id is given.

    """
    adopted = bool(new_id) and _remembered(connection) not in ("", _inode(state_dir))
    if not adopted and _at_home(connection, state_dir):
        return False
    connection.execute("BEGIN IMMEDIATE")
    if adopted:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (chain.ADOPTED, new_id))
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_HOME, _inode(state_dir)))
    connection.execute("COMMIT")
    return adopted


def _at_home(connection: sqlite3.Connection, state_dir: Path) -> bool:
    """Whether it is at home there; False where it is nowhere yet."""
    remembered, here = _remembered(connection), _inode(state_dir)
    if remembered not in ("", here):
        raise JournalUnusable(
            f"{state_dir} is a copy: expected the journal of cluster {chain.cluster_id(connection)} where it was made "
            f"(inode {remembered}), found it in another file (inode {here}). Two clusters must not go on from one "
            f"journal: use the original; or `kos up --state {state_dir} --adopt` makes the copy a cluster of its own, "
            "which runs what has not ended in it; or, where the original is gone, `kos journal restore` puts a copy in "
            "its place"
        )
    return bool(remembered)


def leave(connection: sqlite3.Connection) -> None:
    """The copy that a connection is to is going to take the original's place: it is at home where it is opened next."""
    connection.execute("DELETE FROM meta WHERE name = ?", (_HOME,))


def _remembered(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (_HOME,)).fetchone()
    return str(row[0]) if row else ""


def _inode(state_dir: Path) -> str:
    return str((state_dir / DATABASE).stat().st_ino)
