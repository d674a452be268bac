"""What every blob store keeps to. A suite has a fixture `make(max_bytes)` and inherits these tests."""

import hashlib
from collections.abc import Callable

import pytest

from kos_ray.journal.blobs import BlobStore
from kos_ray.model.errors import NotFound, Refused

Make = Callable[[int], BlobStore]
DATA = bytes(range(256)) * 40
HASH = hashlib.sha256(DATA).hexdigest()
ABSENT = "0" * 64


class BlobContract:
    def test_what_is_put_can_be_read(self, make: Make):
        store = make(100_000)
        ref = store.put([DATA[:1000], b"", DATA[1000:]])
        assert (ref.hash, ref.size) == (HASH, len(DATA))
        assert store.has(HASH)
        assert store.size(HASH) == len(DATA)
        assert store.read(HASH) == DATA
        for verify in (False, True):
            with store.open(HASH, verify=verify) as file:
                assert file.read() == DATA

    def test_parts_can_be_read(self, make: Make):
        store = make(100_000)
        store.put([DATA])
        assert store.read(HASH, 10, 20) == DATA[10:30]
        assert store.read(HASH, len(DATA) - 5) == DATA[-5:]
        assert store.read(HASH, len(DATA) - 5, 100) == DATA[-5:]
        assert store.read(HASH, len(DATA) + 5, 100) == b""

    def test_nothing_is_a_blob_too(self, make: Make):
        store = make(10)
        ref = store.put([])
        assert (ref.size, store.read(ref.hash)) == (0, b"")

    def test_the_same_content_is_one_blob(self, make: Make):
        store = make(100_000)
        assert store.put([DATA]) == store.put(DATA[i : i + 1] for i in range(len(DATA)))
        assert store.read(HASH) == DATA

    def test_one_that_is_too_large_is_refused_and_leaves_nothing(self, make: Make):
        store = make(len(DATA) - 1)
        with pytest.raises(Refused, match=f"at most {len(DATA) - 1} bytes"):
            store.put([DATA[:100], DATA[100:]])
        assert not store.has(HASH)
        assert make(len(DATA)).put([DATA]).hash == HASH

    def test_a_producer_that_fails_leaves_nothing(self, make: Make):
        def chunks():
            yield DATA
            raise OSError("the line broke")

        store = make(100_000)
        with pytest.raises(OSError, match="the line broke"):
            store.put(chunks())
        assert not store.has(HASH)

    @pytest.mark.parametrize("absent", [ABSENT, "", "../../etc/passwd", "zz", ABSENT.replace("0", "F")])
    def test_what_is_not_there_is_not_found(self, make: Make, absent: str):
        store = make(100)
        for ask in (store.read, store.open, store.size):
            with pytest.raises(NotFound):
                ask(absent)
