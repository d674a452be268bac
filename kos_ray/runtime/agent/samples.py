"""What a node uses now, measured once a heartbeat: CPU, memory, network, disk, battery, and each attempt's processes.

Several nodes may share a machine, and a node may be given less than its machine has. So of CPU and memory the larger
share counts: what is used of the machine, or what the node's own processes use of what the node declares. Rates and
shares of time are differences between two measurements; the first one has none.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from kos_ray.model.sample import BATTERY, CPU, DISK, MEMORY, NETWORK, WHOLE, Sample, Use
from kos_ray.runtime.agent.gpus import Read, read, shares

#: a heartbeat does not wait longer for its sample: the one before goes along once more, as `at_us` tells
_WAIT_S = 0.5
_TICKS_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MBIT = 1_000_000
_LOOPBACK = "lo"
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


class Running(NamedTuple):
    """A slot's process, and the attempt that it runs (0, 0 for none)."""

    key: int
    attempt: int
    pid: int


class _Counters(NamedTuple):
    """What grows: an instant in seconds, bytes by direction, and milliseconds in which each disk was busy."""

    at: float
    moved: dict[str, int]
    busy_ms: dict[str, int]


class Samples:
    """One node's measurements. `declared` is what Ray says that the node has, `gpus` reads its GPUs."""

    def __init__(
        self,
        declared: Mapping[str, float],
        gpus: Read = read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cores = declared.get("CPU", 0) or psutil.cpu_count() or 1
        self._bytes = int(declared.get("memory", 0))
        self._gpus = gpus if declared.get("GPU") else tuple
        self._clock = clock
        self._before: _Counters | None = None
        #: seconds of processor by process
        self._cpu_s: dict[int, float] = {}
        psutil.cpu_percent()

    def take(self, running: Sequence[Running]) -> Sample:
        """Measure now; `running` are the node's own slots. Takes some milliseconds."""
        now, before = _counters(self._clock()), self._before
        self._before = now
        loads: dict[str, int] = {}
        rates: dict[str, int] = {}
        passed_s = now.at - before.at if before else 0.0
        if before and passed_s > 0:
            loads[CPU] = min(WHOLE, round(psutil.cpu_percent() * 10))
            rates = {name: _grown(now.moved, before.moved, name, passed_s) for name in now.moved}
            loads |= _io_shares(now, before, passed_s, rates)
        loads[MEMORY] = _machine_memory()
        loads |= _battery()
        gpus = self._gpus()
        loads |= shares(gpus)
        uses, cpu, memory = self._used(running, passed_s)
        if before:
            loads[CPU] = max(loads.get(CPU, 0), min(WHOLE, cpu))
        loads[MEMORY] = max(loads[MEMORY], min(WHOLE, memory))
        return Sample(loads=loads, rates=rates, uses=uses, gpus=gpus, at_us=time.time_ns() // 1_000)

    def _used(self, running: Sequence[Running], passed_s: float) -> tuple[tuple[Use, ...], int, int]:
        """What each attempt uses, and which shares of the node's CPUs and memory all slots use together."""
        if not running:
            self._cpu_s = {}
            return (), 0, 0
        table = _processes()
        known, self._cpu_s = self._cpu_s, {}
        uses, cores, held = [], 0.0, 0
        for slot in running:
            tree = _tree(table, slot.pid)
            spent_s = 0.0
            for pid in tree:
                self._cpu_s[pid] = table[pid].cpu_s
                spent_s += max(0.0, table[pid].cpu_s - known.get(pid, table[pid].cpu_s if passed_s else 0.0))
            used = spent_s / passed_s if passed_s > 0 else 0.0
            memory = sum(map(_private_bytes, tree))
            cores, held = cores + used, held + memory
            if slot.key:
                loads = {CPU: round(used / self._cores * WHOLE), MEMORY: self._share(memory)}
                uses.append(Use(slot.key, slot.attempt, loads, round(used * WHOLE), memory))
        return tuple(uses), round(cores / self._cores * WHOLE), self._share(held)

    def _share(self, held: int) -> int:
        """Which share of the node's memory so many bytes are."""
        return round(held / (self._bytes or psutil.virtual_memory().total) * WHOLE)


class Sampling:
    """Measures for heartbeats, in a thread of its own: nothing that is done here waits for it."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="samples")
        self._taking: asyncio.Future[Sample] | None = None
        self._newest = Sample()

    async def fresh(self, running: Sequence[Running]) -> Sample:
        """What the node uses now; the measurement before where this one takes long. Never raises."""
        if self._taking is None:
            loop = asyncio.get_running_loop()
            self._taking = loop.run_in_executor(self._thread, self._samples.take, running)
        done, _ = await asyncio.wait((self._taking,), timeout=_WAIT_S)
        if done:
            taken, self._taking = self._taking, None
            if taken is not None and not taken.cancelled() and taken.exception() is None:
                self._newest = taken.result()
        return self._newest


# --- the machine


def _counters(now: float) -> _Counters:
    moved: dict[str, int] = {}
    busy: dict[str, int] = {}
    with contextlib.suppress(OSError, RuntimeError):
        cards = [found for name, found in psutil.net_io_counters(pernic=True).items() if name != _LOOPBACK]
        moved["received"], moved["sent"] = sum(c.bytes_recv for c in cards), sum(c.bytes_sent for c in cards)
    with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
        whole: Any = psutil.disk_io_counters()
        if whole is not None:
            moved["read"], moved["written"] = whole.read_bytes, whole.write_bytes
        disks: Any = psutil.disk_io_counters(perdisk=True) or {}
        busy = {name: found.busy_time for name, found in disks.items() if hasattr(found, "busy_time")}
    return _Counters(now, moved, busy)


def _grown(now: Mapping[str, int], before: Mapping[str, int], name: str, passed_s: float) -> int:
    """By how much a second; a counter that began anew has not grown."""
    return max(0, round((now[name] - before.get(name, now[name])) / passed_s))


def _io_shares(now: _Counters, before: _Counters, passed_s: float, rates: Mapping[str, int]) -> dict[str, int]:
    """Of the fastest network card what the busier direction uses; of the busiest disk the share of time."""
    shares = {}
    speeds = [found.speed for found in psutil.net_if_stats().values() if found.isup and found.speed]
    if speeds and "received" in rates:
        bits = 8 * max(rates["received"], rates["sent"])
        shares[NETWORK] = min(WHOLE, round(bits / (max(speeds) * _MBIT) * WHOLE))
    if now.busy_ms:
        busiest = max(_grown(now.busy_ms, before.busy_ms, name, passed_s) for name in now.busy_ms)
        shares[DISK] = min(WHOLE, busiest)
    return shares


def _machine_memory() -> int:
    """Of the machine's memory, or of what its control group may use, whichever is fuller; caches do not count."""
    found = psutil.virtual_memory()
    share = round((found.total - found.available) / found.total * WHOLE)
    with contextlib.suppress(OSError, ValueError, StopIteration):
        most = int((_CGROUP / "memory.max").read_text())
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        used = int((_CGROUP / "memory.current").read_text()) - cached
        share = max(share, round(used / most * WHOLE))
    return min(WHOLE, share)


def _battery() -> dict[str, int]:
    sensors: Any = getattr(psutil, "sensors_battery", None)
    found = sensors() if sensors else None
    return {} if found is None or found.power_plugged else {BATTERY: WHOLE - round(found.percent * 10)}


# --- processes


class _Process(NamedTuple):
    cpu_s: float
    children: list[int]


def _processes() -> dict[int, _Process]:
    """All processes of the machine: one file for each, which is cheaper than to ask each thread for its children."""
    parents: list[tuple[int, int]] = []
    table: dict[int, _Process] = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # the name, in parentheses, may have any character
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            pid = int(folder.name)
            table[pid] = _Process((int(fields[11]) + int(fields[12])) / _TICKS_S, [])
            parents.append((pid, int(fields[1])))
    for pid, parent in parents:
        if parent in table:
            table[parent].children.append(pid)
    return table


def _tree(table: Mapping[int, _Process], pid: int) -> list[int]:
    """A process and all below it that are there."""
    found = [pid] if pid in table else []
    for each in found:
        found += table[each].children
    return found


def _private_bytes(pid: int) -> int:
    """What a process has in memory and shares with nobody: what is free when it ends."""
    try:
        _, resident, shared, *_ = (_PROC / str(pid) / "statm").read_bytes().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


def of_slots(slots: Iterable[Any]) -> list[Running]:
    """The processes of slots that are there; a lane into an agent's process has none of its own."""
    found = []
    for slot in slots:
        if slot.connected and not slot.lane:
            head = slot.handed[0] if slot.handed else None
            found.append(Running(head.key if head else 0, head.number if head else 0, slot.pid))
    return found
