"""Where the processor time of a job goes, hop by hop: `python -m benchmarks.budget [--jobs 100000]`.

A map of no-op jobs runs on a cluster whose processes write down the time between the failpoints that they reach
(`KOS_RAY_TIMES`), thread by thread. What a process spends besides (Ray's threads, event loops, imports of new slots) is
the rest of its time as the kernel counts it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

#: µs a job below which a hop is no row
_LEAST_US = 0.3
_PROCESSES = {"SchedulerActor": "scheduler", "ReaderActor": "reader", "AgentActor": "agent", "kos-slot": "slots"}


def _kinds() -> dict[int, str]:
    found = {os.getpid(): "client"}
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        for word, kind in _PROCESSES.items():
            if word in words:
                found[process.pid] = kind
    return found


def _spent(folder: Path) -> dict[tuple[int, str], tuple[int, int]]:
    found = {}
    for path in folder.glob("*.json"):
        for hop, (count, ns) in json.loads(path.read_text()).items():
            found[int(path.stem), hop] = count, ns
    return found


def _cpu_s(pids: dict[int, str]) -> dict[int, float]:
    found = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[pid] = times.user + times.system
    return found


def main() -> int:
    """Run a map, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kos-times-") as folder:
        os.environ["KOS_RAY_TIMES"] = folder
        from benchmarks.jobs import map_rate, no_op, two_cpus  # noqa: PLC0415 - after the environment

        with two_cpus() as (client, _):
            # so that the slots are there
            client.map(no_op, range(1_000)).results(60)
            kinds = _kinds()
            time.sleep(0.5)
            before, cpu = _spent(Path(folder)), _cpu_s(kinds)
            rate = map_rate(client, options.jobs)
            time.sleep(0.5)
            after, cpu_after = _spent(Path(folder)), _cpu_s(kinds)
    hops: dict[str, Counter[str]] = {}
    for (pid, hop), (_, ns) in after.items():
        if pid in kinds:
            hops.setdefault(kinds[pid], Counter())[hop] += ns - before.get((pid, hop), (0, 0))[1]
    print(f"{options.jobs} jobs, {rate:,.0f} a second; microseconds of processor time for each job")
    for kind in ("client", "scheduler", "agent", "slots", "reader"):
        whole = sum(cpu_after[pid] - cpu[pid] for pid in cpu_after if kinds[pid] == kind) / options.jobs * 1e6
        told = {hop: ns / options.jobs / 1e3 for hop, ns in hops.get(kind, Counter()).most_common()}
        print(f"{kind:60} {whole:6.1f}")
        for hop, us in told.items():
            if us >= _LEAST_US:
                print(f"  {hop:58} {us:6.1f}")
        if told:
            print(f"  {'rest':58} {whole - sum(told.values()):6.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
