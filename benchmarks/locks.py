"""Locks under holders that pause past their leases: `python -m benchmarks.locks [--operations N] [--seed N]`.

Prints what happened; the exit code is 1 where a stale write was taken, or none was refused (nothing was tried then).
"""

import argparse
import sys
import time

from kos_ray.sim.locks import World


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    began = time.perf_counter()
    world = World(chosen.seed).run(chosen.operations)
    print(f"operations            {chosen.operations:>10,}   seed {chosen.seed}, {time.perf_counter() - began:.1f} s")
    for what, count in world.counts.most_common():
        print(f"{what:<20}  {count:>10,}")
    print(f"{'writes taken':<20}  {world.sink.taken.total():>10,}")
    print(f"{'stale ones refused':<20}  {world.sink.refused:>10,}")
    print(f"{'stale ones taken':<20}  {world.stale_writes:>10,}")
    return int(world.stale_writes > 0 or world.sink.refused == 0)


if __name__ == "__main__":
    sys.exit(main())
