"""See the package."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import report
from benchmarks.published import openb, psplib, traces, workflows
from benchmarks.published.data import find_data
from benchmarks.report import Row

_TABLES = {"psplib": psplib.rows, "workflows": workflows.rows, "traces": traces.rows, "openb": openb.rows}


def main() -> int:
    """Run, show, write; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published")
    parser.add_argument("table", nargs="*", choices=(*_TABLES, []), help="left out: all of them")
    parser.add_argument("--data", metavar="DIR", help="where the tables are")
    chosen = parser.add_argument_group("openb, which takes a minute or two for each list, policy and seed")
    chosen.add_argument("--lists", nargs="+", choices=openb.LISTS, default=openb.LISTS, metavar="LIST")
    chosen.add_argument("--seeds", nargs="+", type=int, default=openb.SEEDS, metavar="SEED")
    chosen.add_argument("--policy", nargs="+", default=openb.POLICIES, help="fgd, pack, spread; default: no strategy")
    arguments = parser.parse_args()
    data = find_data(arguments.data)
    runs = openb.Runs(tuple(arguments.lists), tuple(arguments.seeds), tuple(arguments.policy))
    tables: dict[str, Callable[[Path], Iterator[Row]]] = {**_TABLES, "openb": partial(openb.rows, runs=runs)}
    rows = []
    for table in arguments.table or tables:
        begin_s = time.monotonic()
        for row in tables[table](data):
            print(f"{row.name}: {row.value:,.2f} {row.unit}", file=sys.stderr, flush=True)
            rows.append(row)
        print(f"{table}: {time.monotonic() - begin_s:.0f} s", file=sys.stderr, flush=True)
    print(report.show(rows))
    report.write(rows, Path("build/published.json"))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
