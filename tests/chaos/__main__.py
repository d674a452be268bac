"""Real clusters under random faults, seed by seed: `python -m tests.chaos --seeds 5 --first-seed 1 --seconds 60`."""

import argparse
import sys

from benchmarks.reliability import Ledger, Record
from tests.chaos.seeds import isolated, run_seed


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds; 1 when a promise was broken, or too little happened to mean something."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many histories")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them")
    parser.add_argument("--seconds", type=float, default=60, help="how long there are faults in each")
    parser.add_argument("--record", action="store_true", help="add to the record; what is there is not run again")
    options = parser.parse_args(arguments)
    ledger = Ledger.here() if options.record else None
    seeds = [
        seed
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        if ledger is None or not ledger.has("chaos", seed)
    ]
    if not isolated():
        _print("no namespaces of its own: the state directory is on the common disk, which is not filled")
    failed = 0
    for seed in seeds:
        verdict = run_seed(seed, options.seconds)
        landed = dict(sorted(verdict["landed"].items()))
        _print(f"seed {seed}: {verdict['jobs']} jobs, {sum(landed.values())} faults landed: {landed}")
        for problem in verdict["problems"]:
            _print(f"  {problem}")
        if verdict["problems"]:
            failed += 1
            _print(f"  replay it: make chaos SEEDS=1 FIRST_SEED={seed} SECONDS={options.seconds:g}")
        if ledger is not None:
            ledger.add(
                Record(
                    tool="chaos",
                    commit=ledger.commit,
                    first=seed,
                    count=1,
                    seconds=options.seconds,
                    jobs=verdict["jobs"],
                    faults=landed,
                    failures=tuple(verdict["problems"]),
                )
            )
    _print(f"{len(seeds)} seeds run, {options.seeds - len(seeds)} were recorded before, {failed} failures")
    return 1 if failed else 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
