"""G8 on a disk that is really full: nothing is acknowledged and nothing starts, and it goes on by itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kos_ray.observe.tables import trouble_remedy

CHILD = Path(__file__).with_name("full_disk_child.py")


def _may_mount() -> bool:
    """Whether this user may have a mount namespace of its own."""
    if os.geteuid() or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not _may_mount():
        pytest.skip("a full disk needs a mount of its own, which this user may not make")
    command = ["unshare", "-m", sys.executable, str(CHILD), str(tmp_path_factory.mktemp("disk"))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_is_accepted_and_nothing_starts_while_the_disk_is_full(seen: dict[str, Any]) -> None:
    assert seen["accepted"] > 10, "nothing happened before the disk was full"
    for word in ("refusal", "refused_at_once"):
        assert "nothing is accepted while the journal cannot write" in seen[word]
    assert seen["still"]
    assert "make room" in trouble_remedy(seen["still"], "/state")
    assert seen["sent_meanwhile"] == 0


def test_it_goes_on_by_itself_and_the_journal_tells_of_it(seen: dict[str, Any]) -> None:
    assert seen["after"] == ""
    assert seen["again"] == "Accepted"
    assert [since for since, _ in seen["resumed"]] == [seen["since"]]
    assert seen["verified"] == "True"


def test_a_blob_that_finds_no_room_is_refused_and_never_seen(seen: dict[str, Any]) -> None:
    assert len(seen["blob"]) == 2
    assert all("No space left" in text and "send it again" in text for text in seen["blob"])
    assert seen["left"] == seen["uploads"] == []
    assert seen["blob_again"] == 100_000


def test_a_scheduler_that_starts_on_a_full_disk_takes_over_when_there_is_room(seen: dict[str, Any]) -> None:
    assert seen["boot"]
    assert seen["boot_still"]
    assert (seen["boot_after"], seen["booted"], seen["epoch"]) == ("", True, 2)
