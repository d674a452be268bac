"""Whose code goes along with a document's jobs."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from client_fake import FakeCluster

from kos_ray.client.code import folder_of
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
