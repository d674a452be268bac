"""Which cluster is meant where nobody names one."""

import contextlib
import json
import os
import socket
import threading
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from kos_ray.model.errors import ClusterUnreachable
from kos_ray.runtime import connect, running
from kos_ray.runtime import head as heads
from kos_ray.runtime.head import RECORD, Head


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "KOS_STATE_DIR", "KOS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def cluster(directory: Path, *, lives: bool = True) -> Path:
    """A state directory with a record, of this process or of one that has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    born = psutil.Process().create_time()
    head = Head("127.0.0.1:1", os.getpid(), born if lives else born - 1_000, str(directory / "token"))
    (directory / RECORD).write_text(json.dumps(asdict(head)))
    running.note(directory)
    return directory


def test_the_newest_that_runs_is_meant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect.here() == (home / ".kos_ray" / "default", "default")
    first, second = cluster(home / "first"), cluster(home / "second")
    assert connect.here() == (second, "the newest cluster that runs")
    cluster(home / "third", lives=False)
    assert connect.here()[0] == second, "one that has ended is passed over"
    running.note(first)
    assert connect.here()[0] == first, "`kos up` on a cluster that runs makes it the newest"
    running.forget(first)
    assert connect.here()[0] == second
    monkeypatch.setenv("KOS_STATE_DIR", str(first))
    assert connect.here() == (first, "KOS_STATE_DIR")


def test_an_address_where_nobody_listens_is_said_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ClusterUnreachable, match=f"no Ray cluster answers at {address}: .*refused"):
            connect.attach(address)


def test_of_a_scheduler_that_dies_at_its_start_the_error_is_told() -> None:
    text = """The actor died because of an error raised in its creation task, ray::SchedulerActor.__init__()
  File "store.py", line 69, in open
JournalUnusable: it is held by process 7
"""
    assert connect._cause(text) == "JournalUnusable: it is held by process 7"
    assert connect._cause("The actor is dead: its node has died.") == "The actor is dead: its node has died."


def test_two_that_start_at_once_start_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    meeting = threading.Barrier(2)

    def start(directory: Path, _num_cpus: int | None) -> Head:
        started.append(directory)
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)  # whoever looks before there is a record gets here as well
        cluster(directory)
        head = heads.read_record(directory)
        assert head is not None
        return head

    def join(*_: object) -> None:
        raise ClusterUnreachable("far enough")

    monkeypatch.setattr(heads, "start", start)
    monkeypatch.setattr(connect, "_join_head", join)

    def up() -> None:
        with contextlib.suppress(ClusterUnreachable):
            connect.up(state_dir=home / "one")

    threads = [threading.Thread(target=up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started == [home / "one"]


def test_the_file_lies_where_the_user_keeps_state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = cluster(home / "one")
    assert (home / ".local" / "state" / "kos_ray" / "current").read_text() == f"{directory}\n"
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "xdg"))
    assert connect.here()[1] == "default"
    for number in range(30):
        cluster(home / str(number))
    lines = (home / "xdg" / "kos_ray" / "current").read_text().splitlines()
    assert (len(lines), lines[-1]) == (20, str(home / "29"))
    running.pointer_file().write_bytes(b"\xff\x00 nonsense")
    assert connect.here()[1] == "default"
    running.note(directory)
    assert connect.here()[0] == directory


def test_a_home_that_cannot_be_written_costs_nothing_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "file"))
    running.note(home)
    assert connect.here()[1] == "default"


def test_where_none_runs_it_is_said_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        with pytest.raises(ClusterUnreachable) as caught:
            connect.attach()
        return str(caught.value)

    assert said() == "no cluster runs here: start one by `kos up`, or name one by --address"
    ended = cluster(home / "mine", lives=False)
    assert said() == (
        f"no cluster runs here: the one in {ended} has ended; `kos up --state {ended}` goes on from its journal"
    )
    cluster(home / ".kos_ray" / "default", lives=False)
    assert "has ended; `kos up` goes on" in said()
    monkeypatch.setenv("KOS_STATE_DIR", str(home / "other"))
    assert said().startswith(f"no cluster runs in {home / 'other'} (KOS_STATE_DIR): start it by `kos up`")
