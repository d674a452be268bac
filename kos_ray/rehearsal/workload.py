"""What arrives in a rehearsal, however it was written: jobs, when they come, and their true run times."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import Spec

#: the entry that specs of virtual jobs name; nothing is ever run
ENTRY = "rehearsal:virtual"
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualJob:
    """One job, or one gang of `members` alike, which the reports count as one job."""

    name: str
    #: when it comes, microseconds since the workload's start
    at_us: int
    #: how long its code really runs; what is declared of that is in `spec.run_ms`
    run_us: int
    spec: Spec
    user: str = ""
    #: numbers of jobs of the same workload, all before this one, that have to succeed first
    after: tuple[int, ...] = ()
    #: 1: no gang
    members: int = 1
    #: when it should have ended, microseconds after it came; 0: no deadline
    deadline_us: int = 0


def in_order(jobs: Sequence[VirtualJob]) -> tuple[VirtualJob, ...]:
    """Jobs that depend on nothing, as they come; those of one instant stay in their order."""
    return tuple(sorted(jobs, key=lambda job: job.at_us))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, unpacked where its name ends in `.gz`.

    Raises:
        InvalidSpec: it cannot be read, or is no UTF-8.

    """
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            yield from enumerate(lines, start=1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidSpec(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: expected UTF-8 text, found the byte {error.object[error.start]:#04x}") from None


def numbered_rows(path: Path, *columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a CSV file by the columns' names, with its place `file:line`; `columns`: each under one of its names.

    Raises:
        InvalidSpec: it cannot be read, a column is missing, or a row has more or fewer than there are titles.

    """
    lines = numbered_lines(path)
    titles = next(csv.reader([next(lines, (1, ""))[1]]), [])
    for names in columns:
        if not set(names) & set(titles):
            raise InvalidSpec(f"{path}:1: expected a column {' or '.join(names)}, found {', '.join(titles) or 'none'}")
    for number, line in lines:
        words = next(csv.reader([line]), [])
        if words and len(words) != len(titles):
            raise InvalidSpec(f"{path}:{number}: expected {len(titles)} columns, found {len(words)}")
        if words:
            yield f"{path}:{number}", dict(zip(titles, words, strict=True))
