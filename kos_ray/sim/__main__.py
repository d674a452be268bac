"""Rehearse random worlds: `python -m kos_ray.sim --seeds 100 --first-seed 1 --jobs 2`."""

import argparse
import sys
from collections import Counter

from kos_ray.sim.batch import Batch, results
from kos_ray.sim.run import Result

#: failures after which a batch is given up
_FAILURES_MAX = 5


def main(arguments: list[str] | None = None) -> int:
    """Run a batch of seeds and print what came of it; 1 when a promise was broken or the batch proves nothing."""
    parser = argparse.ArgumentParser(prog="python -m kos_ray.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many histories")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.jobs < 1:
        parser.error("--seeds and --jobs: expected at least 1")
    batch = Batch()
    progress = 0
    for portion in results(range(options.first_seed, options.first_seed + options.seeds), options.jobs):
        for result in portion:
            batch.add(result)
            if result.violation:
                _print_failure(result)
        if batch.seeds * 10 // options.seeds > progress:
            progress = batch.seeds * 10 // options.seeds
            _print(f"{batch.seeds} of {options.seeds} seeds, {batch.jobs} jobs finished, {len(batch.failed)} failures")
        if len(batch.failed) >= _FAILURES_MAX:
            _print(f"given up after {len(batch.failed)} failures")
            break
    _print_totals(batch)
    vacuous = batch.vacuous() if options.seeds > 1 else []
    for reason in vacuous:
        _print(f"vacuous: {reason}")
    return 1 if batch.failed or vacuous else 0


def _print_failure(result: Result) -> None:
    _print(f"\nseed {result.seed}: {result.violation}")
    for note in result.notes:
        _print(f"  {note}")
    _print(f"replay it: make simulate SEEDS=1 FIRST_SEED={result.seed}\n")


def _print_totals(batch: Batch) -> None:
    _print(f"{batch.seeds} seeds, {batch.frames} frames, {batch.steps} events, {len(batch.failed)} failures")
    _print(f"{batch.jobs} jobs finished: {_counts(batch.outcomes)}")
    _print(f"{batch.fires.total()} fires of schedules: {_counts(batch.fires)}")
    _print(f"of agents: {_counts(batch.agents)}")
    _print(f"{batch.landed.total()} faults landed: {_counts(batch.landed)}")
    _print(f"failpoints reached: {_counts(batch.reached)}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
