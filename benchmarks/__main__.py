"""See the package."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import jobs, order, report, scale, startup

_STARTUP = ("import_kos_ray", "kos_help", "kos_up")
_JOBS = ("map_10k", "round_trip", "submit_only")


def _rows(only: str | None) -> Iterator[report.Row]:
    def wanted(name: str) -> bool:
        return only in (None, name)

    if any(map(wanted, _STARTUP)):
        yield from startup.rows(wanted)
    if any(map(wanted, _JOBS)):
        yield from jobs.rows(wanted)
    if any(map(wanted, order.NAMES)):
        yield from order.rows(wanted)
    if any(map(wanted, scale.NAMES)):
        yield from scale.rows(wanted)
    if any(map(wanted, scale.HUGE_NAMES)):
        yield from scale.huge_rows(wanted)


def main() -> int:
    """Run, show, write; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    names = (*_STARTUP, *_JOBS, *order.NAMES, *scale.NAMES, *scale.HUGE_NAMES)
    parser.add_argument("--only", choices=names, help="one benchmark")
    arguments = parser.parse_args()
    rows = []
    for row in _rows(arguments.only):
        print(f"{row.name}: {row.value:,.2f} {row.unit}", file=sys.stderr, flush=True)
        rows.append(row)
    print(report.show(rows))
    report.write(rows, Path("build/bench.json"))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
