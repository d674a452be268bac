"""The node agent as a Ray actor: Ray carries its messages, starts its slots and moves its blobs."""

import asyncio
import os
import platform
import shutil
import uuid
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import ray

import kos_ray
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.protocol import Accepted, Acked, Hello, Orders, Report, Submit
from kos_ray.runtime.agent.facts import DISK, NETWORK, Facts
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.messages import pack, unpack, unpack_all
from kos_ray.runtime.names import RAY_NAMESPACE, READER, SCHEDULER
from kos_ray.runtime.node_agent import NodeAgent
from kos_ray.runtime.slots import RaySlotStarter

#: one message's worth of a blob
CHUNK_BYTES = 4 * 2**20


class AgentActor:
    """One per Ray node: detached, no resources, tied to its node. It owns the slots: they end when it does."""

    def __init__(self, node_id: str, cluster_id: str, directory: str, blob_dir: str, limits: AgentLimits) -> None:
        known: dict[str, float] = next((row["Resources"] for row in ray.nodes() if row["NodeID"] == node_id), {})
        ours = frozenset({DISK, NETWORK} - set(known))
        self._facts = Facts(Path(directory))
        self._agent = NodeAgent(
            node=NodeId(node_id),
            cluster_id=cluster_id,
            incarnation=uuid.uuid4().hex,
            directory=Path(directory),
            starter=RaySlotStarter(node_id, ours),
            blobs=_LocalBlobs(Path(blob_dir)) if blob_dir else _RemoteBlobs(),
            uplink=_Uplink(),
            limits=limits,
            versions=(
                ("kos_ray", kos_ray.__version__),
                ("Python", platform.python_version()),
                ("Ray", ray.__version__),
            ),
        )
        self._started = asyncio.ensure_future(self._agent.start())

    async def hello(self, data: bytes) -> bytes:
        """Answer a scheduler's greeting with what is held here."""
        await self._started
        return pack(self._agent.hello(unpack(Hello, data)))

    async def orders(self, data: bytes) -> None:
        """Take orders; they are carried out after this has returned."""
        for orders in unpack_all(Orders, data):
            self._agent.receive(orders)

    async def beat(self) -> int:
        """Alive; the process id."""
        return os.getpid()

    async def lasting(self) -> tuple[dict[str, str], dict[str, int]]:
        """See `Facts.lasting`."""
        return await asyncio.to_thread(self._facts.lasting)

    async def passing(self) -> tuple[int, tuple[int, ...]]:
        """Alive; and see `Facts.passing`."""
        return self._facts.passing()

    async def read_log(self, file: str, start: int, end: int) -> bytes:
        """A part of a slot's log file on this node."""
        return self._agent.read_log(file, start, end)

    async def tail(self, key: int, attempt: int, start: int, size: int) -> bytes | None:
        """See `NodeAgent.tail`."""
        return self._agent.tail(JobKey(key), attempt, start, size)


class _Uplink:
    """Reports to the scheduler, wherever it is now."""

    def __init__(self) -> None:
        self._scheduler: Any = None

    async def send(self, report: Report) -> Acked:
        """See `Uplink`."""
        return unpack(Acked, await self._call("report", report))

    async def submit(self, submit: Submit) -> Accepted:
        """See `Uplink`."""
        return unpack(Accepted, await self._call("submit", submit))

    async def _call(self, method: str, message: Report | Submit) -> bytes:
        if self._scheduler is None:
            self._scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
        try:
            answer: bytes = await getattr(self._scheduler, method).remote(pack(message))
        except ray.exceptions.RayActorError:
            self._scheduler = None  # it may come back under another identity
            raise
        return answer


class _LocalBlobs:
    """On the head's own node: the blob store's files themselves."""

    def __init__(self, directory: Path) -> None:
        self._store = FileBlobStore(directory, max_bytes=1 << 40)

    async def fetch(self, hash_: str, path: Path) -> None:
        """See `Blobs`."""
        await asyncio.to_thread(_copy, self._store, hash_, path)

    async def store(self, path: Path) -> None:
        """See `Blobs`."""
        await asyncio.to_thread(self._put, path)

    async def bundle(self, hash_: str, directory: Path) -> None:
        """See `Blobs`."""
        await _fetch_bundle(self, hash_, directory)

    def _put(self, path: Path) -> None:
        with path.open("rb") as file:
            self._store.put(iter(lambda: file.read(CHUNK_BYTES), b""))


class _RemoteBlobs:
    """Elsewhere: in chunks through the reader actor on the head."""

    def _reader(self) -> Any:
        return ray.get_actor(READER, namespace=RAY_NAMESPACE)

    async def fetch(self, hash_: str, path: Path) -> None:
        """See `Blobs`."""
        reader, offset, digest = self._reader(), 0, sha256()
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with partial.open("wb") as file:
                while chunk := await reader.blob_read.remote(hash_, offset, CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    offset += len(chunk)
            if digest.hexdigest() != hash_:
                raise OSError(f"blob {hash_}: arrived with hash {digest.hexdigest()}")
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

    async def store(self, path: Path) -> None:
        """See `Blobs`."""
        reader, upload = self._reader(), uuid.uuid4().hex
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                await reader.blob_write.remote(upload, chunk)
        await reader.blob_finish.remote(upload)

    async def bundle(self, hash_: str, directory: Path) -> None:
        """See `Blobs`."""
        await _fetch_bundle(self, hash_, directory)


def _copy(store: FileBlobStore, hash_: str, path: Path) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with store.open(hash_, verify=True) as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK_BYTES)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


async def _fetch_bundle(blobs: "_LocalBlobs | _RemoteBlobs", hash_: str, directory: Path) -> None:
    """Fetch a zip and unpack it beside `directory`, which then appears by one rename."""
    unpacked = directory.with_name(f"{directory.name}.{uuid.uuid4().hex[:8]}")
    packed = unpacked.with_suffix(".zip")
    try:
        await blobs.fetch(hash_, packed)
        await asyncio.to_thread(_unzip, packed, unpacked, directory)
    finally:
        packed.unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)


def _unzip(packed: Path, unpacked: Path, directory: Path) -> None:
    with zipfile.ZipFile(packed) as bundle:
        bundle.extractall(unpacked)
    if not directory.exists():
        unpacked.rename(directory)
