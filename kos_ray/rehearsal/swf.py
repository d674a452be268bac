"""Reads logs in the Standard Workload Format of the Parallel Workloads Archive (Feitelson), version 2.

Of the 18 columns these are used: 1 job, 2 submit time, 4 run time, 5 processors (8, those asked for, where 5 says
nothing), 9 run time asked for, 12 user. -1 means unknown. Jobs that did not run, or on no processor, are left out.
"""

from pathlib import Path

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Spec
from kos_ray.model.resources import Resources
from kos_ray.rehearsal.workload import ENTRY, SECOND_US, VirtualJob, in_order, numbered_lines

_COLUMNS = 18


def read_swf(path: Path) -> tuple[VirtualJob, ...]:
    """The jobs of a log: as many CPUs as processors, and the run time asked for, else the true one, declared.

    Raises:
        InvalidSpec: `file:line: expected ..., found ...`.

    """
    found = []
    for number, line in numbered_lines(path):
        text = line.strip()
        if not text or text.startswith(";"):
            continue
        job = _job(_columns(text, f"{path}:{number}"))
        if job is not None:
            found.append(job)
    if not found:
        raise InvalidSpec(f"{path}:1: expected at least one job that ran, found none")
    return in_order(found)


def _columns(text: str, place: str) -> list[float]:
    words = text.split()
    if len(words) != _COLUMNS:
        raise InvalidSpec(f"{place}: expected {_COLUMNS} columns (Standard Workload Format), found {len(words)}")
    found = []
    for index, word in enumerate(words, start=1):
        try:
            number = float(word)
        except ValueError:
            number = float("nan")
        if not -1 <= number < 1e12:
            raise InvalidSpec(f"{place}: column {index}: expected a number from -1 on, found {word!r}")
        found.append(number)
    if found[1] < 0:
        raise InvalidSpec(f"{place}: column 2: expected a submit time of 0 or more, found {words[1]}")
    return found


def _job(columns: list[float]) -> VirtualJob | None:
    processors = int(columns[4] if columns[4] > 0 else columns[7])
    run_us = round(columns[3] * SECOND_US)
    if processors <= 0 or run_us < 0:
        return None
    asked_s = columns[8] if columns[8] > 0 else columns[3]
    run_ms = max(1, round(asked_s * 1_000))  # 0 would declare nothing
    spec = Spec(type="swf", entry=ENTRY, resources=Resources.of({"CPU": processors}), run_ms=run_ms)
    user = f"u{int(columns[11])}" if columns[11] >= 0 else ""
    return VirtualJob(
        name=f"{int(columns[0])}", at_us=round(columns[1] * SECOND_US), run_us=run_us, spec=spec, user=user
    )
