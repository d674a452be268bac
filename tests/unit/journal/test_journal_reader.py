"""The reader: views of a journal that a scheduler is writing at the same time."""

import sqlite3
from dataclasses import replace

import pytest
from journal_build import (
    SPEC,
    Story,
    ended,
    entered,
    finish,
    later,
    launch,
    ready,
    stop,
    submitted,
)

from kos_ray.journal import reader as reader_module
from kos_ray.journal.reader import JournalReader, connect_read_only
from kos_ray.journal.store import Journal
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.dependency import Rule
from kos_ray.model.errors import NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, AttemptEnd, JobState, Spec
from kos_ray.model.payload import inline, raising
from kos_ray.model.reasons import Reason

OTHER = Spec(type="serve", namespace="lab", tags=("nightly",), band=1)


@pytest.fixture
def story(tmp_path):
    journal = Journal.open(tmp_path / "state", cluster_id="cluster")
    yield Story(journal).begin(jobs=3)
    journal.close()


@pytest.fixture
def reader(story, tmp_path):
    reader = JournalReader(tmp_path / "state")
    yield reader
    reader.close()


def test_a_job_shows_its_own_times_node_and_spec(story, reader):
    submitted_us = story.now
    story.add(launch(2, node="b"))
    launched_us = story.now
    story.add(ended(2, node="b"), finish(2))
    view = reader.job("default", "array.1")
    assert (view.id, view.key, view.type, view.namespace, view.band) == ("array.1", 2, "train", "default", 3)
    assert (view.state, view.reason, view.remedy) == ("succeeded", "succeeded", Reason.SUCCEEDED.remedy)
    assert (view.attempt, view.node, view.pid) == (1, "b", 1002)
    assert (view.submitted_us, view.ready_us, view.launched_us) == (submitted_us, submitted_us, launched_us)
    assert (view.entered_us, view.ended_us) == (102, 202)
    assert (view.resources, view.tags) == (SPEC.resources.amounts, SPEC.tags)
    waiting = reader.job("default", "array.0")
    assert (waiting.state, waiting.reason, waiting.attempt, waiting.node) == ("ready", "none", 0, "")


def test_what_is_committed_is_seen_at_once(story, reader):
    for state, record in (("launched", launch(1)), ("running", entered(1)), ("stopping", stop(1))):
        story.add(record)
        assert reader.job("default", "array.0").state == state


def test_a_job_that_waits_again_shows_its_last_attempt(story, reader):
    story.add(launch(1))
    error = e.AttemptError(index=0, type="ValueError", message="no", traceback="line 1")
    story.add(ended(1, end=AttemptEnd.FAILED, errors=(error,)), later(1))
    view = reader.job("default", "array.0")
    assert (view.state, view.reason, view.attempt, view.node, view.pid) == ("backoff", "user_error", 1, "a", 1001)
    assert (view.entered_us, view.ended_us) == (101, 201)
    assert (view.error_type, view.error, view.traceback) == ("ValueError", "no", "line 1")
    story.add(ready(1))
    story.add(launch(1, node="b", attempt=2))
    view = reader.job("default", "array.0")
    assert (view.attempt, view.node, view.pid, view.error_type) == (2, "b", 0, "")


def test_a_message_names_who_gets_it(story, reader):
    story.add(submitted(4, (("message", -1),), spec=replace(OTHER, receiver="writer.v2"), spec_key=2))
    assert reader.job("lab", "message").receiver == "writer.v2"
    assert reader.job("default", "array.0").receiver == ""


def test_parents_are_named_as_they_were_asked_for(story, reader):
    after = ((1, 3, After.OK), (2, 1, After.ANY), (4, 1, After.NOT_OK))
    dependency = e.JobDependency(key=JobKey(5), after=after)
    story.add(submitted(4, (("single", -1), ("child", -1)), dependencies=(dependency,)))
    view = reader.job("default", "child")
    assert view.state == "blocked"
    assert view.after == (("array", "ok"), ("array.1", "any"), ("single", "not_ok"))
    assert reader.job("default", "single").after == ()


def test_a_rule_and_a_line_are_shown_and_submitted_again_as_they_were(story, reader):
    rule, one = int(Rule.ONE_SUCCESS), int(Rule.ONE_MET)
    dependencies = (
        e.JobDependency(key=JobKey(4), after=((1, 3, After.ANY),), rule=rule),
        e.JobDependency(key=JobKey(5), after=((1, 1, After.NOT_OK),), rule=one),
        e.JobDependency(key=JobKey(6), after=(), singleton="db"),
    )
    arrays = (("by-rule", -1), ("one", -1), ("line", -1))
    story.add(submitted(4, arrays, dependencies=dependencies))
    assert reader.job("default", "by-rule").after == (("array", "one_success"),)
    assert reader.job("default", "one").after == (("array.0", "not_ok?"),)
    assert reader.job("default", "line").state == "blocked"
    (by_rule,) = reader.again("default", "by-rule", from_failed=False)
    assert (by_rule["after"], by_rule["rule"]) == ((("array", After.ANY),), Rule.ONE_SUCCESS)
    (line,) = reader.again("default", "line", from_failed=False)
    assert (line["after"], line["rule"], line["singleton"]) == ((), Rule.ALL_MET, "db")


def test_failed_items_of_paired_arrays_are_submitted_again_each_with_its_own_parent(story, reader):
    dependencies = tuple(e.JobDependency(key=JobKey(4 + i), after=((1 + i, 1, After.CORR),)) for i in range(3))
    limits = (e.ArrayLimits(index=0, group="pairs", at_most=2, max_failures=1),)
    story.add(submitted(4, (("pairs", 3),), dependencies=dependencies, limits=limits))
    (whole,) = reader.again("default", "pairs", from_failed=False)
    assert (whole["count"], whole["after"]) == (3, (("array", After.CORR),))
    assert (whole["at_most"], whole["max_failures"]) == (2, 1)
    story.add(d.Finish(keys=(JobKey(5),), state=JobState.SKIPPED, reason=Reason.DEPENDENCY_NEVER_MET))
    (one,) = reader.again("default", "pairs", from_failed=True)
    assert (one["count"], one["after"]) == (-1, (("array.1", After.CORR),))


def test_names_and_what_comes_near(story, reader):
    story.add(submitted(4, (("0190-abcd", -1),), names=((0, "report"),)))
    assert reader.job("default", "report").id == "0190-abcd"
    assert reader.job("default", "report").name == "report"
    with pytest.raises(NotFound, match="no job 'reprot' in namespace 'default'; near it are report"):
        reader.job("default", "reprot")
    with pytest.raises(NotFound, match="near it are 0190-abcd"):
        reader.job("default", "0190-ab")
    with pytest.raises(NotFound, match=r"array of 3 jobs; its items are array\.0 to array\.2"):
        reader.job("default", "array")
    with pytest.raises(NotFound):
        reader.job("lab", "report")


def test_lists_are_newest_first_and_filtered(story, reader, monkeypatch):
    monkeypatch.setattr(reader_module, "_WINDOW", 2)
    story.add(submitted(4, (("lab", 2), ("lib", -1)), spec=OTHER, spec_key=2, names=((1, "report"),)))
    story.add(launch(1, 4))

    def keys(**asked):
        return [view.key for view in reader.jobs(**asked)]

    assert keys() == [6, 5, 4, 3, 2, 1]
    assert keys(limit=4) == [6, 5, 4, 3]
    assert keys(limit=2, before_key=3) == [2, 1]
    assert keys(state=JobState.LAUNCHED) == [4, 1]
    assert keys(type="serve") == keys(namespace="lab") == [6, 5, 4]
    assert keys(tag="gpu") == [3, 2, 1]
    assert keys(tag="nightly") == [6, 5, 4, 3, 2, 1]
    assert keys(prefix="la") == [5, 4]
    assert keys(prefix="rep") == [6]
    assert keys(prefix="l", state=JobState.READY, limit=1) == [6]
    assert keys(type="none") == []


def test_counts(story, reader, monkeypatch):
    monkeypatch.setattr(reader_module, "_WINDOW", 2)
    story.add(submitted(4, (("lab", 2),), spec=OTHER, spec_key=2))
    story.add(launch(1, 4))
    assert reader.counts() == {"ready": 3, "launched": 2}
    assert reader.counts("lab") == {"ready": 1, "launched": 1}
    assert reader.counts("none") == {}
    assert reader.array("array") == {"ready": 2, "launched": 1}
    with pytest.raises(NotFound, match="no array 'arr'; near it are array"):
        reader.array("arr")


def test_the_history_of_attempts(story, reader):
    assert reader.attempts(JobKey(1)) == []
    story.add(launch(1))
    error = e.AttemptError(index=0, type="ValueError", message="no", traceback="tb")
    story.add(ended(1, end=AttemptEnd.FAILED, errors=(error,), logs=((0, "slot.log", 3, 9),)), later(1))
    story.add(e.LogsStored(node="a", file="slot.log", blob="b10b", size=9), ready(1))
    story.add(launch(1, node="b", attempt=2))
    first, second = reader.attempts(JobKey(1))
    assert (first.attempt, first.end, first.node, first.pid, first.entered_us) == (1, "failed", "a", 1001, 101)
    assert (first.error_type, first.error, first.traceback) == ("ValueError", "no", "tb")
    assert (first.log, first.log_start, first.log_end, first.log_blob) == ("slot.log", 3, 9, "b10b")
    assert (second.attempt, second.end, second.node, second.launched_us) == (2, "", "b", story.now)
    story.add(ended(1, node="b", attempt=2), finish(1))
    assert [view.end for view in reader.attempts(JobKey(1))] == ["failed", "succeeded"]


def test_results_and_outcomes(story, reader):
    story.add(launch(1, 2))
    error = e.AttemptError(index=1, type="ValueError", message="no", traceback="tb")
    done = ended(1, 2, errors=(error,))
    story.add(done, finish(1), finish(2, state=JobState.FAILED, reason=Reason.USER_ERROR))
    assert reader.result(JobKey(1)) == (JobState.SUCCEEDED, inline(b"result 1"))
    assert reader.result(JobKey(3)) == (JobState.READY, b"")
    with pytest.raises(NotFound):
        reader.result(JobKey(99))
    for source in (reader, story.journal):
        outcomes = source.outcomes([3, 2, 1, 99])
        columns = zip(outcomes.states, outcomes.reasons, outcomes.results, strict=True)
        assert dict(zip(outcomes.keys, columns, strict=True)) == {
            1: (JobState.SUCCEEDED, Reason.SUCCEEDED, inline(b"result 1")),
            2: (JobState.FAILED, Reason.USER_ERROR, b""),
        }
        ((index, *error_text),) = outcomes.errors
        assert outcomes.keys[index] == 2
        assert error_text == ["ValueError", "no", "tb"]


def test_the_outcome_of_a_failure_carries_the_exception(story, reader):
    story.add(launch(1, 2))
    error = e.AttemptError(index=0, type="ValueError", message="no", traceback="tb")
    done = replace(ended(1, 2, end=AttemptEnd.FAILED, errors=(error,)), results=(raising(b"pickle"), inline(b"odd")))
    failed = {"state": JobState.FAILED, "reason": Reason.USER_ERROR}
    story.add(done, finish(1, **failed), finish(2, **failed))
    for source in (reader, story.journal):
        assert source.outcomes([1, 2]).results == (raising(b"pickle"), b"")


def test_views_by_key(story, reader, monkeypatch):
    monkeypatch.setattr(reader_module, "_VIEWS", 2)
    assert [view.id for view in reader.views([3, 99, 1, 2, 1])] == ["array.2", "array.0", "array.1", "array.0"]
    assert reader.views([]) == []
    assert [frame.first_seq for frame in reader.frames(after=2)] == [3]


def test_nodes_and_status(story, reader, tmp_path):
    story.add(e.NodeLost(node="b", cause="power"))
    first, second = reader.nodes()
    assert (first.id, first.name, first.alive, first.labels) == ("a", "node-a", True, (("zone", "a"),))
    assert first.resources == SPEC.resources.amounts
    assert (second.alive, second.cause, second.since_us) == (False, "power", story.now)
    status = reader.status()
    assert (status.cluster_id, status.epoch, status.seq) == ("cluster", 1, story.journal.last_seq)
    assert (status.jobs, len(status.nodes)) == ({"ready": 3}, 2)
    assert status.state_dir == str(tmp_path / "state")
    assert status.journal_bytes > 0
    assert status.wal_bytes == story.journal.wal_bytes > 0


def test_events_by_sequence_number(story, reader):
    story.add(launch(1))
    story.add(ended(1), finish(1))
    views = reader.events(0, 100)
    assert [(view.seq, view.kind) for view in views] == [
        (1, "SchedulerStarted"),
        (2, "NodesJoined"),
        (3, "JobsSubmitted"),
        (4, "Launch"),
        (5, "AttemptsEnded"),
        (6, "Finish"),
    ]
    assert reader.events(1, 3) == views[1:4]
    assert reader.events(5, 100) == views[5:]
    assert reader.events(6, 100) == []
    assert views[5].at_us == story.now
    assert views[2].detail["args"] == ("6 bytes",) * 3
    assert views[3].detail["keys"] == (1,)


def test_a_reader_changes_nothing(story, reader):
    for text in ("DELETE FROM jobs", "PRAGMA user_version = 7", "CREATE TABLE x (y)"):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute(text)


def test_a_reader_holds_no_transaction_between_questions(story, reader):
    reader.status()
    reader.jobs()
    reader.events(0, 10)
    assert not reader._connection.in_transaction
    assert story.journal.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_a_reader_opens_what_no_scheduler_holds(tmp_path):
    journal = Journal.open(tmp_path / "state")
    Story(journal).begin()
    journal.close()
    reader = JournalReader(tmp_path / "state")
    assert reader.counts() == {"ready": 3}
    reader.close()


def test_there_is_no_journal(tmp_path):
    with pytest.raises(NotFound, match="no journal in"):
        connect_read_only(tmp_path)
