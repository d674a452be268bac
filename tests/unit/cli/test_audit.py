"""`kos history`, `kos audit` and `kos journal backup|restore` over an engine and a journal on disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kos_ray.journal.store import DATABASE
from kos_ray.model.errors import InvalidSpec, NotFound, Refused
from kos_ray.model.ids import NodeId
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.resources import Resources
from tests.properties.clockwork import SECOND_US, Clockwork

LOW = {"id": "low", "run": "x", "run_time": 10, "priority": "low", "resources": {"cpu": 2}, "preemption": "requeue"}
HIGH = {"id": "high", "run": "x", "run_time": 5, "priority": "critical", "resources": {"cpu": 2}}


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clockwork]:
    """A node on which a job has made room for another, and both are over."""
    (tmp_path / "state").mkdir()
    made = Clockwork(tmp_path / "state", Policy())
    made.join(Node(NodeId("n"), "n", Resources.of({"CPU": 2}), labels=(("host", "n"),), incarnation="1"))
    for job in (LOW, HIGH):
        (tmp_path / "job.json").write_text(json.dumps(job))
        made.kos("submit", str(tmp_path / "job.json"))
        made.advance(made.time_us + 3 * SECOND_US)
    made.advance(made.time_us + 90 * SECOND_US)
    yield made
    made.close()


def _at(clock: Clockwork, *words: str, code: int = 0) -> Any:
    return clock.kos(*words, "--state", str(clock.folder), code=code)


def test_a_history_tells_who_took_the_room(clock: Clockwork) -> None:
    found = _at(clock, "history", "low")
    high = _at(clock, "history", "high")["job"]["id"]
    told = [(line["what"], line["attempt"], line["by"], line["reason"]) for line in found["story"] if not line["pid"]]
    assert ("evict", 1, high, "preempted") in told
    assert told[-1] == ("over", 0, "", "succeeded")
    text = str(clock.says("history", "low", "--state", str(clock.folder)))
    assert "supersedes attempt 1" in text
    assert "preempted; it makes room for that job" in text


def test_a_history_of_nobody_says_so(clock: Clockwork) -> None:
    assert isinstance(_at(clock, "history", "lo", code=4), NotFound)


def test_an_anchor_proves_that_nothing_was_cut_off(clock: Clockwork) -> None:
    anchor = _at(clock, "audit", "anchor")["anchor"]
    assert _at(clock, "audit", "verify", "--anchor", anchor)["problems"] == []
    digest, _, seq = anchor.partition("@")
    assert int(seq) == clock.journal.last_seq
    found = _at(clock, "audit", "verify", "--anchor", f"{digest}@{int(seq) + 1}", code=1)
    assert "were cut off" in found["problems"][0]
    assert isinstance(_at(clock, "audit", "verify", "--anchor", "x", code=2), InvalidSpec)


def test_a_flipped_byte_ends_with_exit_code_1_and_its_place(clock: Clockwork) -> None:
    with clock.journal.connection as connection:
        body = bytearray(connection.execute("SELECT body FROM frames WHERE first_seq = 3").fetchone()[0])
        body[5] ^= 1
        connection.execute("UPDATE frames SET body = ? WHERE first_seq = 3", (bytes(body),))
    found = _at(clock, "audit", "verify", code=1)
    assert "frame 3.." in found["problems"][0]


def test_decisions_are_exported_line_by_line(clock: Clockwork, tmp_path: Path) -> None:
    out = tmp_path / "decisions.jsonl"
    clock.says("audit", "export", "--out", str(out), "--state", str(clock.folder))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert _at(clock, "audit", "export")["decisions"] == lines
    evict = next(line for line in lines if line["decision"] == "Evict")
    assert (evict["reason"], evict["outcome"], len(evict["frame"])) == ("preempted", "stopped", 64)
    later = _at(clock, "audit", "export", "--from", str(evict["seq"]))["decisions"]
    assert later == [line for line in lines if line["seq"] >= evict["seq"]]
    written = str(clock.says("audit", "export", "--state", str(clock.folder)))
    assert [json.loads(line) for line in written.splitlines()] == lines
    clock.says("audit", "export", "--out", "/no/such/folder/x", "--state", str(clock.folder), code=2)


def test_a_backup_is_restored_into_an_empty_directory_only(clock: Clockwork, tmp_path: Path) -> None:
    backup, again = str(tmp_path / "backup"), str(tmp_path / "again")
    copied = _at(clock, "journal", "backup", backup)
    assert copied["anchor"] == _at(clock, "audit", "anchor")["anchor"]
    assert clock.kos("journal", "restore", backup, "--state", again)["anchor"] == copied["anchor"]
    assert clock.kos("history", "low", "--state", again) == _at(clock, "history", "low")
    assert isinstance(clock.kos("journal", "restore", backup, "--state", again, code=2), Refused)
    assert isinstance(clock.kos("journal", "restore", str(tmp_path), "--state", str(tmp_path / "x"), code=4), NotFound)
    assert (Path(again) / DATABASE).stat().st_mode & 0o077 == 0
    assert "as it should be" in str(clock.says("journal", "backup", str(tmp_path / "b"), "--state", again))
