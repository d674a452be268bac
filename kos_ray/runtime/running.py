"""Which clusters `kos up` has started for this user: a small file that later commands find them by.

One state directory a line, the newest last. What it says is only a hint: a cluster counts when its process lives.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from kos_ray.runtime import head as heads
from kos_ray.runtime.names import default_state_dir

#: lines that are kept; clusters that ended by themselves leave theirs behind
_KEPT = 20


def pointer_file() -> Path:
    """`kos_ray/current` in `$XDG_STATE_HOME`, else in `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME", "")
    home = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return home / "kos_ray" / "current"


def note(state_dir: Path) -> None:
    """Make a cluster the newest one. A home that cannot be written only costs the convenience."""
    _rewrite(state_dir.absolute(), state_dir.absolute())


def forget(state_dir: Path) -> None:
    """A cluster was stopped."""
    if pointer_file().exists():
        _rewrite(state_dir.absolute())


def here() -> tuple[Path, str]:
    """The state directory that is meant where nobody names one, and who says so.

    `$KOS_STATE_DIR`, else that of the newest cluster that runs, else `~/.kos_ray/default`.
    """
    if os.environ.get("KOS_STATE_DIR"):
        return default_state_dir(), "KOS_STATE_DIR"
    for state_dir in reversed(_noted()):
        if heads.read_record(state_dir) is not None:
            return state_dir, "the newest cluster that runs"
    return default_state_dir(), "default"


def none_runs() -> str:
    """Why no cluster is found here, and what to do, for whoever has named none."""
    directory, origin = here()
    if origin == "KOS_STATE_DIR":
        return f"no cluster runs in {directory} (KOS_STATE_DIR): start it by `kos up`, or name another by --address"
    ended = _noted()
    if not ended:
        return "no cluster runs here: start one by `kos up`, or name one by --address"
    again = "kos up" if ended[-1] == default_state_dir() else f"kos up --state {ended[-1]}"
    return f"no cluster runs here: the one in {ended[-1]} has ended; `{again}` goes on from its journal"


def _noted() -> list[Path]:
    """State directories of clusters that were started, the newest last."""
    try:
        with pointer_file().open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return [Path(line) for line in file.read().splitlines() if line.startswith("/")]
    except (OSError, UnicodeDecodeError):
        return []


def _rewrite(without: Path, *newest: Path) -> None:
    """Drop a line and add others, while nobody else reads or writes."""
    with contextlib.suppress(OSError):
        path = pointer_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            kept = [line for line in file.read().splitlines() if line.startswith("/") and line != str(without)]
            file.truncate(0)
            file.writelines(f"{line}\n" for line in [*kept, *map(str, newest)][-_KEPT:])
