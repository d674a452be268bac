"""A job's story, exported decisions, anchors, backups: what somebody needs who was not there."""

import hashlib
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from journal_build import Story, ended, entered, finish, later, launch, ready, saved, submitted

from kos_ray.journal import export
from kos_ray.journal.anchor import Anchor, newest_anchor, parse_anchor
from kos_ray.journal.backup import copy_state
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.history import story
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.schema import JournalUnusable
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.journal.store import DATABASE, Journal
from kos_ray.journal.verify import verify
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import InvalidSpec, JournalDamaged, NotFound, Refused
from kos_ray.model.failpoints import install
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, AttemptEnd, JobState
from kos_ray.model.payload import inline
from kos_ray.model.reasons import Reason


def _eventful(state: Path) -> Story:
    """Job 1 fails, loses its node, makes room for job 4, reports late, and succeeds; job 4 waits for job 2."""
    told = Story(Journal.open(state)).begin()
    after = e.JobDependency(key=JobKey(4), after=((2, 1, After.OK),))
    told.add(submitted(4, (("urgent", -1),), dependencies=(after,), sender="ann"))
    told.add(launch(1, 2))
    told.add(entered(1), saved((1, 1, inline(b"half"))))
    error = e.AttemptError(index=0, type="ValueError", message="no")
    told.add(ended(1, end=AttemptEnd.FAILED, errors=(error,)), ended(2), later(1, due=told.now + 3_000_000))
    told.add(finish(2), ready(1, 4, reason=Reason.RETRY_LATER))
    told.add(launch(1, node="b", attempt=2))
    told.add(e.NodeLost(node="b", cause="power"), ready(1, reason=Reason.NODE_LOST))
    told.add(launch(1, attempt=3))
    evict = d.Evict(
        node="a", keys=(1,), attempts=(3,), grace_ms=5, reason=Reason.PREEMPTED, wanted_by=JobKey(4), target="a"
    )
    told.add(evict)
    told.add(
        ended(1, attempt=3, end=AttemptEnd.STOPPED),
        ended(1, node="b", attempt=2),
        ready(1, reason=Reason.PREEMPTED),
    )
    told.add(e.CancelRequested(request_id="r", keys=(4,), by="bob"), finish(4, state=JobState.CANCELLED, reason=28))
    told.add(launch(1, attempt=4))
    told.add(ended(1, attempt=4), finish(1))
    return told


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    _eventful(directory).journal.close()
    return directory


def _story(state: Path, ref: str):
    with closing(JournalReader(state)) as reader:
        return story(reader, reader.job("default", ref))


def test_a_story_has_every_attempt_with_who_and_why(state):
    told = [(line.what, line.attempt, line.node, line.reason) for line in _story(state, "array.0")]
    assert told == [
        ("submitted", 0, "", ""),
        ("launched", 1, "a", ""),
        ("entered", 1, "a", ""),
        ("checkpoint", 1, "a", ""),
        ("failed", 1, "a", ""),
        ("retry_later", 0, "", "user_error"),
        ("ready", 0, "", "retry_later"),
        ("launched", 2, "b", ""),
        ("lost", 2, "b", ""),
        ("ready", 0, "", "node_lost"),
        ("launched", 3, "a", ""),
        ("evict", 3, "a", "preempted"),
        ("stopped", 3, "a", ""),
        ("succeeded", 2, "b", ""),
        ("ready", 0, "", "preempted"),
        ("launched", 4, "a", ""),
        ("succeeded", 4, "a", ""),
        ("over", 0, "", "succeeded"),
    ]


def test_a_story_names_errors_supersession_late_reports_and_results(state):
    lines = _story(state, "array.0")
    by = {(line.what, line.attempt): line for line in lines}
    assert by["failed", 1].detail == "ValueError: no"
    assert by["failed", 1].pid == 1001
    assert by["retry_later", 0].detail == "not within 2.000 s"
    assert by["launched", 1].detail == "was ready for 2.000 s"
    assert by["launched", 3].detail.endswith("supersedes attempt 2")
    assert by["lost", 2].detail == "node lost: power"
    assert by["evict", 3].by == "urgent"
    assert by["succeeded", 2].detail == "a late report: it does not count"
    assert by["succeeded", 4].detail == ""
    assert by["succeeded", 4].result == hashlib.sha256(b"result 1").hexdigest()
    assert [line.seq for line in lines] == sorted(line.seq for line in lines)


def test_a_story_says_who_asked_and_what_it_waited_for(state):
    lines = _story(state, "urgent")
    assert (lines[0].by, lines[0].detail) == ("ann", "waits for array.1 (ok)")
    assert [(line.what, line.by, line.detail) for line in lines[-2:]] == [
        ("cancel_requested", "bob", ""),
        ("over", "", "cancelled"),
    ]


def test_every_decision_is_exported_with_reason_and_outcome(state):
    with closing(JournalReader(state)) as reader:
        lines = list(export.decisions(reader))
        kinds = {kind.__name__ for kind in d.DECISION_TYPES}
        seqs = [record.seq for record in reader.events(0, 1_000) if record.kind in kinds]
        middle = next(at for at, line in enumerate(lines) if line["decision"] == "MakeReady")
        later_lines = list(export.decisions(reader, lines[middle]["seq"]))
    assert lines[middle - 1]["frame"] == lines[middle]["frame"]
    launches = [(x["job"], x["attempt"], x["outcome"]) for x in lines if x["decision"] == "Launch"]
    assert launches == [
        ("array.0", 1, "failed"),
        ("array.1", 1, "succeeded"),
        ("array.0", 2, "lost"),
        ("array.0", 3, "stopped"),
        ("array.0", 4, "succeeded"),
    ]
    evicted = next(x for x in lines if x["decision"] == "Evict")
    assert (evicted["reason"], evicted["outcome"], evicted["detail"]["wanted_by"]) == ("preempted", "stopped", 4)
    retried = next(x for x in lines if x["decision"] == "RetryLater")
    assert (retried["reason"], retried["outcome"], retried["due_us"] > 0) == ("user_error", "succeeded", True)
    assert list(dict.fromkeys(x["seq"] for x in lines)) == seqs
    assert later_lines == lines[middle:]


def test_an_anchor_is_held_until_history_is_another(state, tmp_path):
    with closing(Journal.open(state)) as journal:
        anchor = newest_anchor(journal.connection)
        assert parse_anchor(str(anchor)) == anchor
        assert verify(journal, anchor).good
        (first, second) = list(journal.frames())[:2]
        assert verify(journal, Anchor(first.hash.hex(), first.last_seq)).good
        assert "has hash" in verify(journal, Anchor(first.hash.hex(), second.last_seq)).damage
        assert "no frame ends there" in verify(journal, Anchor(first.hash.hex(), first.last_seq - 1)).damage
        assert "were cut off" in verify(journal, Anchor(anchor.hash, anchor.seq + 1)).damage
    with closing(Journal.open(tmp_path / "other", cluster_id="other")) as other:
        begin = newest_anchor(other.connection)
        assert begin.seq == 0
        assert verify(other, begin).good
    assert "another one" in verify(state, begin).damage
    with pytest.raises(InvalidSpec, match="expected HASH@SEQ"):
        parse_anchor("abc@1")


def test_a_history_cut_off_at_its_end_is_sound_but_for_the_anchor(state, tmp_path):
    with closing(Journal.open(state)) as journal:
        before = newest_anchor(journal.connection)
    shutil.copytree(state, tmp_path / "old")
    with closing(Journal.open(state)) as journal:
        Story(journal).add(e.SchedulerStarted(epoch=2, version="x"))
        anchor = newest_anchor(journal.connection)
    assert verify(state, before).good
    assert verify(tmp_path / "old").good
    assert "cut off" in verify(tmp_path / "old", anchor).damage


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_byte_is_found_and_its_place_is_named(state, tmp_path, seed):
    """Each byte is either found, or one that nothing is read from: then the content is the same."""
    random_ = random.Random(seed)
    original = (state / DATABASE).read_bytes()
    with closing(JournalReader(state)) as reader:
        content = list(reader.frames())
    body = original.index(b"ValueError")
    for at in [body + seed, *random_.sample(range(100, len(original)), 30)]:
        data = bytearray(original)
        data[at] ^= 1 << random_.randrange(8)
        (state / DATABASE).write_bytes(data)
        try:
            report = verify(state)
        except JournalUnusable:
            continue  # it says that it is none of ours, or of another version
        if report.good:
            with closing(JournalReader(state)) as reader:
                assert list(reader.frames()) == content
        elif at == body + seed:
            text = str(report)
            assert "frame " in text or "errors (" in text


def test_a_broken_page_is_named_by_its_place_in_the_file(state):
    data = bytearray((state / DATABASE).read_bytes())
    size = int.from_bytes(data[16:18], "big")
    page = next(number for number in range(2, len(data) // size) if data[number * size] == 13)
    data[page * size + 8] ^= 0x7F
    (state / DATABASE).write_bytes(data)
    assert f"(file offset {page * size})" in verify(state).damage


def _filled(state: Path) -> Journal:
    told = _eventful(state)
    FileBlobStore(state / "blobs", 1 << 20).put([b"blob"])
    FileSnapshots(state / "snapshots").save(told.journal.last_seq, told.journal.last_hash, {"a": 1})
    return told.journal


def test_a_live_journal_is_copied_and_the_copy_goes_on(tmp_path):
    with closing(_filled(tmp_path / "state")) as journal:
        copied = copy_state(tmp_path / "state", tmp_path / "backup")
        Story(journal).add(e.SchedulerStarted(epoch=2, version="later"))
        assert parse_anchor(copied.anchor).seq == journal.last_seq - 1
        assert verify(journal, parse_anchor(copied.anchor)).good
    assert (copied.blobs, copied.snapshots) == (1, 1)
    restored = copy_state(tmp_path / "backup", tmp_path / "again")
    assert restored.anchor == copied.anchor
    assert FileBlobStore(tmp_path / "again/blobs", 1 << 20).read(hashlib.sha256(b"blob").hexdigest()) == b"blob"
    with closing(Journal.open(tmp_path / "again")) as again:
        assert str(newest_anchor(again.connection)) == copied.anchor
        assert FileSnapshots(tmp_path / "again/snapshots").load_newest(again) == (again.last_seq, {"a": 1})
        Story(again).add(e.SchedulerStarted(epoch=2, version="again"))
        assert verify(again).good


def test_snapshots_of_later_frames_are_not_copied(tmp_path):
    with closing(_filled(tmp_path / "state")) as journal:
        FileSnapshots(tmp_path / "state/snapshots").save(journal.last_seq + 5, b"x" * 32, {})
        assert copy_state(tmp_path / "state", tmp_path / "backup").snapshots == 1


def test_a_copy_goes_into_an_empty_directory_only(state, tmp_path):
    with pytest.raises(Refused, match="expected a directory that is empty"):
        copy_state(state, state)
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="expected a directory that is empty"):
        copy_state(state, tmp_path / "file")
    with pytest.raises(NotFound, match="no journal"):
        copy_state(tmp_path / "absent", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_copy_that_was_interrupted_is_not_taken_for_one(state, tmp_path):
    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "backup.copied":
            raise Killed

    install(die)
    try:
        with pytest.raises(Killed):
            copy_state(state, tmp_path / "backup")
    finally:
        install(None)
    with pytest.raises(NotFound, match="no journal"):
        copy_state(tmp_path / "backup", tmp_path / "again")


def test_a_damaged_journal_is_not_passed_on_as_a_sound_one(state, tmp_path):
    data = (state / DATABASE).read_bytes()
    (state / DATABASE).write_bytes(data.replace(b"nightly", b"nightlx"))
    with pytest.raises(JournalDamaged, match="not sound"):
        copy_state(state, tmp_path / "backup")


def test_a_story_tells_by_how_much_its_node_was_pressed_and_why_it_left(tmp_path: Path) -> None:
    told = Story(Journal.open(tmp_path)).begin()
    told.add(launch(1, 2))
    told.add(entered(1))
    pressed = e.NodePressed(
        node="a", kinds=("battery", "gpu_memory"), loads=(900, 950), keys=(1,), attempts=(1,), uses=((-1, 204),)
    )
    told.add(pressed, d.Stop(node="a", keys=(1,), attempts=(1,), grace_ms=5, reason=Reason.MOVED))
    told.add(ended(1, end=AttemptEnd.STOPPED), ready(1, reason=Reason.MOVED))
    told.add(e.NodePressed(node="a", kinds=("memory",), loads=(900,), keys=(2,), attempts=(1,), uses=((1,),)))
    told.add(d.LetBack(keys=(1,), reason=Reason.REST_OVER))
    told.journal.close()
    lines = [(line.what, line.attempt, line.node, line.reason, line.detail) for line in _story(tmp_path, "array.0")]
    assert lines[3:5] == [
        ("node_pressed", 1, "a", "", "battery 90 % used; gpu memory 95 % used, by it gpu memory 20 %"),
        ("stop", 1, "a", "moved", ""),
    ]
    assert [line[0] for line in lines[5:]] == ["stopped", "ready", "may_come_back"]
