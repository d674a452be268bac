"""The record of what was run: nothing twice at one commit, and a run in which too little happened has failed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import reliability
from benchmarks.reliability import Ledger, Record, portions, read, table
from kos_ray.sim.run import Result
from tests.chaos.run import Chaos, Verdict


def record(first: int, count: int, commit: str = "aaa", tool: str = "simulate") -> Record:
    return Record(tool=tool, commit=commit, first=first, count=count, jobs=count, faults={"node lost": count})


def ledger(folder: Path, *records: Record, commit: str = "aaa") -> Ledger:
    found = Ledger(folder / "reliability.jsonl", commit)
    for one in records:
        found.add(one)
    return found


def test_seeds_that_were_run_at_this_commit_are_passed_over(tmp_path: Path) -> None:
    done = (record(1, 10), record(21, 5), record(11, 10, commit="bbb"), record(30, 5, tool="chaos"))
    found = ledger(tmp_path, *done)
    assert list(portions(found, 5, 31)) == [range(11, 21), range(26, 36)]
    assert list(portions(found, 1, 10)) == []
    assert list(portions(ledger(tmp_path, commit="ccc"), 1, 2_500)) == [
        range(1, 1001),
        range(1001, 2001),
        range(2001, 2501),
    ]
    assert list(read(found.path)) == list(done)


def test_the_table_has_the_ranges_by_commit_and_every_failure(tmp_path: Path) -> None:
    failed = Record(tool="chaos", commit="aaa", first=7, count=1, jobs=3, faults={}, failures=("did not end: x",))
    text = table([record(1, 10), record(11, 5), record(40, 1), record(1, 2, commit="bbb"), failed])
    assert "| aaa | 1 to 15, 40 | 16 | 16 | 16 | 0 |" in text
    assert "| bbb | 1 to 2 | 2 | 2 | 2 | 0 |" in text
    assert "- aaa: did not end: x" in text
    assert ledger(tmp_path, failed).path.with_name("RELIABILITY.md").read_text() == table([failed])


def test_seeds_in_which_nothing_happened_are_recorded_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(seeds: range, _processes: int) -> Iterator[list[Result]]:
        yield [Result(seed, jobs=0, landed=Counter()) for seed in seeds]

    monkeypatch.setattr(reliability, "results", nothing)
    found = ledger(tmp_path)
    assert reliability.simulate(found, 1, 5, 1) == 1
    assert found.records[0].failures == (
        "vacuous: only 0 jobs finished in 5 seeds",
        "vacuous: only 0 faults took effect in 5 seeds",
    )
    assert reliability.simulate(found, 1, 5, 1) == 0, "they are not run again"


def test_a_run_goes_on_until_enough_has_happened() -> None:
    verdict = Verdict(1, 60.0)
    assert not verdict.enough(100)
    verdict.landed["slot killed"] = 6
    assert verdict.enough(4)
    assert not verdict.enough(3)


def test_a_slot_to_strike_is_one_that_has_noted_its_entry_and_no_exit(tmp_path: Path) -> None:
    import json
    import os

    mine = {"name": "a", "attempt": 1, "pid": os.getpid()}
    (tmp_path / "history").write_text(json.dumps({"what": "entry", **mine}) + "\n")
    chaos = Chaos(None, tmp_path, Verdict(1, 1.0))  # type: ignore[arg-type]
    assert chaos._running_slot(5) == os.getpid()
    with (tmp_path / "history").open("a") as file:
        file.write(json.dumps({"what": "exit", **mine}) + "\n")
    assert chaos._running_slot(5) == 0
