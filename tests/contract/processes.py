"""Ports of the node agent for tests: slots as plain child processes, a store of blobs in a folder."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from kos_ray.model.job import SlotKind
from kos_ray.worker.results import describe_exit

_CODE = """
import sys
from kos_ray.worker.boot import boots
boots(*sys.argv[1:])
from kos_ray.worker.slot import run_slot
run_slot(*sys.argv[1:])
"""


class ProcessSlot:
    """A slot in a child process of the test."""

    def __init__(self, process: "subprocess.Popen[bytes] | None") -> None:
        self.process = process
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def cancel(self) -> None:
        self.kill()
        if not self.done.done():
            self.done.set_result("it was cancelled")

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


class ProcessStarter:
    """Starts children; `held_back` starts nothing, as a cluster whose room is taken by others."""

    def __init__(self) -> None:
        self.held_back = False
        self.broken = False
        self.slots: list[ProcessSlot] = []
        self.kinds: list[SlotKind] = []

    def start(self, slot_id: str, kind: SlotKind, socket_path: str) -> ProcessSlot:
        self.kinds.append(kind)
        slot = ProcessSlot(None)
        self.slots.append(slot)
        if not self.held_back:
            code = "raise SystemExit(3)" if self.broken else _CODE
            command = [sys.executable, "-c", code, socket_path, slot_id]
            slot.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            loop = asyncio.get_running_loop()
            fd = os.pidfd_open(slot.process.pid)
            loop.add_reader(fd, self._ended, loop, fd, slot)
        return slot

    def node_alive(self) -> bool:
        return True

    def _ended(self, loop: asyncio.AbstractEventLoop, fd: int, slot: ProcessSlot) -> None:
        loop.remove_reader(fd)
        os.close(fd)
        assert slot.process is not None
        code = slot.process.wait()
        if not slot.done.done():
            slot.done.set_result(f"it {describe_exit(code)}" if code else "")

    def end_all(self) -> None:
        for slot in self.slots:
            if slot.process is not None:
                slot.kill()
                slot.process.wait()


class FolderBlobs:
    """A folder by hash; `failing` raises on every call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failing = False
        self.calls: list[tuple[str, str]] = []
        folder.mkdir(parents=True, exist_ok=True)

    async def fetch(self, hash_: str, path: Path) -> None:
        self._note("fetch", hash_)
        shutil.copyfile(self.folder / hash_, path)

    async def store(self, path: Path) -> None:
        self._note("store", path.name)
        shutil.copyfile(path, self.folder / path.name)

    async def bundle(self, hash_: str, directory: Path) -> None:
        self._note("bundle", hash_)
        shutil.copytree(self.folder / hash_, directory)

    def _note(self, what: str, hash_: str) -> None:
        self.calls.append((what, hash_))
        if self.failing:
            raise OSError("the store is away")
