"""A slot's log: standard output and error of the whole process go to one file, cut by attempt."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO


class Output:
    """Redirects the file descriptors 1 and 2 to a file from `__init__` to `close`."""

    def __init__(self, path: Path) -> None:
        _flush()
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._saved = (os.dup(1), os.dup(2))
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)
        for stream in (sys.stdout, sys.stderr):
            # A reader who follows a running attempt sees whole lines, not blocks of 8 KiB.
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        self._stdout, self._stderr = sys.stdout, sys.stderr
        # Ray's streams look their methods up anew each time, which takes longer than flushing
        self._flush_stdout = getattr(sys.stdout, "flush", _nothing)
        self._flush_stderr = getattr(sys.stderr, "flush", _nothing)

    def position(self) -> int:
        """Bytes written so far, with what Python held back. Children write through the same open file."""
        try:
            if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
                _flush()
            else:
                self._flush_stdout()
                self._flush_stderr()
        except (ValueError, OSError):
            _flush()
        return os.lseek(self._log, 0, os.SEEK_CUR)

    def close(self) -> None:
        """Give the process its own output back."""
        _flush()
        for fd, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, fd)
            os.close(saved)
        os.close(self._log)


def _nothing() -> None:
    """What flushing comes to where there is no stream."""


def _flush() -> None:
    _flush_one(sys.stdout)
    _flush_one(sys.stderr)


def _flush_one(stream: TextIO | None) -> None:
    """User code may have closed or replaced the stream: that costs it its output, not the slot its life."""
    try:
        stream.flush()  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return
