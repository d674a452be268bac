"""The file store keeps to the contract of blob stores, and is whole whatever happens to the disk."""

import pytest
from blob_contract import ABSENT, DATA, HASH, BlobContract

from kos_ray.journal.blobs import FileBlobStore
from kos_ray.model import failpoints
from kos_ray.model.errors import JournalDamaged


class TestFileBlobStore(BlobContract):
    @pytest.fixture
    def make(self, tmp_path):
        return lambda max_bytes: FileBlobStore(tmp_path / "blobs", max_bytes)


@pytest.fixture
def store(tmp_path):
    return FileBlobStore(tmp_path / "blobs", 100_000)


def _files(store):
    return [path for path in store.directory.rglob("*") if path.is_file()]


def test_a_blob_is_one_read_only_file_in_two_folders(store):
    store.put([DATA])
    assert _files(store) == [store.directory / HASH[:2] / HASH[2:4] / HASH]
    assert _files(store)[0].stat().st_mode & 0o777 == 0o400


def test_nothing_half_done_is_left(store):
    def chunks():
        yield DATA
        raise OSError("the line broke")

    with pytest.raises(OSError, match="broke"):
        store.put(chunks())
    assert _files(store) == []


@pytest.mark.parametrize("point", ["blobs.written", "blobs.named"])
def test_a_failure_around_the_rename_leaves_nothing_half_done(store, point):
    def fail(name):
        if name == point:
            raise OSError("the disk is full")

    failpoints.install(fail)
    try:
        with pytest.raises(OSError, match="full"):
            store.put([DATA])
    finally:
        failpoints.install(None)
    assert [path.name for path in _files(store)] == ([HASH] if point == "blobs.named" else [])
    store.put([DATA])
    assert store.read(HASH) == DATA


def test_what_died_in_the_middle_is_swept(store):
    (store.directory / "partial" / "left").write_bytes(b"half")
    assert store.sweep() == 1
    assert _files(store) == []


def test_a_changed_blob_is_found_and_healed_by_putting_it_again(store):
    store.put([DATA])
    path = _files(store)[0]
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(JournalDamaged, match=f"blob {HASH}"):
        store.open(HASH, verify=True)
    with pytest.raises(JournalDamaged, match=f"blob {HASH}"):
        store.read(HASH)
    store.put([DATA])
    assert store.read(HASH) == DATA


def test_a_store_can_be_opened_again(store):
    store.put([DATA])
    again = FileBlobStore(store.directory, 1)
    assert again.read(HASH) == DATA
    assert not again.has(ABSENT)
