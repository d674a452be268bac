"""Approval: a job that waits until a person has said yes, and holds nothing meanwhile."""

from dataclasses import dataclass

from kos_ray.model.ids import JobKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What is asked, and of whom; `by` empty: of anybody. `timeout_ms` counts from when it could start; 0: for ever."""

    ask: str
    by: tuple[str, ...] = ()
    timeout_ms: int = 0
    #: what becomes of it when nobody has answered in time: it goes on, or is over
    approve: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalsAnswered:
    """Somebody approved, or rejected, jobs that wait for it."""

    request_id: str
    keys: tuple[JobKey, ...]
    approved: bool
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeApprovals:
    """These jobs may go on, or are to end: as somebody said, or because nobody did in time."""

    keys: tuple[JobKey, ...]
    approved: bool
    reason: int
    note: str = ""
    by: str = ""
