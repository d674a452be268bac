"""Every failpoint of the package, and the how-many-th time that a process gets there kills it."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "kos_ray"

#: the first time that a process gets there is no good moment, or there are many: dies at these
NTH: dict[str, tuple[int, ...]] = {
    "agent.after_hand": (1, 12),
    "agent.attempt_taken_in": (15,),
    "agent.before_hand": (9,),
    "agent.before_report": (1, 5),
    "agent.after_report": (4,),
    "agent.end_noted": (10,),
    "agent.orders_done": (5,),
    "agent.orders_heard": (4,),
    "agent.outcome_heard": (8,),
    "agent.report_acked": (6,),
    "agent.slot_connected": (3,),
    "engine.after_append": (2, 30),
    "engine.after_dispatch": (20,),
    "engine.after_replies": (25,),
    "engine.before_append": (12,),
    "engine.before_dispatch": (18,),
    "engine.before_publish": (8,),
    "engine.before_replies": (1, 16),
    "engine.before_step": (22,),
    "journal.after_commit": (1, 24),
    "journal.before_begin": (14,),
    "journal.before_commit": (1, 26),
    "journal.frame_written": (11,),
    "links.after_send": (7,),
    "links.before_send": (6,),
    "nodes.after_renewal": (2,),
    "nodes.before_renewal": (2,),
    "scheduler.outcomes_taken": (5,),
    "scheduler.report_answered": (14,),
    "scheduler.report_heard": (12,),
    "scheduler.submit_answered": (1, 5),
    "scheduler.submit_heard": (4,),
    "scheduler.timer_due": (2,),
    "slot.after_outcome": (5,),
    "slot.before_entry": (4,),
    "slot.before_outcome": (6,),
    "slot.code_returned": (3,),
    "slot.taken": (2,),
    "snapshots.begun": (2,),
}
#: reached only where a journal of an older version is opened, or compacted: `tests/crash/journal` kills there
ELSEWHERE = {"journal.before_migrated", "base.saved", "pruning.before_commit", "pruning.after_commit"}


def names() -> list[str]:
    """The failpoints in the package's source, but for those `ELSEWHERE`."""
    found = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())}
    return sorted(found - ELSEWHERE)


def deaths() -> list[tuple[str, int]]:
    """All that `make crash` runs."""
    return [(name, nth) for name in names() for nth in NTH.get(name, (1,))]
