"""The record of planted bugs, a line of JSON each, and the table that is made of it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.seeding.bugs import DRAWN, HAND, HERE, Bug, load, plain
from tests.seeding.ladder import ROOT, Found

RESULTS = HERE / "results.jsonl"
#: by name, why a bug is not found
SURVIVORS = HERE / "survivors.yaml"
TABLE = ROOT / "benchmarks" / "BUGS.md"

_HEAD = """# Which planted bugs are found

Made of `tests/seeding/results.jsonl` by `python -m tests.seeding --table`; do not edit. Each bug is planted alone in a
copy of the package; a ladder of proofs (docs/reliability.md) stops at the first that finds it. A test that finds one
fails twice with it, and passes without it. *At first* says what was found before tests were written for the rest.
"""


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """All that was recorded, oldest first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def add(bug: Bug, found: Found, seconds: float, path: Path = RESULTS) -> None:
    """Record what became of a bug."""
    line = {**plain(bug), **found._asdict(), "seconds": round(seconds), "commit": _commit()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def write() -> None:
    """Make the table anew."""
    why: dict[str, str] = yaml.safe_load(SURVIVORS.read_text(encoding="utf-8")) if SURVIVORS.exists() else {}
    TABLE.write_text(told(load(HAND), load(DRAWN) if DRAWN.exists() else [], read(), why or {}), encoding="utf-8")


def told(hand: list[Bug], drawn: list[Bug], results: list[dict[str, Any]], why: dict[str, str]) -> str:
    """The table of these bugs. `why` says of survivors why they are."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for line in results:
        key = (line["name"], line["digest"])
        first.setdefault(key, line)
        last[key] = line
    text = [_HEAD]
    for title, bugs in (("Planted by hand", hand), ("Drawn by a mutation tool", drawn)):
        ran = [(bug.name, bug.digest) for bug in bugs if (bug.name, bug.digest) in last]
        now, before = (sum(bool(which[key]["by"]) for key in ran) for which in (last, first))
        text += [f"## {title}", "", _sum(len(bugs), len(ran), now, before), ""]
        text += ["| bug | what it breaks | found by | test, or what was seen | seeds |", "|---|---|---|---|---|"]
        text += [_row(bug, last.get((bug.name, bug.digest)), why.get(bug.name, "")) for bug in bugs]
        text.append("")
    return "\n".join(text)


def _sum(bugs: int, ran: int, now: int, before: int) -> str:
    share = f"{100 * now / ran:.0f} %" if ran else "-"
    return f"{bugs} bugs, {ran} run, {now} found ({share}); at first {before}."


def _row(bug: Bug, line: dict[str, Any] | None, why: str) -> str:
    if line is None:
        by, test, seeds = "not run", "", ""
    elif line["by"]:
        by, test, seeds = line["by"], line["test"], str(line["seeds"] or "")
    else:
        by, test, seeds = "**survives**", why or "not judged yet", ""
    cells = [f"`{bug.name}` ({bug.file.removeprefix('kos_ray/')})", bug.breaks, by, test, seeds]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
