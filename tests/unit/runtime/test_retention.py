"""Stored logs are kept as long as `log_retention_days` says."""

import os
import time
from pathlib import Path

import pytest

from kos_ray.journal.store import Journal
from kos_ray.model.errors import NotFound
from kos_ray.model.events import LogsStored
from kos_ray.model.ids import NodeId
from kos_ray.runtime.reader import ReaderActor

DAY_S = 86_400


def test_logs_are_removed_that_are_too_old(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    reader = ReaderActor(str(tmp_path))
    logs = {name: reader.blob_put(name.encode()) for name in ("old", "new")}
    result, _ = reader.blob_put(b"a result, as old")
    stored = [LogsStored(node=NodeId("n"), file=name, blob=hash_, size=size) for name, (hash_, size) in logs.items()]
    journal.append(now_us=1, epoch=1, events=stored, decisions=[])
    for hash_, days in ((logs["old"][0], 31), (logs["new"][0], 29), (result, 31)):
        path = tmp_path / "blobs" / hash_[:2] / hash_[2:4] / hash_
        os.utime(path, (time.time() - days * DAY_S,) * 2)
    assert reader.remove_logs(30) == 1
    with pytest.raises(NotFound):
        reader.blob_read(logs["old"][0], 0, 10)
    assert reader.blob_read(logs["new"][0], 0, 10) == b"new"
    assert reader.blob_read(result, 0, 8) == b"a result"
    assert reader.remove_logs(30) == 0
    journal.close()
