"""What is to be told or submitted because a job has ended, on disk until it is done: a small SQLite file of its own.

What frames call for, and the number up to which the journal was read, are written in one transaction: nothing is left
out and nothing comes twice. What is delivered is removed after that: it is delivered at least once, under one id.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_DDL = """
CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, target TEXT NOT NULL, body BLOB NOT NULL, since_us INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, due_us INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due ON entries (dead, due_us);
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);
"""
_COLUMNS = "id, kind, target, body, since_us, tries, due_us, dead, error"
#: no pause is longer than the longest one: what is due behind it was noted before the clock was set back
_DUE = f"""
SELECT {_COLUMNS} FROM (
    SELECT *, row_number() OVER (PARTITION BY target ORDER BY due_us, id) AS turn FROM entries
    WHERE dead = 0 AND kind = ? AND (due_us <= ? OR due_us > ?)
) WHERE turn <= ? ORDER BY turn, due_us, id LIMIT ?"""
_TAKE = "INSERT INTO entries (id, kind, target, body, since_us) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_PLACE = "INSERT INTO place VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET seq = excluded.seq"
#: pauses between tries: the first one, which doubles up to the longest; and after which time it is given up
FIRST_US = 1_000_000
LONGEST_US = 600 * 1_000_000
GIVE_UP_US = 3 * 86_400 * 1_000_000
#: so many to one receiver are tried together: who never answers does not keep others waiting for long
SHARE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to do: `kind` is notify or hook, `target` what people call the receiver."""

    id: str
    kind: str
    target: str
    body: bytes
    since_us: int = 0
    tries: int = 0
    due_us: int = 0
    dead: bool = False
    error: str = ""


class Outbox:
    """See the module. One process has it open; its threads take turns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_DDL)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def seq(self) -> int | None:
        """The number up to which the journal was read, None where it never was."""
        row = self._connection.execute("SELECT seq FROM place").fetchone()
        return row[0] if row else None

    def take(self, entries: Iterable[Entry], seq: int, now_us: int) -> None:
        """Keep what frames up to a sequence number call for; the time until they are given up begins now."""
        rows = [(one.id, one.kind, one.target, one.body, now_us) for one in entries]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(_TAKE, rows)
            self._connection.execute(_PLACE, (seq,))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise

    def due(self, kind: str, now_us: int, limit: int) -> list[Entry]:
        """What of a kind is to be tried now: by turns of each receiver some, whatever is due for longest first."""
        rows = self._connection.execute(_DUE, (kind, now_us, now_us + LONGEST_US, SHARE, limit))
        return [_entry(row) for row in rows.fetchall()]

    def entries(self, limit: int = 1_000) -> list[Entry]:
        """What waits, and what was given up; the oldest first."""
        text = f"SELECT {_COLUMNS} FROM entries ORDER BY since_us, id LIMIT ?"
        return [_entry(row) for row in self._connection.execute(text, (limit,)).fetchall()]

    def done(self, entry: Entry) -> None:
        """It was delivered."""
        self._connection.execute("DELETE FROM entries WHERE id = ?", (entry.id,))

    def failed(self, entry: Entry, error: str, now_us: int, *, final: bool) -> bool:
        """It was not; whether it is given up."""
        pause_us = min(FIRST_US << min(entry.tries, 20), LONGEST_US)
        dead = final or now_us + pause_us > entry.since_us + GIVE_UP_US
        text = "UPDATE entries SET tries = ?, due_us = ?, dead = ?, error = ? WHERE id = ?"
        self._connection.execute(text, (entry.tries + 1, now_us + pause_us, int(dead), error, entry.id))
        return dead

    def redrive(self, ids: Sequence[str], now_us: int) -> int:
        """Try again what was given up, all of it where no id is named; how many."""
        before = self._connection.total_changes
        text = "UPDATE entries SET dead = 0, tries = 0, due_us = 0, since_us = ? WHERE dead = 1"
        if not ids:
            self._connection.execute(text, (now_us,))
        for one in ids:
            self._connection.execute(f"{text} AND id = ?", (now_us, one))
        return self._connection.total_changes - before


def _entry(row: tuple[str, str, str, bytes, int, int, int, int, str]) -> Entry:
    entry_id, kind, target, body, since_us, tries, due_us, dead, error = row
    return Entry(
        id=entry_id,
        kind=kind,
        target=target,
        body=body,
        since_us=since_us,
        tries=tries,
        due_us=due_us,
        dead=bool(dead),
        error=error,
    )
