"""The blobs on a node: dropped oldest first when they are too many, whatever others have done to the files."""

from pathlib import Path
from typing import Any, cast

from kos_ray.runtime.agent.files import BlobCache
from kos_ray.worker.packets import BLOBS


def test_a_blob_that_somebody_has_removed_is_dropped_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / BLOBS
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / (name * 64)).write_bytes(bytes(10))
    cache = BlobCache(tmp_path, cast("Any", None), bytes_max=30)
    cache.open()
    oldest, *_, newest = cache._sizes
    (folder / oldest).unlink()
    cache._bytes_max = 10
    cache.unuse(())
    assert [path.name for path in folder.iterdir()] == [newest]
