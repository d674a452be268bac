"""`kos notify`, over a reader in memory; `kos journal compact`, over a real journal."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import Kos

from kos_ray.journal.store import Journal
from kos_ray.model.events import SchedulerStarted

ENTRY = {"id": "msg_1", "kind": "notify", "target": "http://h/", "since_us": 1, "tries": 3, "due_us": 2_000_000}


class Reader:
    """What the reader is asked, and says."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.says: dict[str, Any] = {}

    def ask_reader(self, method: str, *args: Any) -> Any:
        self.asked.append((method, *args))
        return self.says[method]


@pytest.fixture
def reader(kos: Kos, monkeypatch: pytest.MonkeyPatch) -> Reader:
    found = Reader()
    monkeypatch.setattr("kos_ray.runtime.connect.attach", lambda _=None: found, raising=False)
    return found


def test_what_waits_and_what_was_given_up(reader: Reader, kos: Kos) -> None:
    waits, dead = {**ENTRY, "dead": False, "error": "answered 503"}, {**ENTRY, "id": "msg_2", "dead": True, "error": ""}
    reader.says["notifications"] = [waits, dead]
    text = " ".join(kos("notify", "ls")[1].split())
    assert all(word in text for word in ("msg_1", "http://h/", "answered 503", "given up"))
    assert [one["id"] for one in json.loads(kos("notify", "ls", "--dead", "--json")[1])["entries"]] == ["msg_2"]
    reader.says["notifications"] = []
    assert "nothing waits" in "".join(kos("notify", "ls")[1:])


def test_what_was_given_up_is_tried_again(reader: Reader, kos: Kos) -> None:
    reader.says["redrive"] = 1
    assert kos("notify", "redrive", "msg_2")[0] == 0
    assert kos("notify", "redrive", "--all")[0] == 0
    assert reader.asked == [("redrive", ["msg_2"]), ("redrive", [])]
    assert kos("notify", "redrive", "msg_2", "msg_3")[0] == 4
    assert kos("notify", "redrive")[0] == 2


def test_a_test_says_who_took_it(reader: Reader, kos: Kos) -> None:
    reader.says["test_notify"] = [{"target": "http://h/", "error": ""}]
    assert kos("notify", "test")[0] == 0
    reader.says["test_notify"] = [{"target": "http://h/", "error": "answered 500"}]
    code, out, _ = kos("notify", "test", "--url", "http://h/")
    assert (code, "answered 500" in out) == (1, True)
    assert reader.asked[-1] == ("test_notify", "http://h/")
    reader.says["notify_secret"] = "whsec_x"
    assert kos("notify", "secret")[1].strip() == "whsec_x"


def test_compaction_says_what_it_did(kos: Kos, tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.append(now_us=1, epoch=1, events=[SchedulerStarted(epoch=1, version="x")], decisions=[])
    journal.append(now_us=2, epoch=1, events=[SchedulerStarted(epoch=1, version="y")], decisions=[])
    journal.close()
    command = ("journal", "compact", "--state", str(tmp_path), "--json")
    found = json.loads(kos(*command, "--dry-run")[1])
    assert (found["dry_run"], found["compacted"]["frames"]) == (True, 2)
    done = json.loads(kos(*command, "--older-than", "1h")[1])["compacted"]
    assert (done["jobs"], done["frames"]) == (0, 2)
    assert done["anchor"].endswith("@2")
    assert json.loads(kos(*command)[1])["compacted"] is not None, "the frame of the first one is as old"
    assert kos("journal", "compact", "--older-than", "soon")[0] == 2
    assert kos("journal", "compact", "--state", str(tmp_path / "none"))[0] == 4
