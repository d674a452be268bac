"""The body of a replayed workflow task: it burns CPU and reads and writes files as its record says.

Runs inside workers, by the entry point `kos_ray.spec.replay:replay_task`; imports the standard library only. Contents
are a pure function of the workflow: of a file's name where no task makes it, else of the task and everything that it
has read. So every run of a workflow ends with the same digests, wherever its tasks ran.
"""

import hashlib
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20
_SPIN_BLOCK = bytes(1 << 16)


def replay_task(task: dict[str, Any], *parents: dict[str, Any]) -> dict[str, Any]:
    """Runs one recorded task; `parents` are the results of the tasks that made its inputs.

    `task` holds `id`, `cpu_seconds`, `inputs` (`name`, `size` in bytes, `made`: whether a parent made it) and
    `outputs` (`name`, `size`, `keep`: whether a child needs it). The result holds `task`, `files` (the kept contents
    by name), `inputs` and `outputs` (`size` and `sha256` by name), `digest` (of all outputs), and `cpu_seconds`, the
    time that this thread really spent on a processor.

    Raises:
        ValueError: a parent's result lacks a file, or has one of another size than recorded.

    """
    started = time.thread_time()
    with tempfile.TemporaryDirectory(prefix="kos-replay-") as scratch:
        read = _read_inputs(task, parents, Path(scratch))
        # what reading has cost is part of the recorded time
        _burn(task["cpu_seconds"], started)
        kept, written = _write_outputs(task, read, Path(scratch))
    return {
        "task": task["id"],
        "files": kept,
        "inputs": read,
        "outputs": written,
        "digest": _digest(task["id"], written),
        "cpu_seconds": time.thread_time() - started,
    }


def content(seed: str, size: int) -> Iterator[bytes]:
    """`size` bytes that depend on `seed` alone, in chunks; incompressible, so that nothing downstream cheats."""
    for index, start in enumerate(range(0, size, CHUNK_BYTES)):
        yield hashlib.shake_128(f"{seed}\0{index}".encode()).digest(min(CHUNK_BYTES, size - start))


def _read_inputs(task: dict[str, Any], parents: tuple[dict[str, Any], ...], scratch: Path) -> dict[str, Any]:
    """Puts every input into the scratch directory, then reads it back; sizes and digests by name."""
    read = {}
    for index, item in enumerate(task["inputs"]):
        path = scratch / f"in-{index:05}-{_safe(item['name'])}"
        _write(path, _made_by(parents, item) if item["made"] else content(f"source/{item['name']}", item["size"]))
        read[item["name"]] = _read(path)
    return read


def _made_by(parents: tuple[dict[str, Any], ...], item: dict[str, Any]) -> Iterator[bytes]:
    name = item["name"]
    data = next((parent["files"][name] for parent in parents if name in parent["files"]), None)
    if data is None:
        held = [parent["task"] for parent in parents]
        raise ValueError(f"expected the file {name!r} in the results of {held}, found it in none")
    if len(data) != item["size"]:
        raise ValueError(f"expected {item['size']} bytes in {name!r}, found {len(data)}")
    yield data


def _write_outputs(
    task: dict[str, Any], read: dict[str, Any], scratch: Path
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Writes every output and reads back what children need."""
    seed = _digest(task["id"], read)
    kept, written = {}, {}
    for index, item in enumerate(task["outputs"]):
        name = item["name"]
        path = scratch / f"out-{index:05}-{_safe(name)}"
        _write(path, content(f"{name}\0{seed}", item["size"]))
        written[name] = _read(path)
        if item["keep"]:
            kept[name] = path.read_bytes()
        path.unlink()
    return kept, written


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _read(path: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def _digest(task_id: str, files: dict[str, Any]) -> str:
    lines = [task_id, *(f"{name}\0{files[name]['sha256']}" for name in sorted(files))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _burn(cpu_seconds: float, started: float) -> None:
    """Keeps this thread busy until it has used `cpu_seconds` since `started`; hashing lets other threads in."""
    while time.thread_time() - started < cpu_seconds:
        hashlib.sha256(_SPIN_BLOCK).digest()


def _safe(name: str) -> str:
    """A file name for any recorded name, which may hold folders, `..`, or be too long."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:]
