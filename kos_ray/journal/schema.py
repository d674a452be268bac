"""The tables, their version, and the way from an older version to this one."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from kos_ray.model.errors import KosError
from kos_ray.model.failpoints import reach

#: Version of the tables and of the frames written now.
SCHEMA_VERSION = 4
#: "kosj": how a SQLite file says whose it is.
APPLICATION_ID = 0x6B6F736A

Migration = Callable[[sqlite3.Connection], None]
Upgrade = Callable[[Any], Any]

#: From a frame's plain body of version n to n + 1, when it is read: a frame itself is never rewritten. None: as it is.
UPGRADES: dict[int, Upgrade] = {}

#: Tables that frames can rebuild, with their keys.
ROW_TABLES: Mapping[str, tuple[str, ...]] = {
    "specs": ("spec",),
    "arrays": ("first",),
    "requests": ("request_id",),
    "jobs": ("key",),
    "attempts": ("key", "attempt"),
    "errors": ("key", "attempt"),
    "logs": ("key", "attempt"),
    "log_blobs": ("node", "file"),
    "dependencies": ("key", "position"),
    "inputs": ("key", "position"),
    "nodes": ("node",),
    "progress": ("key",),
    "checkpoints": ("key",),
    "exit_codes": ("key", "attempt"),
    "idempotency": ("namespace", "key"),
    "raised": ("key",),
    "snapshots": ("key", "hash"),
}

#: What version 2 added: sparse tables of what attempts say.
_SAID_DDL = """
CREATE TABLE progress (
    key INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, share INTEGER NOT NULL, text TEXT NOT NULL,
    at_us INTEGER NOT NULL
);
CREATE TABLE checkpoints (
    key INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, number INTEGER NOT NULL, frame INTEGER NOT NULL,
    place INTEGER NOT NULL, at_us INTEGER NOT NULL
);
CREATE TABLE exit_codes (
    key INTEGER, attempt INTEGER, code INTEGER NOT NULL, PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
"""

#: What version 3 added: who has which idempotency key, and the hash of what was submitted with it; and how much memory
#: jobs hold that ran out of it, in 1/10 000 bytes.
_KEYED_DDL = """
CREATE TABLE idempotency (
    namespace TEXT, key TEXT, first INTEGER NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_job ON idempotency (first);
CREATE TABLE raised (key INTEGER PRIMARY KEY, memory INTEGER NOT NULL);
"""

#: What version 4 added: where the states are that agents can go back to, by their carrier's key.
_SNAPSHOTS_DDL = """
CREATE TABLE snapshots (
    key INTEGER, hash TEXT, frame INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (key, hash)
) WITHOUT ROWID;
"""

#: Columns hold integers where they can: a row of a job is read and written several times in its life.
ROW_DDL = (
    """
CREATE TABLE specs (
    spec INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, type TEXT NOT NULL,
    band INTEGER NOT NULL, tags TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE arrays (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, spec INTEGER NOT NULL,
    namespace TEXT NOT NULL, name TEXT NOT NULL, submitted_us INTEGER NOT NULL, sender TEXT NOT NULL,
    frame INTEGER NOT NULL, args_at INTEGER NOT NULL, parent INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX arrays_by_name ON arrays (namespace, name) WHERE name <> '';
CREATE TABLE requests (
    request_id TEXT PRIMARY KEY, first INTEGER NOT NULL, job_count INTEGER NOT NULL, at_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY, spec INTEGER NOT NULL, array INTEGER NOT NULL, state INTEGER NOT NULL,
    reason INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0, node INTEGER,
    pid INTEGER NOT NULL DEFAULT 0, outcome INTEGER, ready_us INTEGER NOT NULL, launched_us INTEGER NOT NULL DEFAULT 0,
    entered_us INTEGER NOT NULL DEFAULT 0, ended_us INTEGER NOT NULL DEFAULT 0, due_us INTEGER NOT NULL DEFAULT 0,
    result_frame INTEGER NOT NULL DEFAULT 0, result_at INTEGER NOT NULL DEFAULT 0, band INTEGER
);
CREATE TABLE attempts (
    key INTEGER, attempt INTEGER, outcome INTEGER NOT NULL, node INTEGER, pid INTEGER NOT NULL,
    launched_us INTEGER NOT NULL, entered_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE errors (
    key INTEGER, attempt INTEGER, type TEXT NOT NULL, message TEXT NOT NULL, traceback TEXT NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE logs (
    key INTEGER, attempt INTEGER, file TEXT NOT NULL, start_at INTEGER NOT NULL, end_at INTEGER NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID;
CREATE TABLE log_blobs (
    node TEXT, file TEXT, blob TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (node, file)
) WITHOUT ROWID;
CREATE TABLE dependencies ( -- kind: `dependency.stored_kind`
    key INTEGER, position INTEGER, first INTEGER NOT NULL, count INTEGER NOT NULL, kind INTEGER NOT NULL,
    PRIMARY KEY (key, position)
) WITHOUT ROWID;
CREATE TABLE inputs (
    key INTEGER, position INTEGER, first INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (key, position)
) WITHOUT ROWID;
CREATE TABLE nodes (
    node INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, resources TEXT NOT NULL,
    labels TEXT NOT NULL, head INTEGER NOT NULL, alive INTEGER NOT NULL, since_us INTEGER NOT NULL,
    cause TEXT NOT NULL, versions TEXT NOT NULL DEFAULT '{}'
);
"""
    + _SAID_DDL
    + _KEYED_DDL
    + _SNAPSHOTS_DDL
)

_TRUTH_DDL = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE frames (
    first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, epoch INTEGER NOT NULL, now_us INTEGER NOT NULL,
    schema INTEGER NOT NULL, prev_hash BLOB NOT NULL, hash BLOB NOT NULL, body BLOB NOT NULL
);
"""


class JournalUnusable(KosError):
    """The journal cannot be opened here: held by another process, on the wrong disk, or of another version."""


def create_rows(connection: sqlite3.Connection) -> None:
    """Create the tables of current rows, empty, inside the open transaction."""
    _run(connection, ROW_DDL)


def prepare(connection: sqlite3.Connection, *, cluster_id: str, created_us: int) -> None:
    """Create the tables in an empty database, or bring those of an older version to this one.

    Raises:
        JournalUnusable: the database is of a newer version, or not a journal at all.

    """
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        _create(connection, cluster_id, created_us)
        return
    check(connection)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    for old in range(version, SCHEMA_VERSION):
        _migrate(connection, old)


def check(connection: sqlite3.Connection) -> None:
    """Raise JournalUnusable unless this code can read the database, perhaps after a migration."""
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    if found != APPLICATION_ID:
        raise JournalUnusable(f"not a journal: application id {found:#x}, expected {APPLICATION_ID:#x}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise JournalUnusable(
            f"the journal has version {version}, this kos_ray reads up to {SCHEMA_VERSION}: use a newer kos_ray"
        )


def check_current(connection: sqlite3.Connection) -> None:
    """Raise JournalUnusable unless the database has this version: a reader migrates nothing."""
    check(connection)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise JournalUnusable(f"the journal has version {version}, expected {SCHEMA_VERSION}: start its scheduler once")


def upgrade(plain: Any, version: int) -> Any:
    """A frame's plain body, written by `version`, as it would be written now.

    Raises:
        JournalUnusable: it was written by a newer version.

    """
    if version > SCHEMA_VERSION:
        raise JournalUnusable(f"a frame has version {version}, this kos_ray reads up to {SCHEMA_VERSION}")
    for old in range(version, SCHEMA_VERSION):
        step = UPGRADES.get(old)
        plain = step(plain) if step else plain
    return plain


def _create(connection: sqlite3.Connection, cluster_id: str, created_us: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _run(connection, _TRUTH_DDL)
        create_rows(connection)
        connection.execute(
            "INSERT INTO meta VALUES ('cluster_id', ?), ('created_us', ?)", (cluster_id, str(created_us))
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _migrate(connection: sqlite3.Connection, old: int) -> None:
    if old not in MIGRATIONS:
        raise JournalUnusable(f"no migration leads from journal version {old} to {old + 1}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        MIGRATIONS[old](connection)
        reach("journal.before_migrated")
        connection.execute(f"PRAGMA user_version = {old + 1}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Like `executescript`, which would end the open transaction first."""
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)


def _to_2(connection: sqlite3.Connection) -> None:
    _run(connection, _SAID_DDL)
    connection.execute("ALTER TABLE arrays ADD COLUMN parent INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE nodes ADD COLUMN versions TEXT NOT NULL DEFAULT '{}'")


def _to_3(connection: sqlite3.Connection) -> None:
    _run(connection, _KEYED_DDL)


def _to_4(connection: sqlite3.Connection) -> None:
    _run(connection, _SNAPSHOTS_DDL)


#: From tables of version n to n + 1; each runs in one transaction of its own, without ending it.
MIGRATIONS: dict[int, Migration] = {1: _to_2, 2: _to_3, 3: _to_4}
