"""Whose code goes along with a document's jobs."""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from client_fake import FakeCluster

from kos_ray.client import code
from kos_ray.client.code import Bundles, folder_of
from kos_ray.model.errors import InvalidSpec
from kos_ray.spec.load import load_text
from kos_ray.spec.lower import lower


def test_the_first_folder_that_holds_the_module_is_meant(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "package").mkdir(parents=True)
    (one / "alone.py").touch()
    (two / "alone.py").touch()
    (two / "package" / "__init__.py").touch()
    (one / "package" / "inner.py").touch()
    found = {name: folder_of(f"{name}:run", [one, two]) for name in ("alone", "package", "package.inner", "random")}
    assert found == {"alone": one, "package": two, "package.inner": one, "random": None}


def test_only_jobs_of_the_folder_take_its_code_along(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text("def run():\n    return 1\n")
    text = json.dumps([{"entry": "ours:run"}, {"entry": "random:random"}, {"run": "true"}])
    cluster = FakeCluster(running=False)
    with cluster.client() as client:
        client.submit_drafts(lower([load_text(text)]), code=[tmp_path])
        with pytest.raises(InvalidSpec, match="more than 2000 files"):
            client.submit_drafts(lower([load_text(text)]), code=[_with_many_files(tmp_path / "many")])
    codes = {spec.entry or "command": spec.code for spec in cluster.specs.values()}
    assert codes["ours:run"] in {sha256(data).hexdigest() for data in cluster.blobs.values()}
    assert (codes["random:random"], codes["command"]) == ("", "")


def _with_many_files(folder: Path) -> Path:
    folder.mkdir()
    (folder / "ours.py").touch()
    for number in range(2_000):
        (folder / f"{number}.txt").touch()
    return folder


def _past(folder: Path) -> None:
    """As if nothing had changed for a while."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))


def test_a_folder_is_looked_through_again_when_something_has_changed_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package" / "deep").mkdir(parents=True)
    (tmp_path / "package" / "deep" / "inner.py").write_text("one = 1\n")
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "pyvenv.cfg").touch()
    (tmp_path / "environment" / "not_ours.py").touch()
    scans: list[Path] = []
    files = code._files
    monkeypatch.setattr(code, "_files", lambda folder: (scans.append(folder), files(folder))[1])
    bundles, seen = Bundles(), set()

    def check(*, looks: int) -> None:
        scans.clear()
        found = bundles.of_folder(tmp_path)
        assert len(scans) == looks
        assert found == Bundles().of_folder(tmp_path)
        seen.add(found[0])

    inner = tmp_path / "package" / "deep" / "inner.py"
    changes: tuple[Callable[[], object], ...] = (
        lambda: inner.write_text("one = 2\n"),
        lambda: (tmp_path / "package" / "other.py").write_text(""),
        (tmp_path / "package" / "other.py").unlink,
        lambda: inner.rename(inner.with_name("renamed.py")),
        (tmp_path / "environment" / "pyvenv.cfg").unlink,
    )
    for change, bundles_seen in zip(changes, (2, 3, 3, 4, 5), strict=True):
        _past(tmp_path)
        check(looks=1)
        check(looks=0)
        change()
        check(looks=1)
        check(looks=1)  # it has just changed: it may change again at the same instant
        assert len(seen) == bundles_seen
