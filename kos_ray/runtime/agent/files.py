"""The files of one node directory: specs, blobs, spilled packets, results on their way out, logs."""

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path

from kos_ray.model.errors import NotFound
from kos_ray.model.failpoints import reach
from kos_ray.model.gang import Membership
from kos_ray.model.ids import SpecKey
from kos_ray.model.job import Spec
from kos_ray.model.wire import to_plain
from kos_ray.runtime.agent.ports import Blobs
from kos_ray.worker.packets import BLOBS, CODE, GANGS, INBOX, LOGS, OUTBOX, SCRATCH, SPECS, pack

#: `sun_path` holds 108 bytes with the final zero.
_SOCKET_PATH_MAX = 100


class SpecEntry:
    """What the agent itself needs to know of a spec."""

    __slots__ = ("command", "digest", "name", "silent_ms", "start_ms", "timeout_ms")

    def __init__(self, name: str, digest: bytes, spec: Spec) -> None:
        #: of the file in `specs/`, without its suffix
        self.name = name
        self.digest = digest
        self.timeout_ms = spec.timeout_ms
        carries = spec.carries
        self.start_ms, self.silent_ms = (carries.start_ms, carries.silent_ms) if carries is not None else (0, 0)
        self.command = bool(spec.command)


class NodeFiles:
    """The folders of a node directory, made fresh but for the content-addressed ones."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.specs: dict[SpecKey, SpecEntry] = {}
        self._gangs: set[str] = set()

    def open(self) -> None:
        """Make the folders; nobody else may look into them, since they hold code that slots run."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (SPECS, OUTBOX, INBOX, SCRATCH, GANGS):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in (SPECS, OUTBOX, INBOX, SCRATCH, GANGS, BLOBS, CODE, LOGS):
            (self.root / name).mkdir(exist_ok=True, mode=0o700)

    def socket_path(self) -> Path:
        """Where the agent listens: in the directory, or in a short temporary one where its path is too long."""
        path = self.root / "agent.sock"
        if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
            path = Path(tempfile.mkdtemp(prefix="kos-")) / "agent.sock"
        path.unlink(missing_ok=True)
        return path

    def write_spec(self, key: SpecKey, spec: Spec) -> None:
        """Write a spec's file. A key that comes back with another content (a restored journal) gets a new file."""
        plain = to_plain(spec)
        data = pack(plain)
        digest = hashlib.sha256(data).digest()
        known = self.specs.get(key)
        if known is not None and known.digest == digest:
            return
        name = f"{key}" if known is None else f"{key}-{digest.hex()[:16]}"
        write_atomic(self.root / SPECS / f"{name}.spec", data)
        self.specs[key] = SpecEntry(name, digest, spec)

    def spill(self, name: str, packet: bytes) -> None:
        """Write a packet that is too large for the queue."""
        write_atomic(self.root / INBOX / name, packet)

    def write_gang(self, name: str, membership: Membership) -> None:
        """Write down what an attempt is told of its gang; it reads that whenever it asks."""
        write_atomic(self.root / GANGS / f"{name}.json", json.dumps(to_plain(membership)).encode())
        self._gangs.add(name)

    @property
    def has_gangs(self) -> bool:
        """Whether anything is written down of gangs."""
        return bool(self._gangs)

    def remove_gang(self, name: str) -> None:
        """The attempt is over."""
        if name in self._gangs:
            self._gangs.discard(name)
            (self.root / GANGS / f"{name}.json").unlink(missing_ok=True)

    def remove_scratch(self, name: str) -> None:
        """Remove what a killed attempt left behind."""
        shutil.rmtree(self.root / SCRATCH / name, ignore_errors=True)

    def log_path(self, file: str) -> Path:
        """The path of a slot's log.

        Raises:
            NotFound: the name is not that of a file in the log folder.

        """
        if Path(file).name != file or file in {"", ".", ".."}:
            raise NotFound(f"no log of the name {file!r}")
        return self.root / LOGS / file

    def log_size(self, file: str) -> int:
        """Bytes in a log so far; 0 when there is none."""
        try:
            return self.log_path(file).stat().st_size
        except FileNotFoundError:
            return 0

    def read_log(self, file: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a log that is still on the node.

        Raises:
            NotFound: it is not, or not any more.

        """
        try:
            with self.log_path(file).open("rb") as log:
                log.seek(start)
                return log.read(max(0, end - start))
        except FileNotFoundError:
            raise NotFound(f"the log {file!r} is not on this node any more; read it from the blob store") from None

    def copy_log(self, file: str) -> Path:
        """Copy a log to the outbox under its hash, since a child of a dead slot may still write to the original."""
        partial = self.root / OUTBOX / f"{file}.part"
        digest = hashlib.sha256()
        with self.log_path(file).open("rb") as log, partial.open("wb") as copy:
            while chunk := log.read(1 << 20):
                digest.update(chunk)
                copy.write(chunk)
        return partial.replace(self.root / OUTBOX / digest.hexdigest())

    def logs(self) -> list[str]:
        """The logs in the folder."""
        return sorted(path.name for path in (self.root / LOGS).iterdir())

    def remove_log(self, file: str) -> None:
        """Remove a log that is stored elsewhere."""
        self.log_path(file).unlink(missing_ok=True)


class BlobCache:
    """Blobs on the node: fetched once for all who wait, kept while used, then dropped oldest first."""

    def __init__(self, root: Path, blobs: Blobs, bytes_max: int) -> None:
        self._root = root
        self._blobs = blobs
        self._bytes_max = bytes_max
        self._bytes = 0
        #: what is there, least recently used first; and how many attempts use it
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._uses: dict[str, int] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}

    def open(self) -> None:
        """Take in what an earlier agent left."""
        for path in (self._root / BLOBS).iterdir():
            if len(path.name) == 64:
                self._add(path.name, path.stat().st_size)
            else:
                path.unlink()
        self._shrink()

    def use(self, hashes: tuple[str, ...]) -> None:
        """Keep these blobs, as soon as they are there, until `unuse`."""
        for hash_ in hashes:
            self._uses[hash_] = self._uses.get(hash_, 0) + 1

    async def bring(self, hashes: tuple[str, ...]) -> None:
        """Bring blobs to `blobs/`; raises what the store raises."""
        await asyncio.gather(*[self._once("fetch", hash_) for hash_ in set(hashes)])

    def unuse(self, hashes: tuple[str, ...]) -> None:
        """The inverse of `use`."""
        for hash_ in hashes:
            left = self._uses[hash_] - 1
            if left:
                self._uses[hash_] = left
            else:
                del self._uses[hash_]
        self._shrink()

    async def keep(self, hash_: str) -> None:
        """Store a file of the outbox durably, then move it among the blobs for whoever needs it next here."""
        await self._once("store", hash_)

    async def keep_surely(self, hash_: str, pause_s: float) -> bool:
        """See `keep`, however often it takes; False when there is no such file."""
        while True:
            try:
                await self.keep(hash_)
            except FileNotFoundError:
                return False
            except Exception:  # noqa: BLE001 - the store is elsewhere and may come back
                await asyncio.sleep(pause_s)
            else:
                return True

    async def _once(self, what: str, hash_: str) -> None:
        """Do the same thing once for all who ask for it at the same time."""
        task = self._under_way.get((what, hash_))
        if task is None:
            work = self._fetch(hash_) if what == "fetch" else self._store(hash_)
            task = self._under_way[what, hash_] = asyncio.create_task(work)
            task.add_done_callback(lambda _: self._under_way.pop((what, hash_)))
        await asyncio.shield(task)

    async def _fetch(self, hash_: str) -> None:
        if hash_ in self._sizes:
            self._sizes.move_to_end(hash_)
            return
        path = self._root / BLOBS / hash_
        await self._blobs.fetch(hash_, path)
        self._add(hash_, path.stat().st_size)
        self._shrink()

    async def _store(self, hash_: str) -> None:
        path = self._root / OUTBOX / hash_
        if not path.exists() and hash_ in self._sizes:
            return  # another attempt had the same result, and it is stored
        reach("agent.before_blob")
        await self._blobs.store(path)
        reach("agent.after_blob")
        size = path.stat().st_size
        path.replace(self._root / BLOBS / hash_)
        self._add(hash_, size)
        self._shrink()

    def _add(self, hash_: str, size: int) -> None:
        self._bytes += size - self._sizes.pop(hash_, 0)
        self._sizes[hash_] = size

    def _shrink(self) -> None:
        """Drop unused blobs, oldest first, but never the newest: its maker may still report it."""
        if self._bytes <= self._bytes_max:
            return
        for hash_ in list(self._sizes)[:-1]:
            if hash_ in self._uses:
                continue
            self._bytes -= self._sizes.pop(hash_)
            (self._root / BLOBS / hash_).unlink(missing_ok=True)
            if self._bytes <= self._bytes_max:
                return


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file that others see whole or not at all. Not synced: a node directory does not outlive its node."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)
