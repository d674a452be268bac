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
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.protocol import Accepted, Acked, Hello, Orders, Renew, Renewed, Report, Submit
from kos_ray.runtime.agent.facts import DISK, NETWORK, Facts
from kos_ray.runtime.agent.left_behind import end_left_behind
from kos_ray.runtime.agent.ports import AgentLimits
from kos_ray.runtime.agent.samples import Samples, Sampling
from kos_ray.runtime.channel import Channel, ChannelBroken, Door, DoorAt
from kos_ray.runtime.messages import pack, unpack, unpack_all
from kos_ray.runtime.names import RAY_NAMESPACE, READER, SCHEDULER, node_directories
from kos_ray.runtime.node_agent import NodeAgent
from kos_ray.runtime.slots import RaySlotStarter
from kos_ray.worker import failpoint

#: one message's worth of a blob
CHUNK_BYTES = 4 * 2**20


class AgentActor:
    """One per Ray node: detached, no resources, tied to its node. It owns the slots: they end when it does."""

    def __init__(self, node_id: str, cluster_id: str, directory: str, blob_dir: str, limits: AgentLimits) -> None:
        failpoint.arm()
        reach("agent.boots")
        known: dict[str, float] = next((row["Resources"] for row in ray.nodes() if row["NodeID"] == node_id), {})
        ours = frozenset({DISK, NETWORK} - set(known))
        self._facts = Facts(Path(directory))
        self._sampling = Sampling(Samples(known))
        self._uplink = _Uplink()
        self._agent = NodeAgent(
            node=NodeId(node_id),
            cluster_id=cluster_id,
            incarnation=uuid.uuid4().hex,
            directory=Path(directory),
            starter=RaySlotStarter(node_id, ours),
            blobs=_LocalBlobs(Path(blob_dir)) if blob_dir else _RemoteBlobs(),
            uplink=self._uplink,
            limits=limits,
            versions=(
                ("kos_ray", kos_ray.__version__),
                ("Python", platform.python_version()),
                ("Ray", ray.__version__),
            ),
            left_behind=end_left_behind(node_directories(node_id)),
        )
        self._started = asyncio.ensure_future(self._agent.start())
        self._door = Door(ray.util.get_node_ip_address(), (self.orders, self.passing))
        self._opened = asyncio.ensure_future(self._door.run())

    async def hello(self, data: bytes) -> bytes:
        """Answer a scheduler's greeting with what is held here."""
        await self._started
        hello = unpack(Hello, data)
        holding = self._agent.hello(hello)
        if not holding.refused:
            self._uplink.greeted(hello.epoch)
        return pack(holding)

    async def orders(self, data: bytes) -> None:
        """Take orders; they are carried out after this has returned."""
        for orders in unpack_all(Orders, data):
            self._agent.receive(orders)

    async def door(self) -> DoorAt:
        """Where orders and heartbeats come in directly."""
        return self._door.at

    async def beat(self) -> int:
        """Alive; the process id."""
        return os.getpid()

    async def lasting(self) -> tuple[dict[str, str], dict[str, int]]:
        """See `Facts.lasting`."""
        return await asyncio.to_thread(self._facts.lasting)

    async def passing(self) -> tuple[int, tuple[int, ...], tuple[tuple[str, int, bool], ...], tuple[Any, ...]]:
        """Alive; and see `Facts.passing`, `NodeAgent.starting` and `Sample`."""
        sample = await self._sampling.fresh(self._agent.processes())
        return *self._facts.passing(), self._agent.starting(), sample.to_wire()

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
        #: to that scheduler; None: not looked for yet, or its door does not open for us
        self._channel: Channel | None = None
        self._looking = asyncio.Lock()
        self._epoch = 0

    def greeted(self, epoch: int) -> None:
        """A scheduler has greeted. Where it is another one than before, that one is not asked any more: it may hang."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._scheduler = None
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    async def send(self, report: Report) -> Acked:
        """See `Uplink`."""
        return unpack(Acked, await self._call("report", report))

    async def submit(self, submit: Submit) -> Accepted:
        """See `Uplink`."""
        return unpack(Accepted, await self._call("submit", submit))

    async def renew(self, renew: Renew) -> Renewed:
        """See `Uplink`."""
        return unpack(Renewed, await self._call("renew", renew))

    async def _call(self, method: str, message: Report | Submit | Renew) -> bytes:
        try:
            async with self._looking:
                if self._scheduler is None:
                    scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
                    self._channel = await _open(scheduler)
                    self._scheduler = scheduler
            if self._channel is not None:
                found: bytes = await self._channel.call(method, pack(message))
                return found
            answer: bytes = await getattr(self._scheduler, method).remote(pack(message))
        except (ray.exceptions.RayActorError, ChannelBroken):
            self._scheduler = None  # it may come back under another identity, and has another door then
            raise
        return answer


async def _open(scheduler: Any) -> Channel | None:
    """A channel to the scheduler, where its door opens for us."""
    at = (await scheduler.greet.remote()).get("door")
    try:
        return None if at is None else await Channel.open(DoorAt(*at))
    except ChannelBroken:
        return None


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
        found, _ = await reader.blob_finish.remote(upload)
        if found != path.name:
            raise OSError(f"blob {path.name}: arrived with hash {found}, in part: the reader has been started anew")

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
