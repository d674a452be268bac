"""`kos doctor`: is all as it should be, here and in the cluster."""

# ruff: noqa: PLC0415 - what is heavy is imported inside of the commands: `kos --help` answers at once

import contextlib
import os
import platform
import shutil
import socket
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from kos_ray.cli.output import emit, now_us, say, show_panel
from kos_ray.cli.settings import cluster_address, state_directory
from kos_ray.cli.shell import Address, Exit, Json, Namespace, State, example, open_client
from kos_ray.model.errors import KosError
from kos_ray.observe import health
from kos_ray.observe.health import Finding

EXAMPLE = example(
    "kos doctor", "kos doctor --fix", "kos doctor --deep --json | jq '.findings[] | select(.level != \"ok\")'"
)
#: a journal up to this size is folded without being asked for
_FOLD_BYTES = 32 * 2**20


def doctor(
    state: State = None,
    deep: Annotated[bool, typer.Option("--deep", help="Fold the journal however large it is.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="End what is left of ours and nobody answers for.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Look at versions, disk, ports, authentication, head, journal, clock and leaks; exit code 1 where one is bad.

    Works without a cluster. Leaks are actors and processes of kos_ray that nobody answers for.
    """
    began = (time.time_ns(), time.monotonic_ns())
    directory = Path(state_directory(state).value)
    where = cluster_address(address, directory)
    own_head = bool(where.value) and not address
    found = health.versions(version("kos_ray"), platform.python_version(), _installed("ray"))
    found += [_disk(directory), health.files_limit(_open_files()), *_journal(directory, deep=deep)]
    found.append(health.authentication(os.environ.get("RAY_AUTH_MODE", ""), own_head=own_head, remote=bool(address)))
    in_cluster, ahead_us = _cluster(where.value, address, namespace, fix=fix)
    drift_us = ((time.time_ns() - began[0]) - (time.monotonic_ns() - began[1])) // 1_000
    found += [*in_cluster, *health.clock(drift_us, ahead_us)]
    bad = sum(one.level == "bad" for one in found)
    if as_json:
        emit({"healthy": not bad, "findings": found})
    else:
        show_panel(health.finding_panel(found))
        warned = sum(one.level == "warn" for one in found)
        say(f"{len(found)} looked at: {bad} bad, {warned} to be seen to")
    if bad:
        raise typer.Exit(Exit.NEGATIVE)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _disk(directory: Path) -> Finding:
    """The nearest directory that is there: `kos up` makes the rest."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    return health.disk(str(directory), free, _file_system(there), writable=os.access(there, os.W_OK | os.X_OK))


def _file_system(path: Path) -> str:
    """The type of the file system that holds a path, as the kernel calls it, "" where it does not say."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[2] == wanted:
                return words[words.index("-") + 1]
    return ""


def _open_files() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return -1 if soft == resource.RLIM_INFINITY else soft


def _journal(directory: Path, *, deep: bool) -> list[Finding]:
    from kos_ray.runtime import connect

    path = directory / connect.DATABASE
    size, wal = _size(path), _size(path.with_name(f"{path.name}-wal"))
    problems = None
    if size >= 0 and (deep or size <= _FOLD_BYTES):
        try:
            problems = connect.verify(state_dir=directory).problems
        except KosError as error:
            problems = (str(error),)
    return health.journal(str(path), size, max(wal, 0), problems)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _cluster(where: str, address: str | None, namespace: str, *, fix: bool) -> tuple[list[Finding], int]:
    """What is to be said of the cluster, and by how much its newest event is ahead of our clock."""
    if not where:
        text = "none runs here"
        return [Finding(level="warn", subject="cluster", text=text, remedy="kos up starts one; --address names one")], 0
    found = [health.port(where, answers=_answers(where))] if ":" in where else []
    if found and found[0].level == "bad":
        return found, 0
    try:
        with open_client(address, namespace) as client:
            status = client.status()
            newest = client.events(max(status.seq - 1, 0), 1)
    except KosError as error:
        first = str(error).partition("\n")[0]
        found.append(Finding(level="bad", subject="cluster", text=first, remedy="kos up, or look into its log"))
        return [*found, *_leaks(address, fix=fix)], 0
    ahead_us = newest[-1].at_us - now_us() if newest else 0
    found += [*health.cluster(status), *health.node_versions(status.nodes, version("kos_ray"))]
    return [*found, *_leaks(address, fix=fix)], ahead_us


def _leaks(address: str | None, *, fix: bool) -> list[Finding]:
    """What nobody answers for, where the Ray cluster can be asked at all."""
    from kos_ray.runtime import connect

    with contextlib.suppress(KosError):
        return health.leaks(connect.leaks(address, end=fix))
    return []


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except (OSError, ValueError):
        return False
