"""Frames: round trip, chain, the one writer and its lock, versions, lookups."""

import os
import sqlite3
import subprocess
import sys
from itertools import pairwise

import pytest
from journal_build import SPEC, Story, ended, finish, launch, progress_made, submitted

from kos_ray.journal import lookups, place, schema, store
from kos_ray.journal.codec import genesis
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.schema import JournalUnusable
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model import events as e
from kos_ray.model import failpoints
from kos_ray.model.errors import JournalDamaged, JournalUnwritable, NotFound
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import JobState, Spec
from kos_ray.model.payload import inline

NOW = schema.SCHEMA_VERSION
NEXT = NOW + 1


@pytest.fixture
def opened(tmp_path):
    """A function that opens the journal of one state directory; what is left open is closed at the end."""
    journals = []

    def open_(**more) -> Journal:
        journal = Journal.open(tmp_path / "state", **more)
        journals.append(journal)
        return journal

    yield open_
    for journal in journals:
        journal.close()


def _lived(journal: Journal) -> Story:
    story = Story(journal).begin()
    story.add(launch(1, 2))
    story.add(ended(1), finish(1))
    return story


def test_frames_come_back_as_they_were_written(opened):
    journal = opened()
    story = Story(journal).begin()
    written = [story.add(launch(1)), story.add(ended(1), finish(1))]
    assert list(journal.frames())[2:] == written
    assert list(journal.frames(after=3)) == written
    last = (journal.last_seq, journal.last_hash, journal.last_now_us, journal.last_epoch)
    journal.close()
    again = opened()
    assert (again.last_seq, again.last_hash, again.last_now_us, again.last_epoch) == last
    assert list(again.frames())[2:] == written


def test_sequence_numbers_have_no_gaps_and_the_chain_begins_at_the_cluster():
    journal = _lived(Journal.in_memory("cluster")).journal
    frames = list(journal.frames())
    assert [(f.first_seq, f.last_seq) for f in frames] == [(1, 2), (3, 3), (4, 4), (5, 6)]
    assert frames[0].prev_hash == genesis("cluster")
    assert [f.prev_hash for f in frames[1:]] == [f.hash for f in frames[:-1]]
    assert [f.last_seq for f in journal.frames(after=5)] == [6]
    assert list(journal.frames(after=6)) == []
    assert [journal.hash_at(n) for n in (2, 5, 6, 7)] == [frames[0].hash, None, frames[3].hash, None]


def test_a_frame_is_one_commit(opened):
    journal = opened()
    watcher = sqlite3.connect(f"file:{journal.path}?mode=ro", uri=True)
    versions = set()
    story = Story(journal)
    for first in (1, 2, 3):
        story.add(submitted(first, ((f"x{first}", 1),)))
        versions.add(watcher.execute("PRAGMA data_version").fetchone()[0])
        assert watcher.execute("SELECT count(*) FROM frames").fetchone() == (first,)
        assert watcher.execute("SELECT count(*) FROM jobs").fetchone() == (first,)
    assert len(versions) == 3
    watcher.close()


def test_commits_are_synced(opened):
    connection = opened().connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


@pytest.mark.parametrize("column", ["body", "prev_hash", "hash", "now_us", "epoch", "last_seq", "schema"])
def test_any_change_to_a_frame_is_found_with_its_place(column):
    journal = _lived(Journal.in_memory("cluster")).journal
    (value,) = journal.connection.execute(f"SELECT {column} FROM frames WHERE first_seq = 4").fetchone()
    if isinstance(value, bytes):
        value = value[:10] + bytes([value[10] ^ 1]) + value[11:]
    else:
        value += 1
    journal.connection.execute(f"UPDATE frames SET {column} = ? WHERE first_seq = 4", (value,))
    with pytest.raises((JournalDamaged, JournalUnusable), match=r"4\.\.|version 2"):
        list(journal.frames())
    report = verify(journal)
    assert not report.good
    assert "after sequence number 3" in report.damage


def test_every_flipped_bit_of_a_body_is_found():
    journal = _lived(Journal.in_memory("cluster")).journal
    (body,) = journal.connection.execute("SELECT body FROM frames WHERE first_seq = 4").fetchone()
    for place_ in range(len(body)):
        changed = body[:place_] + bytes([body[place_] ^ (1 << place_ % 8)]) + body[place_ + 1 :]
        journal.connection.execute("UPDATE frames SET body = ? WHERE first_seq = 4", (changed,))
        with pytest.raises(JournalDamaged, match=r"frame 4\.\.4: content has hash [0-9a-f]{64}, found [0-9a-f]{64}"):
            list(journal.frames())


def test_a_missing_frame_is_found():
    journal = _lived(Journal.in_memory("cluster")).journal
    journal.connection.execute("DELETE FROM frames WHERE first_seq = 4")
    with pytest.raises(JournalDamaged, match=r"frame 5\.\.6: first sequence number: expected 4, found 5"):
        list(journal.frames())


def test_a_frame_of_another_history_is_found():
    journal, other = _lived(Journal.in_memory("cluster")).journal, _lived(Journal.in_memory("other")).journal
    row = other.connection.execute("SELECT * FROM frames WHERE first_seq = 4").fetchone()
    journal.connection.execute("REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    with pytest.raises(JournalDamaged, match=r"frame 4\.\.4: hash of the frame before"):
        list(journal.frames())


@pytest.mark.parametrize(("now", "epoch", "events"), [(9, 5, True), (10, 4, True), (10, 5, False)])
def test_time_and_epoch_never_go_back_and_a_frame_holds_something(now, epoch, events):
    journal = Journal.in_memory("cluster")
    started = e.SchedulerStarted(epoch=5, version="x")
    journal.append(now_us=10, epoch=5, events=[started], decisions=[])
    with pytest.raises(ValueError, match="a frame needs"):
        journal.append(now_us=now, epoch=epoch, events=[started] if events else [], decisions=[])
    assert journal.append(now_us=10, epoch=5, events=[started], decisions=[]).first_seq == 2


def test_a_failed_append_leaves_the_journal_usable():
    story = Story().begin()
    journal, before = story.journal, (story.journal.last_seq, story.journal.last_hash)

    def fail(name: str) -> None:
        if name == "journal.before_commit":
            raise OSError("the disk is full")

    failpoints.install(fail)
    try:
        with pytest.raises(OSError, match="full"):
            story.add(launch(1))
    finally:
        failpoints.install(None)
    assert (journal.last_seq, journal.last_hash) == before
    assert story.state(1) is JobState.READY
    story.add(launch(1))
    assert verify(journal).good


def test_a_disk_that_refuses_is_said_to_refuse(opened):
    journal = opened()
    story = Story(journal).begin()
    pages = journal.connection.execute("PRAGMA page_count").fetchone()[0]
    journal.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnwritable, match="full"):
        story.add(submitted(4, (("large", 20_000),)))
    assert journal.last_seq == 3
    assert verify(journal).good
    journal.connection.execute("PRAGMA max_page_count = 1000000")
    story.add(submitted(4, (("large", 20_000),)))
    assert journal.next_job_key == 20_004


def test_failpoints_are_passed_in_their_order():
    passed: list[str] = []
    failpoints.install(passed.append)
    try:
        Story().add(e.SchedulerStarted(epoch=1, version="x"))
    finally:
        failpoints.install(None)
    steps = ["before_begin", "frame_written", "before_commit", "after_commit"]
    assert passed == [f"journal.{step}" for step in steps]


@pytest.mark.parametrize(("point", "there"), [("before_begin", 0), ("before_commit", 0), ("after_commit", 1)])
def test_a_simulated_crash_and_the_same_connection_again(point, there):
    class Crash(BaseException):
        pass

    def crash(name: str) -> None:
        if name == f"journal.{point}":
            raise Crash

    story = Story().begin()
    seq = story.journal.last_seq
    failpoints.install(crash)
    try:
        with pytest.raises(Crash):
            story.add(launch(1))
    finally:
        failpoints.install(None)
    again = Journal.on(story.journal.connection)
    assert again.last_seq == seq + there
    assert again.last_hash == again.hash_at(again.last_seq)
    assert verify(again).good


def test_a_transaction_left_open_is_rolled_back():
    story = Story().begin()
    story.journal.connection.execute("BEGIN IMMEDIATE")
    story.journal.connection.execute("DELETE FROM frames")
    again = Journal.on(story.journal.connection)
    assert again.last_seq == 3
    assert verify(again).good


def test_a_second_writer_is_told_who_holds_the_journal(opened, tmp_path):
    opened()
    with pytest.raises(JournalUnusable, match=f"held by process {os.getpid()}"):
        opened()
    code = "import sys, pathlib; from kos_ray.journal.store import Journal; Journal.open(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path / "state")]
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"held by process {os.getpid()}" in other.stderr


def test_a_closed_journal_can_be_opened_again(opened):
    first = opened()
    cluster = first.cluster_id
    first.close()
    assert opened().cluster_id == cluster


def test_the_directory_is_private_and_a_cluster_has_its_own(opened, tmp_path):
    journal = opened(cluster_id="one", created_us=7)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.close()
    with pytest.raises(JournalUnusable, match="belongs to cluster one, expected two"):
        opened(cluster_id="two")
    assert opened(cluster_id="one").cluster_id == "one"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "lustre", "gpfs", "ceph", "fuse.sshfs", "smb3"])
def test_network_file_systems_are_refused(opened, kind):
    with pytest.raises(JournalUnusable, match=rf"network file system \({kind}\): file locks and fsync"):
        opened(file_system=lambda _: kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "btrfs", "fuse.fuse-overlayfs", ""])
def test_local_file_systems_are_taken(opened, kind):
    assert opened(file_system=lambda _: kind).last_seq == 0


def test_the_innermost_mount_counts(tmp_path):
    inner = tmp_path / "a b"
    inner.mkdir()
    lines = [
        "1 1 0:1 / / rw - ext4 /dev/x rw",
        f"2 1 0:2 / {tmp_path} rw,relatime shared:1 - xfs /dev/y rw",
        f"3 2 0:3 / {tmp_path}/a\\040b rw - nfs4 server:/x rw",
        f"4 2 0:4 / {tmp_path}/a rw - tmpfs none rw",
    ]
    assert place.file_system_type(inner, "\n".join(lines)) == "nfs4"
    assert place.file_system_type(tmp_path, "\n".join(lines)) == "xfs"
    assert place.file_system_type(tmp_path.parent, "\n".join(lines)) == "ext4"


def test_the_log_is_copied_when_it_grows_and_gone_when_closed(opened, monkeypatch):
    journal = opened()
    monkeypatch.setattr(store, "_WAL_BYTES", 200_000)
    journal._checkpoint_at = 200_000
    story = Story(journal)
    sizes = []
    for first in range(1, 4_001, 100):
        story.add(submitted(first, ((f"x{first}", 100),)))
        sizes.append(journal.wal_bytes)
    assert max(sizes) < 600_000
    assert sum(b < a for a, b in pairwise(sizes)) > 2, "the log never started over"
    journal.close()
    assert journal.wal_bytes == 0


def test_a_reader_in_the_way_delays_the_copy_only(opened, monkeypatch):
    journal = opened()
    journal._checkpoint_at = 50_000
    monkeypatch.setattr(store, "_WAL_BYTES", 50_000)
    story = Story(journal).begin()
    reader = sqlite3.connect(f"file:{journal.path}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    for first in range(4, 2_004, 100):
        story.add(submitted(first, ((f"x{first}", 100),)))
    held = journal.wal_bytes
    assert held > 50_000
    reader.execute("COMMIT")
    reader.close()
    for first in range(2_004, 4_004, 100):
        story.add(submitted(first, ((f"x{first}", 100),)))
    assert journal.wal_bytes < held
    assert verify(journal).good


def test_a_newer_journal_is_refused(opened, tmp_path):
    journal = opened()
    journal.connection.execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(JournalUnusable, match=f"version 99, this kos_ray reads up to {NOW}"):
        opened()
    with pytest.raises(JournalUnusable, match="version 99"):
        JournalReader(tmp_path / "state")


def test_another_database_is_refused(opened, tmp_path):
    (tmp_path / "state").mkdir()
    connection = sqlite3.connect(tmp_path / "state" / "journal.db")
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    with pytest.raises(JournalUnusable, match="not a journal"):
        opened()


def test_an_older_journal_is_migrated_and_its_frames_are_upgraded_when_read(opened, monkeypatch, tmp_path):
    journal = opened()
    _lived(journal)
    hashes = [f.hash for f in journal.frames()]
    journal.close()

    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE jobs ADD COLUMN cost INTEGER NOT NULL DEFAULT 5")

    def upgrade(plain):
        events = [(name, {**body, "version": "2"} if "epoch" in body else body) for name, body in plain["e"]]
        return {**plain, "e": events}

    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT)
    with pytest.raises(JournalUnusable, match="start its scheduler once"):
        JournalReader(tmp_path / "state")
    with pytest.raises(JournalUnusable, match=f"no migration leads from journal version {NOW} to {NEXT}"):
        opened()
    monkeypatch.setitem(schema.MIGRATIONS, NOW, migrate)
    monkeypatch.setitem(schema.UPGRADES, NOW, upgrade)
    again = opened()
    story = Story(again)
    story.add(ended(2), finish(2))
    frames = list(again.frames())
    assert [f.schema for f in frames] == [NOW, NOW, NOW, NOW, NEXT]
    assert [f.hash for f in frames][:4] == hashes
    assert frames[0].events[0].version == "2"
    assert story.row(1)["cost"] == 5


def test_a_journal_of_version_1_becomes_one_of_today(opened, tmp_path):
    journal = opened()
    _lived(journal)
    _back_to_1(journal.connection)
    journal.close()
    again = opened()
    story = Story(again)
    story.add(progress_made((2, 3_000, "a third")), ended(2), finish(2))
    assert again.connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    report = verify(again)
    assert report.good, str(report)
    assert report.rows["progress"] == 1


def _back_to_1(connection: sqlite3.Connection) -> None:
    """The tables as the first version had them."""
    for table in ("progress", "checkpoints", "exit_codes", "idempotency", "raised", "snapshots"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("ALTER TABLE arrays DROP COLUMN parent")
    connection.execute("ALTER TABLE nodes DROP COLUMN versions")
    connection.execute("PRAGMA user_version = 1")


def test_a_migration_that_fails_changes_nothing(opened, monkeypatch):
    opened().close()

    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE jobs ADD COLUMN cost INTEGER")
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA_VERSION", NEXT)
        patch.setitem(schema.MIGRATIONS, NOW, migrate)
        with pytest.raises(OSError, match="full"):
            opened()
    assert "cost" not in Story(opened()).begin().row(1)


def test_lookups_of_requests_and_specs():
    journal = Story().begin(jobs=3).journal
    assert journal.request("request-1") == (1, 3)
    assert journal.request("other") is None
    assert journal.spec_by_hash(spec_hash(SPEC)) == (1, SPEC)
    assert journal.spec_by_hash(spec_hash(Spec())) is None
    assert journal.spec(1) == SPEC
    assert (journal.next_spec_key, journal.next_job_key) == (2, 4)
    empty = Journal.in_memory("x")
    assert (empty.next_spec_key, empty.next_job_key) == (1, 1)
    with pytest.raises(NotFound):
        journal.spec(9)


def test_equal_specs_have_one_hash():
    assert spec_hash(Spec(type="a", band=2)) == spec_hash(Spec(band=2, type="a"))
    assert spec_hash(Spec(type="a")) != spec_hash(Spec(type="b"))


def test_resolve_knows_ids_items_and_names():
    story = Story().begin(jobs=3)
    story.add(submitted(4, (("single", -1), ("many", 2), ("dotted.1", -1)), names=((0, "report"), (1, "sweep.0"))))
    resolve = story.journal.resolve
    assert resolve("default", "array") == (1, 3)
    assert resolve("default", "array.2") == (3, -1)
    assert resolve("default", "array.3") is None
    assert resolve("default", "single") == (4, -1)
    assert resolve("default", "single.0") is None
    assert resolve("default", "dotted.1") == (7, -1)
    assert resolve("default", "report") == (4, -1)
    assert resolve("default", "sweep.0") == (5, 2)
    assert resolve("default", "sweep.0.1") == (6, -1), "items are named as lists of jobs show them"
    assert resolve("default", "sweep.0.2") is None
    assert resolve("default", "report.0") is None, "it is no array"
    assert resolve("other", "sweep.0.1") is None
    assert resolve("other", "report") is None
    assert resolve("default", "") is None


def test_lookups_of_many_jobs(monkeypatch):
    story = Story().begin(jobs=3)
    story.add(submitted(4, (("one", -1),)), submitted(5, (("two", -1), ("three", 2))))
    story.add(launch(*range(1, 8)))
    story.add(ended(7, 1), ended(4), finish(7, 1, 4))
    journal = story.journal
    keys = (1, 4, 5, 7, 99)
    assert journal.args(keys) == {key: inline(b"arg %d" % key) for key in keys[:-1]}
    assert journal.results(keys) == {key: inline(b"result %d" % key) for key in (1, 4, 7)}
    assert journal.public_ids(keys) == {1: "array.0", 4: "one", 5: "two", 7: "three.1"}
    assert journal.states(keys)[5] is JobState.LAUNCHED
    assert journal.states([]) == journal.args([]) == {}


def test_a_frame_is_decoded_once_for_many_payloads_and_the_cache_is_bounded(monkeypatch):
    story = Story().begin(jobs=50)
    for first in range(51, 551, 50):
        story.add(submitted(first, ((f"x{first}", 50),)))
    decoded = []
    real = lookups.decode
    monkeypatch.setattr(lookups, "decode", lambda stored: decoded.append(stored.first_seq) or real(stored))
    monkeypatch.setattr(lookups, "_CACHE_BYTES", 3_000)
    keys = list(range(550, 0, -1))
    assert len(story.journal.args(keys)) == 550
    assert len(decoded) == len(set(decoded)) == 11
    assert story.journal._payload_bytes <= 3_000
    assert len(story.journal._payloads) >= 1


@pytest.mark.parametrize("value", ["'text'", "NULL", "CAST(body || 'x' AS TEXT)", "7"])
def test_a_body_that_is_no_longer_bytes_is_damage(value):
    story = _lived(Journal.in_memory("cluster"))
    connection = story.journal.connection
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'body BLOB NOT NULL', 'body') WHERE name = 'frames'"
    )
    again = sqlite3.connect(":memory:", isolation_level=None)
    again.deserialize(connection.serialize())
    again.execute(f"UPDATE frames SET body = {value} WHERE first_seq = 3")
    damaged = Journal(again)
    with pytest.raises(JournalDamaged, match=r"frame 3\.\.3"):
        list(damaged.frames())
    with pytest.raises(JournalDamaged, match=r"frame 3\.\.3"):
        damaged.args([1])


def test_a_journal_whose_end_is_damaged_is_not_opened(opened):
    journal = opened()
    _lived(journal)
    journal.connection.execute("UPDATE frames SET now_us = now_us + 1 WHERE first_seq = 5")
    journal.close()
    with pytest.raises(JournalDamaged, match=r"frame 5\.\.6: content has hash"):
        opened()


def test_a_payload_from_a_damaged_frame_is_never_handed_out():
    story = Story().begin()
    story.journal.connection.execute("UPDATE frames SET body = CAST(body || x'00' AS BLOB) WHERE first_seq = 3")
    with pytest.raises(JournalDamaged, match=r"frame 3\.\.3"):
        story.journal.args([1])
