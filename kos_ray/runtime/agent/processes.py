"""Killing processes with all that they have started."""

import contextlib
import os
import signal
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """All processes below `pid` that the kernel still knows as such, nearest first."""
    found: list[int] = []
    todo = [pid]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = [int(word) for word in (task / "children").read_text().split()]
                found += children
                todo += children
    return found


def kill_tree(pidfd: int, pid: int) -> None:
    """Kill a process and its descendants. It goes first, so that it cannot start more.

    `pidfd` proves that `pid` has not been given to another process; a process that is gone already is passed over.
    """
    below = descendants(pid)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    for child in below:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
