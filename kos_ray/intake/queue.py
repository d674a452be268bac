"""Messages of queues. A queue is what has `waiting` and `done`; one in SQLite comes with it, others are as short.

with SqliteQueue("orders.db") as queue:
    queue.put({"total": 120}, key="customer-7")
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from kos_ray.intake import Emit
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.occasion import DATA_MAX

#: messages that are looked at together, and seconds between looks at a queue that is empty
_PORTION = 100
_LOOK_S = 0.2
#: signs of an id, of a key: the event's own id is a little longer
_WORD_MAX = 480


class Message(NamedTuple):
    """One message; `id` is its own for ever."""

    id: str
    data: Any
    key: str = ""


class Queue(Protocol):
    """What a source of messages needs: a message stays until it is done, whoever dies."""

    def waiting(self) -> Iterable[Message]:
        """Some that are not done yet, the oldest first."""
        ...

    def done(self, message: Message) -> None:
        """It was told, and is not needed any more."""
        ...


class SqliteQueue:
    """A queue in a file, into which any process may put messages."""

    def __init__(self, path: str | Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS messages (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, key TEXT, "
            "data TEXT NOT NULL)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def put(self, data: Any, *, key: str = "", id: str = "") -> None:  # noqa: A002 - as it is called everywhere
        """Add a message, durably; one whose id is there already is that one.

        Raises:
            InvalidSpec: no event can be made of it; it would stay in the queue for ever, and those behind it too.

        """
        text = json.dumps(data, allow_nan=False)
        if len(text) > DATA_MAX or len(key) > _WORD_MAX or len(id) > _WORD_MAX:
            raise InvalidSpec(
                f"expected a message of at most {DATA_MAX} bytes as JSON, with a key and an id of at most {_WORD_MAX} "
                f"signs, found {len(text)}, {len(key)} and {len(id)}"
            )
        values = (id or uuid.uuid4().hex, key, text)
        self._connection.execute("INSERT OR IGNORE INTO messages (id, key, data) VALUES (?, ?, ?)", values)

    def waiting(self) -> list[Message]:
        """See `Queue`."""
        rows = self._connection.execute("SELECT id, key, data FROM messages ORDER BY number LIMIT ?", (_PORTION,))
        return [Message(id_, json.loads(data), key) for id_, key, data in rows.fetchall()]

    def done(self, message: Message) -> None:
        """See `Queue`."""
        self._connection.execute("DELETE FROM messages WHERE id = ?", (message.id,))


def drain(emit: Emit, queue: Queue, name: str) -> int:
    """Tell what waits; how many there were."""
    count = 0
    for message in queue.waiting():
        emit(name, message.data, key=message.key, id=f"queue:{message.id}", source="queue")
        queue.done(message)
        count += 1
    return count


def pump(emit: Emit, queue: Queue, name: str) -> None:
    """Tell of messages until the process ends."""
    while True:
        if not drain(emit, queue, name):
            time.sleep(_LOOK_S)
