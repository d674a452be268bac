"""Jobs that are commands: a process group of their own, asked by SIGTERM and ended by SIGKILL."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

#: of `prctl`: the signal that the kernel sends when the parent has died
_PR_SET_PDEATHSIG = 1


def run_command(
    command: tuple[str, ...],
    *,
    env: dict[str, str],
    directory: Path,
    wake_fd: int,
    stop_grace_ms: Callable[[], int | None],
    started: Callable[[int], None],
    dies_with_us: bool = False,
) -> int:
    """Run a command to its end and return its exit code, or the negative number of the signal that killed it.

    `wake_fd` becomes readable when `stop_grace_ms` may have an answer other than None: milliseconds from the request
    to the end by force. `started` is told the process group. Whatever the command left in its group dies with it:
    the reservation that it ran under is over. With `dies_with_us` the kernel kills it when this process dies.

    Raises:
        OSError: it cannot be started.

    """
    process = subprocess.Popen(
        command,
        env=env,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # one call of C, loaded before: nothing in it takes a lock that another thread may hold
        preexec_fn=partial(_prctl().prctl, _PR_SET_PDEATHSIG, int(signal.SIGKILL)) if dies_with_us else None,  # noqa: PLW1509
    )
    pidfd = os.pidfd_open(process.pid)
    try:
        started(process.pid)
        _wait(pidfd, process.pid, wake_fd, stop_grace_ms)
    finally:
        # The leader is a zombie until it is waited for, so that its number cannot name another group yet.
        signal_group(process.pid, signal.SIGKILL)
        os.close(pidfd)
        process.wait()
    return process.returncode


@lru_cache(maxsize=1)
def _prctl() -> ctypes.CDLL:
    """The C library, loaded before anything is forked."""
    return ctypes.CDLL(None)


def _wait(pidfd: int, group: int, wake_fd: int, stop_grace_ms: Callable[[], int | None]) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(wake_fd, select.POLLIN)
    kill_at: float | None = None
    while True:
        left = None if kill_at is None else max(0.0, kill_at - time.monotonic()) * 1000
        ready = {fd for fd, _ in poller.poll(left)}
        if pidfd in ready:
            return
        if kill_at is not None and time.monotonic() >= kill_at:
            signal_group(group, signal.SIGKILL)
            poller.unregister(wake_fd)
            poller.poll()
            return
        if wake_fd not in ready:
            continue
        grace_ms = stop_grace_ms()
        if grace_ms is None:
            continue
        if kill_at is None:
            signal_group(group, signal.SIGTERM)
        until = time.monotonic() + grace_ms / 1000
        kill_at = until if kill_at is None else min(kill_at, until)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
