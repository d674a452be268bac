"""Sinks: an effect happens once, an older attempt is refused, and nothing is half done."""

# ruff: noqa: PT012, SIM117 - where in a block something is raised is what these are about

import multiprocessing
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kos_ray as kos
from kos_ray import effects
from kos_ray.effects import StaleFence
from kos_ray.model.errors import KosError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "bank.db"
    with closing(sqlite3.connect(found)) as connection:
        connection.execute("CREATE TABLE charges (attempt INTEGER)")
    return found


def charge(connection: Any, fence: int, *, token: str = "t", name: str = "") -> Any:
    with effects.sql(connection, token=token, fence=fence, name=name) as once:
        if not once.done:
            connection.execute("INSERT INTO charges VALUES (?)", (fence,))
            once.result = {"by": fence}
    return once.result


def charges(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [attempt for (attempt,) in connection.execute("SELECT attempt FROM charges ORDER BY rowid")]


MODES = [{}, {"isolation_level": None}, {"isolation_level": "EXCLUSIVE"}]


@pytest.mark.parametrize("mode", MODES)
def test_an_effect_happens_once_and_its_result_stays(path: Path, mode: dict[str, Any]) -> None:
    with closing(sqlite3.connect(path, **mode)) as connection:
        assert charge(connection, 1) == {"by": 1}
        assert charge(connection, 1) == {"by": 1}
        assert charge(connection, 2) == {"by": 1}
        assert not connection.in_transaction
    assert charges(path) == [1]


def test_an_older_attempt_is_refused_even_before_the_later_one_is_done(path: Path) -> None:
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(path)) as new:
        with pytest.raises(RuntimeError), effects.sql(new, token="t", fence=2):
            raise RuntimeError("it dies in the middle")
        with pytest.raises(StaleFence, match=r"attempt 1 of job t was replaced: .* attempt 2 has been here; end this"):
            charge(old, 1)
        assert charges(path) == []
        assert charge(new, 2) == {"by": 2}
        with pytest.raises(StaleFence):
            charge(old, 1)
    assert charges(path) == [2]


def test_what_is_raised_undoes_the_effect(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        with pytest.raises(ValueError, match="no"), effects.sql(connection, token="t", fence=1):
            connection.execute("INSERT INTO charges VALUES (1)")
            raise ValueError("no")
        assert charges(path) == []
        with pytest.raises(KosError, match="a result that JSON can hold"):
            with effects.sql(connection, token="t", fence=1) as once:
                connection.execute("INSERT INTO charges VALUES (1)")
                once.result = object()
        assert charges(path) == []
        assert charge(connection, 1) == {"by": 1}


def test_a_block_that_does_not_look_is_undone_as_well(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for fence in (1, 2):
            with effects.sql(connection, token="t", fence=fence):
                connection.execute("INSERT INTO charges VALUES (?)", (fence,))
    assert charges(path) == [1]


@pytest.mark.parametrize("other", [False, True])
def test_a_block_that_rolls_back_by_itself_has_made_nothing(path: Path, *, other: bool) -> None:
    connection = _Driver(path) if other else sqlite3.connect(path)
    with pytest.raises(KosError, match="found that it was committed or rolled back in it"):
        with effects.sql(connection, token="t", fence=1):
            connection.execute("INSERT INTO charges VALUES (1)")
            connection.rollback()
    assert charge(connection, 2) == {"by": 2}
    assert charges(path) == [2]


def test_a_block_that_commits_by_itself_is_told_so_and_makes_nothing_twice(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        with pytest.raises(KosError, match="do not use `with connection:` in the block"):
            with effects.sql(connection, token="t", fence=1), connection:
                connection.execute("INSERT INTO charges VALUES (1)")
        with pytest.raises(KosError, match="an earlier block of 't', name '', committed by itself"):
            charge(connection, 2)
        assert not connection.in_transaction
    assert charges(path) == [1]


def test_the_first_attempt_has_the_result_that_later_ones_find(path: Path) -> None:
    found = []
    with closing(sqlite3.connect(path)) as connection:
        for fence in (1, 2):
            with effects.sql(connection, token="t", fence=fence) as once:
                once.result = ("charged", {7: "ann"})
            found.append(once.result)
    assert found[0] == found[1] == ["charged", {"7": "ann"}]


def test_names_and_tokens_are_apart(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for token, name in (("t", ""), ("t", "mail"), ("u", "")):
            charge(connection, 1, token=token, name=name)
            charge(connection, 2, token=token, name=name)
    assert charges(path) == [1, 1, 1]


def test_an_open_transaction_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO charges VALUES (7)")
        with pytest.raises(KosError, match="without an open transaction"):
            charge(connection, 1)


def test_outside_of_a_job_token_and_fence_are_to_be_given(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, pytest.raises(KosError):
        with effects.sql(connection):
            pass


def _race(path: Path, fence: int, begin: Any) -> None:
    begin.wait()
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        try:
            charge(connection, fence)
        except StaleFence:
            sys.exit(3)


def test_attempts_that_race_make_one_effect(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for round_ in range(3):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM charges")
            connection.commit()
            if round_:
                connection.execute("DELETE FROM kos_effects")
                connection.commit()
        begin = context.Barrier(6)
        racers = [context.Process(target=_race, args=(path, fence, begin)) for fence in (1, 1, 2, 3, 3, 4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
        assert {racer.exitcode for racer in racers} <= {0, 3}
        assert racers[-1].exitcode == 0
        assert len(charges(path)) == 1


KILLED = """
import os, signal, sqlite3, sys
from kos_ray import effects
connection = sqlite3.connect(sys.argv[1])
with effects.sql(connection, token="t", fence=1) as once:
    connection.execute("INSERT INTO charges VALUES (1)")
    once.result = "charged"
    if sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("moment", "result", "made"), [("before", {"by": 2}, [2]), ("after", "charged", [1])])
def test_a_kill_before_or_after_the_commit_leaves_one_effect(path: Path, moment: str, result: Any, made: Any) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert charge(connection, 2) == result
    assert charges(path) == made


class _Driver:
    """A connection as other drivers have it: no `execute` of its own, another mark for parameters."""

    def __init__(self, path: Path, *, autocommit: bool = False) -> None:
        self.inner = sqlite3.connect(path)
        self.autocommit = autocommit

    def cursor(self) -> "_Cursor":
        return _Cursor(self.inner.cursor())

    def commit(self) -> None:
        self.inner.commit()

    def rollback(self) -> None:
        self.inner.rollback()

    def execute(self, text: str, values: Any = ()) -> None:
        self.inner.execute(text, values)


class _Cursor:
    def __init__(self, inner: sqlite3.Cursor) -> None:
        self.inner = inner

    def execute(self, text: str, values: Any = ()) -> None:
        assert "?" not in text
        self.inner.execute(text.replace("%s", "?"), values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_other_drivers_of_the_db_api(path: Path) -> None:
    driver = _Driver(path)
    assert charge(driver, 1) == {"by": 1}
    assert charge(driver, 2) == {"by": 1}
    with pytest.raises(StaleFence):
        charge(_Driver(path), 1)
    with pytest.raises(KosError, match="found autocommit on"):
        charge(_Driver(path, autocommit=True), 3)
    assert charges(path) == [1]


@pytest.mark.parametrize("how", ["info", "in_transaction"])
def test_what_another_driver_has_in_hand_is_not_undone(path: Path, how: str) -> None:
    """libpq says in what state a transaction is, other drivers whether there is one."""
    driver = _Driver(path)
    driver.execute("INSERT INTO charges VALUES (7)")
    said = {"info": SimpleNamespace(transaction_status=2), "in_transaction": True}[how]
    setattr(driver, how, said)
    with pytest.raises(KosError, match="without an open transaction"):
        charge(driver, 1)
    driver.commit()
    assert charges(path) == [7]


def test_an_error_travels() -> None:
    error = pickle.loads(pickle.dumps(StaleFence("t", 1, 2)))
    assert (error.token, error.fence, error.found) == ("t", 1, 2)
    assert kos.effects is effects


# ---- files


def write(path: Path, text: str, fence: int, token: str = "t") -> None:
    with effects.file(path, "w", token=token, fence=fence) as out:
        out.write(text)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report"
    with pytest.raises(RuntimeError), effects.file(path, token="t", fence=1) as out:
        out.write(b"half")
        out.flush()
        assert not path.exists()
        raise RuntimeError
    assert {entry.name for entry in tmp_path.iterdir()} == {".report.fence"}
    write(path, "first", 1)
    with pytest.raises(RuntimeError), effects.file(path, token="t", fence=2) as out:
        raise RuntimeError
    assert path.read_text() == "first"


def test_an_older_attempt_cannot_write_over_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "report"
    with pytest.raises(StaleFence), effects.file(path, "w", token="t", fence=1) as old:
        old.write("old")
        write(path, "new", 2)
    assert path.read_text() == "new"
    with pytest.raises(StaleFence):
        write(path, "old", 1)
    write(path, "newer", 3)
    assert path.read_text() == "newer"


def test_the_same_content_twice_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "report"
    with effects.file(path, "w", token="t", fence=1) as old:
        old.write("same")
        write(path, "same", 2)
        inode = path.stat().st_ino
    assert (path.read_text(), path.stat().st_ino) == ("same", inode)


def test_another_job_may_write_but_the_one_before_keeps_its_fence(tmp_path: Path) -> None:
    path = tmp_path / "report"
    write(path, "a", 5, token="a")
    write(path, "b", 1, token="b")
    with pytest.raises(StaleFence):
        write(path, "a again", 4, token="a")
    assert path.read_text() == "b"
    with pytest.raises(KosError, match='expected the mode "w" or "wb", found \'r\''):
        with effects.file(path, "r", token="a", fence=6):
            pass


def test_a_link_is_followed_and_the_mode_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write(link, "new", 2)
    assert (link.is_symlink(), real.read_text(), real.stat().st_mode & 0o777) == (True, "new", 0o600)
    with pytest.raises(StaleFence):
        write(real, "older", 1)


def test_a_block_may_change_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with effects.file("report", "w", token="t", fence=1) as out:
        os.chdir("elsewhere")
        out.write("text")
    assert (tmp_path / "report").read_text() == "text"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_a_file_holds_is_on_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of calls: content synced, renamed, folder synced."""
    calls: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "content")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        calls.append(f"rename {Path(target).name}")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write(tmp_path / "report", "text", 1)
    book = ["content", "rename .report.fence", "folder"]
    assert calls == [*book, "content", "rename report", *book]


def test_sqlalchemy_keeps_its_own_books(path: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    insert = sqlalchemy.text("INSERT INTO charges VALUES (:fence)")

    def pay(fence: int) -> Any:
        with engine.connect() as connection, effects.sql(connection, token="t", fence=fence) as once:
            if not once.done:
                connection.execute(insert, {"fence": fence})
                once.result = fence
        return once.result

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    assert [pay(1), pay(2)] == [1, 1]
    with pytest.raises(StaleFence):
        pay(1)
    assert charges(path) == [1]


@pytest.fixture
def postgres(tmp_path: Path) -> Any:
    """The address of a server of our own."""
    pytest.importorskip("psycopg")
    if os.getuid() == 0 or shutil.which("initdb") is None:
        pytest.skip("needs PostgreSQL's initdb, and another user than root")
    data = tmp_path / "pg"
    subprocess.run(["initdb", "-D", str(data), "-A", "trust", "-U", "kos"], check=True, capture_output=True)
    options = f"-k {tmp_path} -h ''"
    subprocess.run(["pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start"], check=True)
    yield f"host={tmp_path} user=kos dbname=postgres"
    subprocess.run(["pg_ctl", "-D", str(data), "-m", "immediate", "stop"], check=True)


def test_postgresql(postgres: str) -> None:
    import psycopg

    with psycopg.connect(postgres) as one, psycopg.connect(postgres) as two:
        one.execute("CREATE TABLE charges (attempt INTEGER)")
        one.commit()
        assert [charge_with_s(one, 1), charge_with_s(two, 2)] == [1, 1]
        with pytest.raises(StaleFence):
            charge_with_s(one, 1)
        assert one.execute("SELECT count(*) FROM charges").fetchone() == (1,)


def charge_with_s(connection: Any, fence: int) -> Any:
    with effects.sql(connection, token="t", fence=fence) as once:
        if not once.done:
            connection.execute("INSERT INTO charges VALUES (%s)", (fence,))
            once.result = fence
    return once.result


def test_what_writers_that_were_killed_have_left_is_swept(tmp_path: Path) -> None:
    """At the next write of the same file; what somebody else is writing stays, as do other files."""
    left, other = tmp_path / ".report.0badf00d.part", tmp_path / ".other.0badf00d.part"
    left.touch()
    other.touch()
    with effects.file(tmp_path / "report", "w", token="t", fence=1) as out:
        with effects.file(tmp_path / "report", "w", token="u", fence=1) as beside:
            beside.write("beside")
        out.write("whole")
    assert (tmp_path / "report").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.0badf00d.part", ".report.fence", "report"]


def migrate(connection: Any, fence: int) -> None:
    with effects.guarded(connection, SimpleNamespace(token="lock:default/db", fence=fence)):
        connection.execute("INSERT INTO charges VALUES (?)", (fence,))


@pytest.mark.parametrize("mode", MODES)
def test_who_has_a_lock_writes_as_often_as_he_likes_and_who_had_it_no_more(path: Path, mode: dict[str, Any]) -> None:
    with closing(sqlite3.connect(path, **mode)) as connection:
        for fence in (3, 3, 5):
            migrate(connection, fence)
        with pytest.raises(StaleFence, match="lock default/db is another holder's"):
            migrate(connection, 4)
        migrate(connection, 5)
        assert not connection.in_transaction
    assert charges(path) == [3, 3, 5, 5]


def test_what_fails_under_a_lock_leaves_nothing_but_its_fence(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        with pytest.raises(ZeroDivisionError):
            with effects.guarded(connection, SimpleNamespace(token="lock:default/db", fence=7)):
                connection.execute("INSERT INTO charges VALUES (7)")
                raise ZeroDivisionError
        with pytest.raises(StaleFence):
            migrate(connection, 6)
    assert charges(path) == []


def test_whoever_is_overtaken_before_his_transaction_begins_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kos_ray.worker import effects as sinks

    claim = sinks._claim

    def overtaken(database: Any, once: Any) -> None:
        claim(database, once)
        with closing(sqlite3.connect(path)) as other:
            claim(sinks._database(other), sinks.Once(once.token, once.name, once.fence + 1))

    monkeypatch.setattr(sinks, "_claim", overtaken)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(StaleFence):
        migrate(connection, 1)
    assert charges(path) == []
