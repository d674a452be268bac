"""See the package."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import (
    agents,
    busy,
    heartbeats,
    jobs,
    lateness,
    order,
    recovery,
    report,
    scale,
    schedules,
    speed,
    startup,
)

_STARTUP = ("import_kos_ray", "kos_help", "kos_up")
_JOBS = ("map_10k", "submit_only")
_Wanted = Callable[[str], bool]
#: rows that need no cluster of two CPUs, and who makes them
_ALONE: tuple[tuple[tuple[str, ...], Callable[[_Wanted], Iterator[report.Row]]], ...] = (
    (order.NAMES, order.rows),
    (busy.NAMES, busy.rows),
    (scale.NAMES, scale.rows),
    (scale.HUGE_NAMES, scale.huge_rows),
    (recovery.NAMES, recovery.rows),
    (schedules.NAMES, schedules.rows),
    (lateness.NAMES, lambda _: lateness.rows()),
    (heartbeats.NAMES, lambda _: heartbeats.rows()),
    (agents.NAMES, lambda _: agents.rows()),
    (agents.KILLED_NAMES, lambda _: agents.killed_rows()),
)
_NAMES = (*_STARTUP, *_JOBS, *speed.NAMES, *(name for names, _ in _ALONE for name in names))


def _rows(only: Sequence[str]) -> Iterator[report.Row]:
    def wanted(name: str) -> bool:
        return not only or any(_means(word, name) for word in only)

    if any(map(wanted, _STARTUP)):
        yield from startup.rows(wanted)
    if any(map(wanted, (*_JOBS, *speed.NAMES))):
        # one cluster: a process that has been in one with a token of its own cannot go to another
        with jobs.two_cpus() as (client, plain):
            yield from jobs.rows(wanted, client, plain)
            yield from speed.rows(wanted, client, plain)
    for names, rows in _ALONE:
        if any(map(wanted, names)):
            yield from rows(wanted)


def main() -> int:
    """Run, show, write; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="these, or all that begin so: huge")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="fail where a ratio is worse than in this table")
    arguments = parser.parse_args()
    for word in arguments.only:
        if not any(_means(word, name) for name in _NAMES):
            parser.error(f"expected one of {', '.join(_NAMES)}, or how some of them begin, found {word!r}")
    before = report.read(arguments.baseline) if arguments.baseline else {}
    rows = []
    for row in _rows(arguments.only):
        print(f"{row.name}: {row.value:,.2f} {row.unit}", file=sys.stderr, flush=True)
        rows.append(row)
    print(report.show(rows))
    report.write(rows, Path("build/bench.json"))
    if arguments.baseline:
        worse = [found for row in rows if row.name in before and (found := report.worse(row, before[row.name]))]
        print("\n".join(worse) or "no ratio is worse than in the baseline, past the noise of the rounds")
        return 1 if worse else 0
    return 0 if all(row.met for row in rows) else 1


def _means(word: str, name: str) -> bool:
    return name == word or name.startswith(f"{word}_")


if __name__ == "__main__":
    sys.exit(main())
