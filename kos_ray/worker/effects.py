"""Sinks for effects that are to happen once, whatever happens to the attempts that make them.

Each job has a *token*, the same in all of its attempts, and each attempt a *fence*, higher than those before. A sink
remembers the highest fence that it has seen of a token: who comes with a lower one was replaced, and is refused
(Kleppmann, "How to do distributed locking", 2016). The sink for SQL databases also remembers that an effect was made,
in the transaction that made it.
"""

import contextlib
import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

from kos_ray.model.errors import KosError
from kos_ray.worker.context import context

_TABLE = """
CREATE TABLE IF NOT EXISTS kos_effects (
    token VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL, fence BIGINT NOT NULL, done INTEGER NOT NULL,
    hash VARCHAR(64) NOT NULL, result TEXT NOT NULL, PRIMARY KEY (token, name)
)"""


_INSERT = "INSERT INTO kos_effects (token, name, fence, done, hash, result) VALUES ({}, {}, {}, 0, '', '')"


class StaleFence(KosError):
    """A later attempt of the job has been at this sink: this one was replaced, and nothing of it is kept."""

    def __init__(self, token: str, fence: int, found: int) -> None:
        lock = token.removeprefix("lock:")
        who = f"attempt {fence} of job {token} was replaced: expected the latest attempt, found that attempt {found}"
        if lock != token:
            who = f"lock {lock} is another holder's: expected the latest fence, found {fence} when fence {found}"
        super().__init__(f"{who} has been here; end this one")
        self.token, self.fence, self.found = token, fence, found

    def __reduce__(self) -> Any:
        return StaleFence, (self.token, self.fence, self.found)


class Once:
    """One effect of one token: what was found, and what is to be remembered."""

    def __init__(self, token: str, name: str, fence: int) -> None:
        self.token = token
        self.name = name
        self.fence = fence
        #: the effect was made before: `result` is what it left, and nothing of this block is kept
        self.done = False
        #: to be set to anything that JSON can hold; who comes later is given it
        self.result: Any = None


@contextlib.contextmanager
def sql(connection: Any, *, name: str = "", token: str | None = None, fence: int | None = None) -> Iterator[Once]:
    """One transaction whose effects happen once for this job, however often it is attempted.

        with effects.sql(connection) as once:
            if not once.done:
                connection.execute("UPDATE accounts SET balance = balance - 7 WHERE owner = 'ann'")
                once.result = "charged"
        return once.result

    The block and the note that it was made are committed together at its end; an exception in it undoes both. Where it
    was made before, `done` is true, `result` is what it left, and whatever the block does is undone. `name` tells
    several effects of one job apart. `connection` is one of the DB-API (PEP 249) without an open transaction (sqlite3,
    psycopg, ...), or SQLAlchemy's; the table `kos_effects` is made in its database. The block leaves `commit` and
    `rollback` alone, also those of `with connection:`. Outside of a job, token and fence have to be given.

    Raises:
        StaleFence: a later attempt has been here.
        KosError: the connection is in a transaction, or commits each statement; the block has ended the transaction,
            now or in an earlier attempt; or the result is nothing for JSON.

    """
    if token is None or fence is None:
        here = context()
        token, fence = token or here.token, here.fence if fence is None else fence
    database = _database(connection)
    database.prepare()
    once = Once(token, name, fence)
    _claim(database, once)
    database.begin()
    try:
        mark, made = _mark(database, once)
        yield once
        _check_lasts(database, once, mark)
        if made is None:
            _keep(database, once)
        else:
            once.result = json.loads(made)
            database.rollback()
    except BaseException:
        database.rollback()
        raise


@contextlib.contextmanager
def guarded(connection: Any, held: Any) -> Iterator[None]:
    """One transaction of whoever has a lock (`held`, with `token` and `fence`), as often as wanted.

        with client.lock("db/migration") as held, effects.guarded(connection, held):
            connection.execute("ALTER TABLE ...")

    It is committed at the end of the block; the block itself must not do that. `connection` is as for `sql`.

    Raises:
        StaleFence: somebody who had the lock later has been here, and nothing of the block is kept.

    """
    once = Once(held.token, "", held.fence)
    database = _database(connection)
    database.prepare()
    _claim(database, once)
    database.begin()
    try:
        # writes the row, and so locks it to the end, before it is read
        database.run("UPDATE kos_effects SET done = 0 WHERE token = {} AND name = {}", once.token, once.name)
        _refuse_older(once, (_row(database, once) or (once.fence,))[0])
        yield
        database.commit()
    except BaseException:
        database.rollback()
        raise


def _claim(database: "_Database", once: Once) -> None:
    """Make the fence known, in a transaction of its own: from here on older attempts are refused."""
    for last in (False, False, True):
        database.begin()
        try:
            change = "UPDATE kos_effects SET fence = {} WHERE token = {} AND name = {} AND fence < {}"
            database.run(change, once.fence, once.token, once.name, once.fence)
            row = _row(database, once)
            if row is None:
                database.run(_INSERT, once.token, once.name, once.fence)
            else:
                _refuse_older(once, row[0])
                _refuse_half(once, done=row[1], mark=row[2])
            database.commit()
        except KosError:
            database.rollback()
            raise
        except Exception:
            database.rollback()
            if last:
                raise
        else:
            return


def _mark(database: "_Database", once: Once) -> tuple[str, str | None]:
    """Lock the row of an effect with a mark of this block, and see what it left if it was made before, as JSON."""
    # writes the row, and so locks it, before it is read; what is written tells whether the transaction lasts
    mark = uuid.uuid4().hex
    change = "UPDATE kos_effects SET hash = {} WHERE token = {} AND name = {} AND done = 0"
    database.run(change, mark, once.token, once.name)
    found, done, _, result = _row(database, once) or (once.fence, 0, "", "")
    _refuse_older(once, found)
    if not done:
        return mark, None
    once.done, once.result = True, json.loads(result)
    return mark, result


def _keep(database: "_Database", once: Once) -> None:
    """Note that the effect was made, and commit both."""
    text = _as_json(once.result)
    once.result = json.loads(text)  # what later attempts will find
    digest = hashlib.sha256(text.encode()).hexdigest()
    change = "UPDATE kos_effects SET done = 1, hash = {}, result = {} WHERE token = {} AND name = {}"
    database.run(change, digest, text, once.token, once.name)
    database.commit()


def _refuse_older(once: Once, found: int) -> None:
    if found > once.fence:
        raise StaleFence(once.token, once.fence, found)


def _refuse_half(once: Once, *, done: int, mark: str) -> None:
    if mark and not done:
        raise KosError(
            f"effects: an earlier block of {once.token!r}, name {once.name!r}, committed by itself, and its end was "
            "not noted: see whether its effect was made, then delete that row of kos_effects, or set its done to 1 and "
            "its result to JSON"
        )


def _check_lasts(database: "_Database", once: Once, mark: str) -> None:
    """The transaction must be the one in which the mark was set; where the effect was made before, none was."""
    row = _row(database, once)
    if database.in_transaction() is False or row is None or (row[2] != mark and not once.done):
        raise KosError(
            "effects: expected a block that leaves the transaction open, found that it was committed or rolled back in "
            "it: leave both to effects.sql, and do not use `with connection:` in the block"
        )


def _row(database: "_Database", once: Once) -> tuple[int, int, str, str] | None:
    """Fence, whether it is done, hash (while it is not done: the mark of a block), and result."""
    select = "SELECT fence, done, hash, result FROM kos_effects WHERE token = {} AND name = {}"
    row = database.run(select, once.token, once.name)
    return None if row is None else (row[0], row[1], row[2], row[3])


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise KosError(f"effects: expected a result that JSON can hold, found {value!r}: {error}") from None


class _Database:
    """A connection of the DB-API, whose drivers write parameters in five ways."""

    def __init__(self, connection: Any, style: str) -> None:
        self._connection = connection
        self._style = style

    def prepare(self) -> None:
        """Have the table made.

        Raises:
            KosError: the connection has a transaction open, or none ever.

        """
        if getattr(self._connection, "autocommit", False) is True:
            raise KosError("effects: expected a connection that does not commit each statement, found autocommit on")
        self._check_closed()
        try:
            self.run("SELECT fence FROM kos_effects WHERE token = {}", "")
        except Exception:  # noqa: BLE001 - every driver has an error of its own for a table that is not there
            self.rollback()
            self.run(_TABLE)
            self.commit()
        else:
            self.rollback()

    def in_transaction(self) -> bool | None:
        """Whether one is open; None where the driver does not say."""
        found = getattr(self._connection, "in_transaction", None)  # of SQLAlchemy a method
        if found is None:
            status = getattr(getattr(self._connection, "info", None), "transaction_status", None)  # libpq's, 0: idle
            return None if status is None else status != 0
        return bool(found() if callable(found) else found)

    def _check_closed(self) -> None:
        if self.in_transaction():
            raise KosError("effects: expected a connection without an open transaction, found one: commit it before")

    def begin(self) -> None:
        """A transaction begins by itself with the first statement."""

    def commit(self) -> None:
        """What was done since `begin` is kept."""
        self._connection.commit()

    def rollback(self) -> None:
        """What was done since `begin` is undone."""
        self._connection.rollback()

    def run(self, text: str, *values: Any) -> Any:
        """One statement with `{}` for each value; its first row, None where it has none."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(*self._written(text, values))
            return cursor.fetchone() if cursor.description else None
        finally:
            cursor.close()

    def _written(self, text: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        marks = {
            "qmark": ["?"] * len(values),
            "numeric": [f":{number}" for number in range(1, len(values) + 1)],
            "named": [f":v{number}" for number in range(len(values))],
        }.get(self._style, ["%s"] * len(values))
        given = {f"v{number}": value for number, value in enumerate(values)} if self._style == "named" else values
        return (text.format(*marks), given) if values else (text,)


class _Sqlite(_Database):
    """Says itself when a transaction begins and ends: sqlite3 has three modes that differ in that."""

    def prepare(self) -> None:
        self._check_closed()
        self.run(_TABLE)

    def begin(self) -> None:
        self.run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.run("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.run("ROLLBACK")


class _Sqlalchemy(_Database):
    """Statements and transactions go through SQLAlchemy, which keeps its own books of them."""

    def run(self, text: str, *values: Any) -> Any:
        found = self._connection.exec_driver_sql(*self._written(text, values))
        return found.fetchone() if found.returns_rows else None


def _database(connection: Any) -> _Database:
    package = type(connection).__module__.partition(".")[0]
    if package == "sqlalchemy":
        return _Sqlalchemy(connection, connection.dialect.paramstyle)
    style = getattr(sys.modules.get(package), "paramstyle", "format")
    return (_Sqlite if package == "sqlite3" else _Database)(connection, style)
