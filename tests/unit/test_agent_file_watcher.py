"""The file watcher: what it tells of, once, over crashes; without a cluster."""

import os
from pathlib import Path
from typing import Any

import pytest

from agents import file_watcher
from agents.file_watcher import FileWatcher, root_of


def told(watcher: FileWatcher, since: int = 0) -> list[tuple[str, str]]:
    return [(one["change"], Path(one["path"]).name) for one in watcher.changes(since)["changes"]]


def looks(watcher: FileWatcher, times: int = 2) -> int:
    return sum(watcher.look() for _ in range(times))


def test_what_is_created_changed_and_removed_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("there before")
    watcher = FileWatcher([f"{tmp_path}/*.csv"])
    assert looks(watcher) == 0
    (tmp_path / "new.csv").write_text("1")
    (tmp_path / "other.txt").write_text("1")
    assert looks(watcher, 3) == 1
    (tmp_path / "new.csv").write_text("12")
    (tmp_path / "old.csv").unlink()
    assert looks(watcher, 3) == 2
    assert told(watcher) == [("created", "new.csv"), ("removed", "old.csv"), ("changed", "new.csv")]
    assert told(watcher, since=2) == [("changed", "new.csv")]
    assert watcher.changes(3) == {"changes": [], "next": 3, "missed": 0, "dropped": 0}


def test_what_is_still_written_to_is_left_until_it_stays(tmp_path: Path) -> None:
    watcher = FileWatcher([f"{tmp_path}/**/*.log"])
    growing = tmp_path / "deep" / "in" / "a.log"
    growing.parent.mkdir(parents=True)
    for size in range(1, 4):
        growing.write_text("x" * size)
        assert watcher.look() == 0
    assert watcher.look() == 1
    assert [one["size"] for one in watcher.changes()["changes"]] == [3]


def test_after_a_crash_the_same_change_has_the_same_id_and_none_is_missed(tmp_path: Path) -> None:
    watcher = FileWatcher([f"{tmp_path}/*"], tell="indexer.take")
    (tmp_path / "a").write_text("1")
    looks(watcher)
    saved = watcher.snapshot()
    (tmp_path / "b").write_text("1")
    looks(watcher)
    first = watcher.changes()["changes"]
    again = FileWatcher(tell="indexer.take")
    again.restore(saved)
    (tmp_path / "a").unlink()
    looks(again)
    second = again.changes()["changes"]
    assert [one["id"] for one in second[:1]] == [first[0]["id"]]
    assert {one["id"] for one in first} <= {one["id"] for one in second}
    assert [one["number"] for one in second] == [1, 2, 3]
    assert told(again)[1:] == [("removed", "a"), ("created", "b")] or told(again)[1:] == [
        ("created", "b"),
        ("removed", "a"),
    ]


def test_somebody_is_told_until_it_was_heard(tmp_path: Path) -> None:
    watcher = FileWatcher([f"{tmp_path}/*"], events=True)
    for name in "ab":
        (tmp_path / name).write_text("1")
    looks(watcher)
    heard: list[str] = []

    def away(change: dict[str, Any]) -> None:
        if len(heard) == 1:
            raise ConnectionError("the scheduler is away")
        heard.append(change["path"])

    with pytest.raises(ConnectionError):
        watcher._tell(away)
    again = FileWatcher(events=True)
    again.restore(watcher.snapshot())
    again._tell(lambda change: heard.append(change["path"]))
    assert [Path(path).name for path in heard] == ["a", "b"]
    again._tell(lambda _: pytest.fail("told twice"))


def test_of_what_waits_to_be_told_only_so_many_are_kept_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watcher, "KEPT_MAX", 3)
    watcher = FileWatcher([f"{tmp_path}/*"], tell="gone.take")

    def changed(*names: str) -> None:
        for name in names:
            (tmp_path / name).write_text("1")
            looks(watcher)

    changed(*"abcde")
    saved = watcher.snapshot()
    assert [Path(one["path"]).name for one in saved["untold"]] == ["c", "d", "e"]
    assert watcher.changes(4)["dropped"] == 2
    watcher = FileWatcher([f"{tmp_path}/*"], tell="gone.take")
    watcher.restore(saved)
    heard = []

    def slow(change: dict[str, Any]) -> None:
        heard.append(Path(change["path"]).name)
        if heard == ["c"]:  # and while it is told, others push it out
            changed("f", "g")

    watcher._tell(slow)
    assert heard == ["c", "e", "f", "g"]
    assert watcher.changes()["dropped"] == 3, "a, b and d"
    assert not watcher.snapshot()["untold"]


def test_a_folder_that_is_not_there_now_has_lost_no_files(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "a").write_text("1")
    watcher = FileWatcher([f"{disk}/*"])
    disk.rename(tmp_path / "unmounted")
    assert looks(watcher) == 0
    assert watcher.watched() == [{"pattern": f"{disk}/*", "files": 1, "there": False}]
    (tmp_path / "unmounted").rename(disk)
    assert looks(watcher) == 0
    assert watcher.unwatch(f"{disk}/*")
    assert not watcher.unwatch(f"{disk}/*")
    os.utime(disk / "a", (1, 1))
    assert looks(watcher) == 0


def test_what_two_patterns_see_is_one_change_and_files_of_before_may_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    watcher = FileWatcher()
    assert watcher.watch(f"{tmp_path}/*", existing=True) == 1
    assert watcher.watch(f"{tmp_path}/*.csv", existing=True) == 1
    assert looks(watcher) == 1
    (tmp_path / "a.csv").unlink()
    assert looks(watcher) == 1
    assert told(watcher) == [("created", "a.csv"), ("removed", "a.csv")]


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="absolute path"):
        FileWatcher(["data/*.csv"])
    with pytest.raises(ValueError, match=r"AGENT\.METHOD"):
        FileWatcher(tell="indexer")
    with pytest.raises(ValueError, match="every_s"):
        FileWatcher(every_s=0)
    assert root_of("/data/in/**/*.csv") == Path("/data/in")
    assert root_of("/data/in/a.csv") == Path("/data/in")
