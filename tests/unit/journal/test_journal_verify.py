"""Verification finds every row that is not the fold of the frames, and a rebuild mends them."""

from dataclasses import replace

import pytest
from journal_build import Story, ended, entered, finish, later, launch, progress_made, saved, submitted

from kos_ray.journal.schema import ROW_TABLES
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import rebuild_rows, verify
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import JournalDamaged
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, AttemptEnd
from kos_ray.model.payload import inline


def _full(journal: Journal | None = None) -> Story:
    """A story with a row in every table."""
    story = Story(journal).begin()
    dependency = e.JobDependency(key=JobKey(4), after=((1, 1, After.OK),), inputs=((1, -1),))
    said = {"names": ((0, "child"),), "keyed": ((0, "key", "hash"),)}
    story.add(submitted(4, (("child", -1),), dependencies=(dependency,), **said))
    story.add(launch(1, 2))
    snapshot = replace(saved((1, 1, inline(b"state"))), whys=((0, "step"),))
    story.add(entered(1), progress_made((1, 5_000, "half")), snapshot)
    error = e.AttemptError(index=0, type="ValueError", message="no")
    story.add(
        ended(1, end=AttemptEnd.FAILED, errors=(error,), logs=((0, "f", 1, 2),), exit_codes=((0, 7),)),
        ended(2),
        later(1),
        d.RaiseMemory(keys=(JobKey(1),), amounts=(7 * 10_000,)),
        finish(2),
    )
    story.add(e.LogsStored(node="a", file="f", blob="00", size=2))
    return story


def test_a_sound_journal_verifies_open_and_closed(tmp_path):
    journal = Journal.open(tmp_path / "state")
    _full(journal)
    report = verify(journal)
    assert report.good
    assert set(report.rows) == set(ROW_TABLES)
    assert all(report.rows.values()), "a table was never filled"
    assert str(report) == "7 frames up to sequence number 14, 23 rows"
    assert verify(tmp_path / "state") == report
    journal.close()
    assert verify(tmp_path / "state") == report


def _columns() -> list[tuple[str, str]]:
    connection = Story().journal.connection
    return [
        (table, row[1])
        for table, keys in ROW_TABLES.items()
        for row in connection.execute(f"PRAGMA table_info({table})")
        if row[1] not in keys
    ]


@pytest.mark.parametrize(("table", "column"), _columns())
def test_a_change_to_any_column_is_named(table, column):
    story = _full()
    connection = story.journal.connection
    connection.execute(f"UPDATE {table} SET {column} = 77 WHERE rowid = 1") if table in (
        "jobs",
        "arrays",
        "specs",
        "nodes",
    ) else connection.execute(f"UPDATE {table} SET {column} = 77")
    report = verify(story.journal)
    assert {(x.table, x.column) for x in report.differences} == {(table, column)}
    assert str(report.differences[0].found) == "77"
    rebuild_rows(story.journal)
    assert verify(story.journal).good


@pytest.mark.parametrize("table", list(ROW_TABLES))
def test_a_missing_row_is_named(table):
    story = _full()
    expected = story.journal.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    story.journal.connection.execute(f"DELETE FROM {table}")
    report = verify(story.journal)
    assert len(report.differences) == expected
    assert {(x.table, x.column, x.found) for x in report.differences} == {(table, "", None)}
    rebuild_rows(story.journal)
    assert verify(story.journal).good


def test_a_row_too_many_is_named_and_the_list_is_bounded():
    story = _full()
    story.journal.connection.execute(
        "INSERT INTO requests WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)"
        " SELECT 'extra' || i, 1, 1, 1 FROM n"
    )
    differences = verify(story.journal).differences
    assert len(differences) == 20
    assert differences[0].expected is None


def test_a_rebuild_from_a_damaged_frame_changes_nothing():
    story = _full()
    connection = story.journal.connection
    connection.execute("UPDATE frames SET body = CAST(body || x'00' AS BLOB) WHERE first_seq = 5")
    before = list(connection.iterdump())
    with pytest.raises(JournalDamaged):
        rebuild_rows(story.journal)
    assert list(connection.iterdump()) == before


def test_a_rebuilt_journal_goes_on():
    story = _full()
    rebuild_rows(story.journal)
    story.add(launch(3))
    story.add(ended(3), finish(3))
    assert verify(story.journal).good
