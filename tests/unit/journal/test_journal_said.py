"""What attempts say while they run, in rows."""

from pathlib import Path

import pytest
from journal_build import CPU, Story, ended, finish, joined, later, launch, progress_made, ready, saved, stop, submitted

from kos_ray.journal.reader import JournalReader
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import rebuild_rows, verify
from kos_ray.model import events as e
from kos_ray.model.ids import NodeId
from kos_ray.model.job import AttemptEnd
from kos_ray.model.node import Node


@pytest.fixture
def story(tmp_path: Path):
    journal = Journal.open(tmp_path)
    yield Story(journal).begin(3)
    report = verify(journal)
    assert report.good, str(report)
    journal.close()


@pytest.fixture
def read(tmp_path: Path, story):
    return JournalReader(tmp_path)


def test_the_newest_progress_is_shown(story, read):
    story.add(launch(1, 2))
    assert read.views([1])[0].progress is None
    story.add(progress_made((1, 1_000, "first"), (2, 0, "")), progress_made((1, 2_500, "second")))
    shown = [(view.progress, view.progress_text) for view in read.views([1, 2, 3])]
    assert shown == [(0.25, "second"), (0.0, ""), (None, "")]
    story.add(ended(1), finish(1))
    assert read.views([1])[0].progress == 0.25, "how far it came stays"


def test_progress_of_another_attempt_is_none(story, read):
    story.add(launch(1))
    story.add(progress_made((1, 9_000, "nearly")))
    story.add(ended(1, end=AttemptEnd.FAILED), later(1))
    assert read.views([1])[0].progress == 0.9, "of the last attempt, while it waits for the next"
    story.add(ready(1), launch(1, attempt=2))
    assert read.views([1])[0].progress is None
    story.add(progress_made((1, 9_500, "late"), attempt=1), progress_made((1, 8_000, "elsewhere"), node="b", attempt=2))
    assert read.views([1])[0].progress is None
    story.add(progress_made((1, 100, "anew"), attempt=2))
    assert read.views([1])[0].progress == 0.01
    story.add(stop(1, attempt=2), progress_made((1, 200, "stopping"), attempt=2))
    assert read.views([1])[0].progress_text == "stopping"


def test_progress_after_an_end_or_of_a_lost_node_is_stale(story, read):
    story.add(launch(1, 2))
    story.add(ended(1), progress_made((1, 1, "late")), finish(1))
    story.add(e.NodeLost(node="a", cause="power"), progress_made((2, 1, "late")), ready(2))
    story.add(joined("a"), progress_made((3, 1, "never launched"), (99, 1, "nobody")))
    assert [view.progress for view in read.views([1, 2, 3])] == [None] * 3


def test_the_newest_checkpoint_of_a_job_is_found_until_it_is_over(story):
    journal = story.journal
    story.add(launch(1, 2))
    story.add(saved((1, 1, b"a1"), (2, 1, b"b1")), saved((1, 2, b"a2")))
    assert journal.checkpoints([1, 2, 3]) == {1: b"a2", 2: b"b1"}
    story.add(saved((1, 1, b"late")))
    assert journal.checkpoint_numbers([1, 2, 3]) == {1: (1, 2), 2: (1, 1)}
    story.add(ended(1, end=AttemptEnd.CRASHED), later(1), ended(2), finish(2))
    assert journal.checkpoints([1, 2]) == {1: b"a2"}
    story.add(ready(1), launch(1, attempt=2))
    assert journal.checkpoints([1]) == {1: b"a2"}, "the next attempt has saved nothing yet"
    story.add(saved((1, 1, b"a3"), attempt=2))
    assert journal.checkpoints([1]) == {1: b"a3"}
    story.add(ended(1, attempt=2), finish(1))
    assert journal.checkpoints([1]) == {}


def test_checkpoints_of_attempts_that_are_over_are_fenced(story):
    story.add(launch(1, 2, 3))
    story.add(ended(1, end=AttemptEnd.FAILED), saved((1, 1, b"after its end")), later(1))
    story.add(ready(1), launch(1, attempt=2))
    story.add(saved((1, 9, b"of the first"), attempt=1), saved((1, 9, b"from elsewhere"), node="b", attempt=2))
    story.add(e.NodeLost(node="a", cause="power"), saved((2, 1, b"of a lost node")), ready(1, 2, 3))
    assert story.journal.checkpoints([1, 2, 3]) == {}


def test_an_attempt_that_is_asked_to_stop_can_still_save(story):
    story.add(launch(1))
    story.add(stop(1), saved((1, 1, b"last")))
    assert story.journal.checkpoints([1]) == {1: b"last"}


def test_children_know_their_parent(story, read):
    story.add(submitted(4, (("child", -1), ("children", 2)), parent=2))
    assert [view.parent for view in read.views([1, 4, 5, 6])] == ["", "array.1", "array.1", "array.1"]


def test_exit_codes_belong_to_attempts(story, read):
    story.add(launch(1, 2))
    story.add(ended(1, 2, end=AttemptEnd.FAILED, exit_codes=((1, 0), (0, 7))), later(1, 2))
    assert [view.exit_code for view in read.views([1, 2, 3])] == [7, 0, None]
    story.add(ready(1), launch(1, attempt=2))
    story.add(ended(1, attempt=1, exit_codes=((0, 9),)), ended(1, attempt=2, node="b", exit_codes=((0, 9),)))
    assert read.views([1])[0].exit_code is None, "of its second attempt nothing is known yet"
    story.add(ended(1, attempt=2, exit_codes=((0, 137),)), later(1))
    assert [attempt.exit_code for attempt in read.attempts(1)] == [7, 137]


def test_versions_of_nodes(story, read):
    versions = (("kos_ray", "1"), ("Python", "3.11.7"))
    story.add(e.NodesJoined(nodes=(Node(NodeId("a"), "a", CPU, versions=versions),)))
    assert {node.id: node.versions for node in read.nodes()} == {"a": versions, "b": ()}


def test_rows_are_rebuilt(story, read):
    story.add(launch(1))
    story.add(progress_made((1, 1_000, "first")), saved((1, 1, b"a")))
    rebuild_rows(story.journal)
    assert read.views([1])[0].progress == 0.1
    assert read.checkpoints([1]) == {1: b"a"}
