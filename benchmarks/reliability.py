"""What was run to prove reliability: seeds by commit in `reliability.jsonl`, and the table made of them.

`python -m benchmarks.reliability simulate --seeds 10000 --first-seed 1` runs and records seeds of the simulation;
`python -m benchmarks.reliability table` writes `RELIABILITY.md`.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kos_ray.sim.batch import Batch, results

HERE = Path(__file__).parent
RECORDS = HERE / "reliability.jsonl"
TABLE = HERE / "RELIABILITY.md"
#: seeds of the simulation that become one record
PORTION = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Seeds `first` to `first + count - 1`, run on the package as it was at `commit`."""

    tool: str
    commit: str
    first: int
    count: int
    jobs: int
    faults: dict[str, int]
    failures: tuple[str, ...] = ()
    seconds: float = 0.0
    day: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())


class Ledger:
    """The records, and what the package is now: the newest commit that changed it."""

    def __init__(self, path: Path, commit: str) -> None:
        self.path = path
        self.commit = commit
        self.records = list(read(path))

    @classmethod
    def here(cls) -> "Ledger":
        """The repository's own.

        Raises:
            SystemExit: the package has changes that are in no commit: nobody could replay the seeds.

        """
        if _git("status", "--porcelain", "--", "kos_ray"):
            raise SystemExit("--record: kos_ray/ has changes that are in no commit; expected a clean tree: commit them")
        return cls(RECORDS, _git("log", "-1", "--format=%h", "--abbrev=10", "--", "kos_ray"))

    def has(self, tool: str, seed: int) -> bool:
        """Whether a seed was run at this commit."""
        return any(
            record.tool == tool and record.commit == self.commit and record.first <= seed < record.first + record.count
            for record in self.records
        )

    def add(self, record: Record) -> None:
        """Note what was run, and bring the table up to date."""
        self.records.append(record)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        self.path.with_name(TABLE.name).write_text(table(self.records), encoding="utf-8")


def read(path: Path) -> Iterator[Record]:
    """The records of a file."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        plain = json.loads(line)
        yield Record(**{**plain, "failures": tuple(plain["failures"])})


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=True
    ).stdout.strip()


# ---- the simulation


def portions(ledger: Ledger, first: int, count: int) -> Iterator[range]:
    """The seeds of a range that were not run at this commit, in portions."""
    start: int | None = None
    for seed in range(first, first + count + 1):
        wanted = seed < first + count and not ledger.has("simulate", seed)
        if start is not None and (not wanted or seed - start == PORTION):
            yield range(start, seed)
            start = None
        if wanted and start is None:
            start = seed


def simulate(ledger: Ledger, first: int, count: int, processes: int) -> int:
    """Run what is missing of a range; how many portions failed: a promise was broken, or too little happened."""
    failed = 0
    for seeds in portions(ledger, first, count):
        batch = Batch()
        for portion in results(seeds, processes):
            for result in portion:
                batch.add(result)
        failures = [f"seed {result.seed}: {result.violation}" for result in batch.failed]
        failures += [f"vacuous: {reason}" for reason in batch.vacuous()]
        failed += bool(failures)
        ledger.add(
            Record(
                tool="simulate",
                commit=ledger.commit,
                first=seeds.start,
                count=len(seeds),
                jobs=batch.jobs,
                faults=dict(sorted(batch.landed.items())),
                failures=tuple(failures),
            )
        )
        _print(
            f"seeds {seeds.start} to {seeds.stop - 1}: {batch.jobs} jobs, {batch.landed.total()} faults, "
            f"{len(failures)} failures"
        )
        for failure in failures:
            _print(f"  {failure}")
    return failed


# ---- the table

_INTRO = """# What was run to prove reliability

Made of `reliability.jsonl` by `python -m benchmarks.reliability table`; do not edit. `make simulate` rehearses random
worlds in virtual time, `make chaos` kills real processes of real Ray clusters (docs/reliability.md). A commit is the
newest one that changed the package when the seeds were run; the same seeds on the same commit give the same simulated
histories. A seed in which a promise was broken is listed, and so is a batch in which too little happened to mean
something. No failures in N independent runs bound the share of runs that fail by 3/N, with 95 % confidence, for runs
like these.
"""


def table(records: Iterable[Record]) -> str:
    """The page."""
    records = list(records)
    parts = [_INTRO]
    for tool in ("simulate", "chaos"):
        mine = [record for record in records if record.tool == tool]
        if not mine:
            continue
        runs, faults = sum(record.count for record in mine), Counter[str]()
        for record in mine:
            faults.update(record.faults)
        broken = sum(bool(record.failures) for record in mine)
        parts.append(
            f"## {tool}\n\n{runs:,} runs, {sum(record.jobs for record in mine):,} jobs, {faults.total():,} faults "
            f"landed, {broken} records with failures.\n"
        )
        parts.append("| commit | seeds | runs | jobs | faults landed | failures |\n|---|---|---|---|---|---|")
        parts.append("\n".join(_row(*group) for group in _by_commit(mine)) + "\n")
        parts.append("| fault | landed |\n|---|---|")
        parts.append("\n".join(f"| {kind} | {count:,} |" for kind, count in sorted(faults.items())) + "\n")
        failures = [(record.commit, failure) for record in mine for failure in record.failures]
        if failures:
            parts.append("Failures:\n\n" + "\n".join(f"- {commit}: {failure}" for commit, failure in failures) + "\n")
    return "\n".join(parts)


def _by_commit(records: list[Record]) -> Iterator[tuple[str, list[Record]]]:
    for commit in dict.fromkeys(record.commit for record in records):
        yield commit, sorted((record for record in records if record.commit == commit), key=lambda r: r.first)


def _row(commit: str, records: list[Record]) -> str:
    ranges: list[list[int]] = []
    for record in records:
        if ranges and ranges[-1][1] == record.first - 1:
            ranges[-1][1] += record.count
        else:
            ranges.append([record.first, record.first + record.count - 1])
    seeds = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in ranges)
    faults = sum(sum(record.faults.values()) for record in records)
    failures = sum(len(record.failures) for record in records)
    runs, jobs = sum(record.count for record in records), sum(record.jobs for record in records)
    return f"| {commit} | {seeds} | {runs:,} | {jobs:,} | {faults:,} | {failures} |"


def main(arguments: list[str] | None = None) -> int:
    """See the module; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("what", choices=("simulate", "table"))
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    if options.what == "table":
        TABLE.write_text(table(read(RECORDS)), encoding="utf-8")
        return 0
    return 1 if simulate(Ledger.here(), options.first_seed, options.seeds, options.jobs) else 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
