"""A disk as it may be after a power cut: what was synced is there, of what was not, any part.

As in "All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014): calls are recorded once, and the states that
a crash may leave are built from them. What is assumed of a file system is little: a sync of a file makes its content
durable, one of a folder the names in it; names that were not synced become durable in their order, or not; the content
of a file that was not synced in any order, in part, and torn at sectors.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.crash.storage.recorder import Call, Kind

SECTOR = 512
#: folders that were there before, and are durable
_ROOT = "."


@dataclass
class File:
    """Content that is durable, and changes that are not: `(offset, data)`, or `(size, None)` for a truncation."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


#: one change of names: paths that go, and paths that come with what they stand for (None: a folder)
Change = tuple[tuple[str, ...], tuple[tuple[str, File | None], ...]]


class Disk:
    """Follows recorded calls; `crashed` writes a state that is possible after those so far."""

    def __init__(self) -> None:
        #: as processes see it
        self._seen: dict[str, File | None] = {}
        self._durable: dict[str, File | None] = {}
        self._pending: list[Change] = []

    def follow(self, call: Call) -> None:
        """Carry out one call."""
        kind, path = call.kind, call.path
        if kind in (Kind.CREATE, Kind.MKDIR):
            self._names(((), ((path, File() if kind is Kind.CREATE else None),)))
        elif kind in (Kind.UNLINK, Kind.RMDIR):
            self._names(((path,), ()))
        elif kind is Kind.RENAME:
            self._names(((path,), ((call.other, self._seen[path]),)))
        elif kind is Kind.WRITE:
            self._file(path).pending.append((call.offset, call.data))
        elif kind is Kind.TRUNCATE:
            self._file(path).pending.append((call.offset, None))
        elif kind is Kind.SYNC:
            self._sync(path)
        elif self._seen[path] is not None:
            # After a sync that failed, the kernel takes what it had for clean: only what is written again comes there.
            self._file(path).pending.clear()

    def text(self, path: str) -> str:
        """A file as processes see it; "" where it is not there."""
        file = self._seen.get(path)
        if file is None:
            return ""
        content = bytearray(file.durable)
        for change in file.pending:
            _apply(content, change)
        return content.decode()

    def crashed(self, chance: random.Random, how: str, target: Path) -> None:
        """Write one state. `how`: "nothing" or "everything" of what was not synced is there, or "some"."""
        count = {"nothing": 0, "everything": len(self._pending)}.get(how, chance.randint(0, len(self._pending)))
        names = dict(self._durable)
        for change in self._pending[:count]:
            _rename(names, change)
        for path, file in names.items():
            if file is None:
                (target / path).mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, file in names.items():
            if file is not None and (target / path).parent.is_dir():
                (target / path).write_bytes(_content(file, chance, how))

    def _file(self, path: str) -> File:
        file = self._seen[path]
        assert file is not None, path
        return file

    def _names(self, change: Change) -> None:
        _rename(self._seen, change)
        self._pending.append(change)

    def _sync(self, path: str) -> None:
        file = self._seen.get(path)
        if file is not None:
            for change in file.pending:
                _apply(file.durable, change)
            file.pending.clear()
            return
        kept = []
        for change in self._pending:
            if any(str(PurePosixPath(name).parent) == path for name in (*change[0], *(new for new, _ in change[1]))):
                _rename(self._durable, change)
            else:
                kept.append(change)
        self._pending = kept


def _rename(names: dict[str, File | None], change: Change) -> None:
    for path in change[0]:
        names.pop(path, None)
    names.update(change[1])


def _apply(content: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, data = change
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _content(file: File, chance: random.Random, how: str) -> bytes:
    content = bytearray(file.durable)
    pending = file.pending if how != "nothing" else []
    if how == "some" and chance.random() < 0.5:
        # in their order up to one that is torn
        pending = pending[: chance.randint(0, len(pending))]
        if pending and pending[-1][1]:
            offset, data = pending[-1]
            assert data is not None
            pending = [*pending[:-1], (offset, data[: chance.randrange(0, len(data) + 1, SECTOR)])]
    elif how == "some":
        pending = [change for change in pending if chance.random() < 0.5]
    for change in pending:
        _apply(content, change)
    return bytes(content)
