"""See the package."""

import argparse
import sys
import time
from pathlib import Path

from benchmarks import report
from benchmarks.published import psplib, traces, workflows
from benchmarks.published.data import find_data

_TABLES = {"psplib": psplib.rows, "workflows": workflows.rows, "traces": traces.rows}


def main() -> int:
    """Run, show, write; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published")
    parser.add_argument("table", nargs="*", choices=(*_TABLES, []), help="left out: all of them")
    parser.add_argument("--data", metavar="DIR", help="where the tables are")
    arguments = parser.parse_args()
    data = find_data(arguments.data)
    rows = []
    for table in arguments.table or _TABLES:
        begin_s = time.monotonic()
        for row in _TABLES[table](data):
            print(f"{row.name}: {row.value:,.2f} {row.unit}", file=sys.stderr, flush=True)
            rows.append(row)
        print(f"{table}: {time.monotonic() - begin_s:.0f} s", file=sys.stderr, flush=True)
    print(report.show(rows))
    report.write(rows, Path("build/published.json"))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
