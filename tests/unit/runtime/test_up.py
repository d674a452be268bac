"""What `up` refuses."""

import shutil
from pathlib import Path

import pytest

from kos_ray.journal.schema import JournalUnusable
from kos_ray.model.errors import Refused
from kos_ray.runtime import head as heads
from kos_ray.runtime import running
from kos_ray.runtime.connect import _check_state_dir, up
from kos_ray.runtime.opening import open_journal


def test_another_directory_than_the_running_scheduler_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[Path] = []
    monkeypatch.setattr(running, "forget", forgotten.append)
    (tmp_path / "link").symlink_to(tmp_path / "state")
    answer = {"state_dir": str(tmp_path / "state"), "cluster_id": "c1"}
    _check_state_dir(tmp_path / "state", answer)
    _check_state_dir(tmp_path / "link", answer)
    with pytest.raises(Refused, match=f"{tmp_path}/state .cluster c1., found {tmp_path}/copy; leave --state out"):
        _check_state_dir(tmp_path / "copy", answer)
    assert forgotten == [tmp_path / "copy"]


def test_a_copy_is_refused_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(heads, "start", lambda state_dir, _cpus: started.append(state_dir))
    open_journal(tmp_path / "state", adopt=False)[0].close()
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    with pytest.raises(JournalUnusable, match="copy --adopt"):
        up(state_dir=tmp_path / "copy")
    assert started == []
