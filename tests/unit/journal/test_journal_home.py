"""A journal knows where it is at home, so that a copy of its directory is found out."""

import shutil
from pathlib import Path

import pytest

from kos_ray.journal import home
from kos_ray.journal.backup import copy_state
from kos_ray.journal.reader import JournalReader
from kos_ray.journal.schema import JournalUnusable
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model.events import SchedulerStarted
from kos_ray.runtime.opening import open_journal


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory in which a scheduler was."""
    directory = tmp_path / "state"
    journal, adopted = open_journal(directory, adopt=False)
    assert not adopted
    write(journal)
    journal.close()
    return directory


def write(journal: Journal) -> None:
    epoch = journal.last_epoch + 1
    journal.append(now_us=epoch, epoch=epoch, events=[SchedulerStarted(epoch=epoch, version="0")], decisions=[])


def cluster_of(directory: Path) -> str:
    return JournalReader(directory).cluster_id


def test_a_copy_is_refused_and_the_original_moves_freely(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(state, copy)
    words = f"{copy} is a copy: expected the journal of cluster {cluster_of(state)} .*--state {copy} --adopt"
    with pytest.raises(JournalUnusable, match=words):
        open_journal(copy, adopt=False)
    with pytest.raises(JournalUnusable, match=words):
        home.check(copy)
    with pytest.raises(JournalUnusable, match="is a copy"):  # the refusal has changed nothing
        open_journal(copy, adopt=False)
    home.check(tmp_path / "nothing")
    moved = state.rename(tmp_path / "moved")
    home.check(moved)
    open_journal(moved, adopt=False)[0].close()


def test_an_adopted_copy_is_a_cluster_of_its_own(state: Path, tmp_path: Path) -> None:
    """Once; its chain of hashes goes on from the original's, and so do copies of the copy."""
    copy, again = tmp_path / "copy", tmp_path / "again"
    shutil.copytree(state, copy)
    journal, adopted = open_journal(copy, adopt=True)
    assert adopted == journal.cluster_id == cluster_of(copy) != cluster_of(state)
    write(journal)
    journal.close()
    same, nothing = open_journal(copy, adopt=True)
    assert (same.cluster_id, nothing) == (adopted, "")
    same.close()
    home.check(copy)
    report = verify(copy)
    assert report.good
    assert report.last_seq == 2
    shutil.copytree(copy, again)
    third, newest = open_journal(again, adopt=True)
    third.close()
    assert newest not in ("", adopted, cluster_of(state))
    original, nothing = open_journal(state, adopt=True)
    assert (nothing, original.cluster_id) == ("", cluster_of(state))
    original.close()


def test_a_backup_is_a_copy_and_what_is_restored_is_not(state: Path, tmp_path: Path) -> None:
    copy_state(state, tmp_path / "backup")
    with pytest.raises(JournalUnusable, match="is a copy"):
        open_journal(tmp_path / "backup", adopt=False)
    copy_state(tmp_path / "backup", tmp_path / "restored", in_its_place=True)
    journal, adopted = open_journal(tmp_path / "restored", adopt=False)
    assert (journal.cluster_id, adopted) == (cluster_of(state), "")
    journal.close()
    shutil.copytree(tmp_path / "restored", tmp_path / "copy")
    with pytest.raises(JournalUnusable, match="is a copy"):
        home.check(tmp_path / "copy")
