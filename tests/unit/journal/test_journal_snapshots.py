"""Snapshots: the newest good one is loaded, and a bad one is passed over and said to be bad."""

import pytest
from journal_build import Story, submitted

from kos_ray.journal import snapshots
from kos_ray.journal.snapshots import FileSnapshots, MemorySnapshots
from kos_ray.journal.store import Journal
from kos_ray.model import failpoints


class Kept:
    """A journal of five frames, a store, and a way to change the bytes of a snapshot."""

    def __init__(self, store) -> None:
        self.store = store
        self.story = Story()
        for first in range(1, 6):
            self.story.add(submitted(first, ((f"x{first}", 1),)))
        self.journal = self.story.journal

    def save(self, *seqs: int) -> None:
        for seq in seqs:
            self.store.save(seq, self.journal.hash_at(seq), {"seq": seq, "deep": ((1, b"x"), {3: None})})

    def load(self) -> int | None:
        loaded = self.store.load_newest(self.journal)
        assert loaded is None or loaded[1] == {"seq": loaded[0], "deep": ((1, b"x"), {3: None})}
        return loaded and loaded[0]

    def change(self, seq: int, change) -> None:
        if isinstance(self.store, MemorySnapshots):
            self.store.files[seq] = change(self.store.files[seq])
        else:
            path = self.store.directory / f"{seq}.snap"
            path.write_bytes(change(path.read_bytes()))

    def names(self) -> list[int]:
        if isinstance(self.store, MemorySnapshots):
            return sorted(self.store.files)
        return sorted(int(path.stem) for path in self.store.directory.iterdir())


@pytest.fixture(params=["file", "memory"])
def kept(request, tmp_path):
    return Kept(MemorySnapshots() if request.param == "memory" else FileSnapshots(tmp_path / "snapshots"))


def test_the_newest_is_loaded_and_three_are_kept(kept):
    assert kept.load() is None
    kept.save(1, 2, 3, 4, 5)
    assert kept.names() == [3, 4, 5]
    assert kept.load() == 5
    assert kept.store.warnings == []


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its content has hash"),
        (lambda data: data[:-3], "its content has hash"),
        (lambda data: b"", "not a snapshot"),
        (lambda data: b"kos snap", "not a snapshot"),
        (lambda data: data[:11] + b"\x63" + data[12:], f"format 99, expected {snapshots.SNAPSHOT_FORMAT}"),
        (lambda data: data[:25] + bytes([data[25] ^ 1]) + data[26:], "it follows frame"),
    ],
)
def test_a_bad_one_falls_back_to_the_one_before(kept, change, warning):
    kept.save(3, 4)
    kept.change(4, change)
    assert kept.load() == 3
    assert len(kept.store.warnings) == 1
    assert kept.store.warnings[0].startswith(f"snapshot 4 is passed over: {warning}")


def test_none_is_good(kept):
    kept.save(3, 4)
    for seq in (3, 4):
        kept.change(seq, lambda data: data[:-1])
    assert kept.load() is None
    assert len(kept.store.warnings) == 2


def test_one_of_another_history_or_of_the_future_is_passed_over(kept):
    kept.save(2)
    kept.store.save(4, b"\0" * 32, {})
    kept.store.save(9, kept.journal.last_hash, {})
    assert kept.load() == 2
    assert "the journal has no frame that ends there" in kept.store.warnings[0]
    assert "it follows frame 0000" in kept.store.warnings[1]


def test_one_of_another_cluster_is_passed_over(kept):
    kept.save(3)
    other = Story(Journal.in_memory("other"))
    for first in range(1, 6):
        other.add(submitted(first, ((f"x{first}", 1),)))
    assert kept.store.load_newest(other.journal) is None


def test_a_failure_while_saving_leaves_the_others(tmp_path):
    kept = Kept(FileSnapshots(tmp_path / "snapshots"))
    kept.save(3)

    def fail(name):
        if name == "snapshots.written":
            raise OSError("the disk is full")

    failpoints.install(fail)
    try:
        with pytest.raises(OSError, match="full"):
            kept.save(4)
    finally:
        failpoints.install(None)
    assert [path.name for path in kept.store.directory.iterdir()] == ["3.snap"]
    (kept.store.directory / "5.partial").write_bytes(b"died")
    assert FileSnapshots(kept.store.directory).load_newest(kept.journal)[0] == 3
    assert [path.name for path in kept.store.directory.iterdir()] == ["3.snap"]


def test_the_format_is_versioned(kept, monkeypatch):
    kept.save(3)
    own = snapshots.SNAPSHOT_FORMAT
    monkeypatch.setattr(snapshots, "SNAPSHOT_FORMAT", own + 1)
    assert kept.load() is None
    assert kept.store.warnings == [f"snapshot 3 is passed over: format {own}, expected {own + 1}"]
