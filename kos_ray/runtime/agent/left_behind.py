"""Processes that an agent notes, so that the one that comes after its death can end what still runs.

When an agent dies Ray ends its slots, and they end the commands that they have started; but a slot that is killed
beside its agent ends nothing. What is noted is exact: the process id with the time of its start by the kernel, so that
a stranger who got the number is safe.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

#: the folder in a node directory; each file is named KIND-PID-STARTED, and is empty
PROCESSES = "processes"
SLOT, COMMAND = "slot", "command"


class Noted:
    """What runs for the agent of a node directory."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / PROCESSES
        self._files: dict[int, Path] = {}

    def slot(self, pid: int) -> None:
        """A slot is there."""
        self._note(SLOT, pid)

    def command(self, pid: int) -> None:
        """A slot has started a command, which leads a process group."""
        self._note(COMMAND, pid)

    def _note(self, kind: str, pid: int) -> None:
        started = started_at(pid)
        if started is not None:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            self._files[pid] = self._folder / f"{kind}-{pid}-{started}"
            self._files[pid].touch()

    def forget(self, pid: int) -> None:
        """It has ended, or was never noted."""
        file = self._files.pop(pid, None)
        if file is not None:
            file.unlink(missing_ok=True)


def end_left_behind(directories: Iterable[Path]) -> tuple[str, ...]:
    """Kill what dead agents had noted in their node directories and what still runs; what it was, in words."""
    ended = []
    for directory in directories:
        for file in sorted((directory / PROCESSES).glob("*-*-*")):
            kind, pid, started = file.name.split("-")
            if started_at(int(pid)) == started:
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if kind == COMMAND else os.kill)(int(pid), signal.SIGKILL)
                    ended.append(f"{kind} (process {pid})")
            file.unlink(missing_ok=True)
    return tuple(ended)


def started_at(pid: int) -> str | None:
    """When a process was started, in the kernel's own count since the boot; None where none of ours runs (any more)."""
    try:
        if Path(f"/proc/{pid}").stat().st_uid != os.getuid():
            return None
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else words[19]
