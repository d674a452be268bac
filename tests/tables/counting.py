"""Cases of a table counted: what passes, what differs and why, what cannot be said and why; and the page about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data"
PAGE = HERE / "TABLES.md"

PASSES, DIFFERS, NOT_EXPRESSIBLE = "passes", "differs", "not expressible"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one case; `why` where it does not pass."""

    case: str
    outcome: str
    why: str = ""

    def __post_init__(self) -> None:
        if bool(self.why) == (self.outcome == PASSES):
            raise ValueError(f"{self.case}: expected a reason for what does not pass, and for nothing else")


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its folder under `data`, its title and source as people read them, and what judges its cases."""

    folder: str
    title: str
    source: str
    judge: Callable[[], Sequence[Verdict]]
    #: of what its cases are a test, where that is not the scheduler's decisions alone
    note: str = ""


def compared(case: str, expected: object, found: object, differs: str = "") -> Verdict:
    """Passes when both are equal; else it differs, for the reason that is known of it."""
    if expected == found:
        return Verdict(case, PASSES)
    return Verdict(case, DIFFERS, differs or f"UNEXPLAINED: expected {expected}, found {found}")


def page(tables: Sequence[Table]) -> str:
    """All tables in Markdown: a line each, and a line for each case that does not pass."""
    lines = [
        "# Decision tables",
        "",
        "What others' schedulers decide, put to ours: each case is driven through the real scheduler, unless it says",
        "otherwise below. Written by `python -m tests.tables`; `tests/tables/test_tables.py` checks that it is up to",
        "date.",
        "",
        "| table | cases | pass | differ | not expressible | source |",
        "|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for table in tables:
        verdicts = table.judge()
        counts = [sum(found.outcome == word for found in verdicts) for word in (PASSES, DIFFERS, NOT_EXPRESSIBLE)]
        lines.append(f"| {table.title} | {len(verdicts)} | {' | '.join(map(str, counts))} | {table.source} |")
        rest = [f"- `{found.case}`: {found.outcome}: {found.why}" for found in verdicts if found.outcome != PASSES]
        paragraphs = [part for part in ([table.note] if table.note else [], rest) if part]
        if paragraphs:
            notes += ["", f"## {table.title}", *(line for part in paragraphs for line in ("", *part))]
    return "\n".join([*lines, *notes]) + "\n"
