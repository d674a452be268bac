"""Kill real processes at every failpoint, and check what is promised: `python -m tests.crash [--only WORD]`."""

import argparse
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path

from tests.crash import miniature
from tests.crash.points import deaths, names

_JOBS_MIN = 100


def _run(death: tuple[str, int, bool]) -> "dict[str, object]":
    from tests.crash.world import crash_at

    point, nth, keep = death
    told = crash_at(point, nth, keep=keep)
    if not told.problems and told.jobs < _JOBS_MIN:
        told.problems.append(f"only {told.jobs} jobs were handed over, expected at least {_JOBS_MIN}")
    return vars(told)


def main(arguments: list[str] | None = None) -> int:
    """Run, print a table, and end with 1 where something was lost, or a failpoint was not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--only", default="", help="failpoints with this in their name")
    parser.add_argument("--point", action="append", default=[], help="NAME:NTH, any number of them")
    parser.add_argument("--jobs", type=int, default=2, help="worlds at once")
    parser.add_argument("--keep", action="store_true", help="keep the files of worlds that failed")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each instead of the table")
    options = parser.parse_args(arguments)
    wanted = [(name, int(nth)) for name, _, nth in (point.partition(":") for point in options.point)]
    wanted = wanted or [death for death in deaths() if options.only in death[0]]
    miniature.install(Path(tempfile.gettempdir()))
    # imported once: what is forked later has it
    from kos_ray.runtime import agent_actor, reader, scheduler  # noqa: F401
    from tests.crash import world  # noqa: F401

    failures: list[str] = []
    jobs = 0
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        if not options.json:
            _print(f"{'failpoint':32} {'nth':>3} {'died':38} {'goes on':>9} {'jobs':>5}")
        for told in pool.imap(_run, [(*death, options.keep) for death in wanted]):
            jobs += int(str(told["jobs"]))
            line = json.dumps(told) if options.json else _row(told)
            failures += [line] if told["problems"] else []
            _print(line)
    if not options.json:
        # again, for who sees the end of a long record only
        _print("\n".join(["", "failed:", *failures] if failures else [""]))
        _print(f"{len(names())} failpoints, {len(wanted)} deaths, {jobs} jobs checked, {len(failures)} failures")
    return 1 if failures or not wanted else 0


def _row(told: "dict[str, object]") -> str:
    died, again = str(told["died"]), float(str(told["again_ms"]))
    goes_on = f"{again:.0f} ms" if again >= 0 else "-"
    row = f"{told['point']:32} {told['nth']:>3} {died[:38]:38} {goes_on:>9} {told['jobs']:>5}"
    problems = told["problems"]
    assert isinstance(problems, list)
    if problems:
        again_by = f"replay it: make crash ONLY={told['point']}"
        return "\n".join([row, *(f"    {problem}" for problem in problems), f"    {again_by}"])
    return row


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
