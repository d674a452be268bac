"""Runs a process and writes down, in their order, all its calls that change files below a folder: see `shim.c`."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("=4IQ")
_SOURCE = Path(__file__).with_name("shim.c")


class Kind(IntEnum):
    """What a call did."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    RENAME = 5
    UNLINK = 6
    MKDIR = 7
    RMDIR = 8
    #: a sync that was made to fail: what it was to make durable may be lost for good
    SYNC_FAILED = 9


class Call(NamedTuple):
    """One call; paths are relative to the folder."""

    kind: Kind
    path: str
    other: str
    data: bytes
    offset: int


def compiler() -> str | None:
    """A C compiler, where there is one."""
    return shutil.which("cc") or shutil.which("gcc")


@cache
def shim(folder: Path) -> Path:
    """The shim, compiled into a folder."""
    target = folder / "shim.so"
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(target), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return target


def record(
    command: Sequence[str], root: Path, trace: Path, library: Path, *, fail: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end under the shim; `fail` is what `KOS_SHIM_FAIL` says."""
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    environment |= {"KOS_SHIM_ROOT": str(root), "KOS_SHIM_TRACE": str(trace), "KOS_SHIM_FAIL": fail}
    return subprocess.run(list(command), env=environment, capture_output=True, text=True, check=False, timeout=120)


def calls(trace: Path) -> Iterator[Call]:
    """What was recorded. Shared memory of SQLite is left out: it is made anew after a crash."""
    data = trace.read_bytes()
    at = 0
    while at < len(data):
        kind, path_size, other_size, data_size, offset = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        path, at = data[at : at + path_size].decode(), at + path_size
        other, at = data[at : at + other_size].decode(), at + other_size
        body, at = data[at : at + data_size], at + data_size
        if not path.endswith("-shm"):
            yield Call(Kind(kind), path, other, body, offset)
