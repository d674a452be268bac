"""The power goes: whatever was promised before is on the disk, whatever part of the rest is there.

kill -9 never tests a sync, since the kernel keeps what was written. Here all calls of a process that lives on a
journal, snapshots and blobs are recorded, and it is recovered from states that the disk may be in after each of them.
"""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.storage import explore, recorder

pytestmark = pytest.mark.skipif(
    recorder.compiler() is None and not os.environ.get("CI"), reason="no C compiler: cc or gcc is needed"
)
#: KOS_RAY_STATES=20000 looks at more
STATES = int(os.environ.get("KOS_RAY_STATES", "300"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorder.shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "root").mkdir()
    return tmp_path


def lived(folder: Path, library: Path, *plant: str, fail: str = "", rounds: int = 5) -> str:
    """Record a life; what it noted."""
    root = folder / "root"
    command = explore.life("blobs.synced", rounds, root, *plant)
    found = recorder.record(command, root, folder / "trace", library, fail=fail)
    assert found.returncode == -signal.SIGKILL, found.stderr
    return (root / "notes").read_text()


def test_what_was_promised_survives_the_loss_of_what_was_not_synced(folder: Path, library: Path) -> None:
    notes = lived(folder, library)
    assert notes.count("acked") == 16
    found = explore.explore(folder / "trace", seed=1, states=STATES)
    assert not found.problems, "\n".join(found.problems)
    assert found.states.total() >= STATES * 0.8, "it proves nothing"
    assert found.calls > 300
    assert found.syncs > 50


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        ("journal", "was acknowledged, the journal ends with"),
        ("blobs", "its content has hash"),
        ("snapshots", "was kept, found None"),
        ("names", "was kept, found None"),
    ],
)
def test_a_sync_that_is_left_out_is_found(folder: Path, library: Path, plant: str, told: str) -> None:
    """Planted: `synchronous=OFF`, blobs, snapshots and folders that are not synced."""
    lived(folder, library, plant)
    problems = explore.explore(folder / "trace", seed=1, states=200, problems_max=10).problems
    assert any(told in problem for problem in problems), problems


#: call, the how-many-th, how many of them, and what the system says
TROUBLE = [
    *[("fsync", nth, times, errno.EIO) for nth, times in ((14, 1), (12, 1), (20, 2), (37, 1), (50, 3))],
    *[("write", nth, times, errno.ENOSPC) for nth, times in ((90, 1), (105, 4), (140, 1))],
    ("write", 78, 2, errno.EIO),
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda found: ":".join(map(str, found)))
def test_what_the_disk_refuses_has_not_happened(
    folder: Path, library: Path, trouble: tuple[str, int, int, int]
) -> None:
    """And it goes on when the disk does. What a failed sync was for is lost for good: the kernel takes it for clean."""
    notes = lived(folder, library, fail=":".join(map(str, trouble)), rounds=4)
    assert notes.count("refused") >= 1, "the fault did not take effect"
    found = explore.explore(folder / "trace", seed=2, states=40)
    assert not found.problems, "\n".join(found.problems)
