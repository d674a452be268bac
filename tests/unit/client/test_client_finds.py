"""Which cluster is meant where nobody names one."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from kos_ray.model.errors import ClusterUnreachable
from kos_ray.runtime import connect, running
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
