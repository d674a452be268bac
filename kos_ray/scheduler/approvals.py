"""Jobs that wait until somebody approves them: held, with a reason of their own, and released by an answer alone.

The question stands from submission on; its time runs from when the job could first have started.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from kos_ray.model.approval import Approval, ApprovalsAnswered, JudgeApprovals
from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.job import JobState, Spec
from kos_ray.model.reasons import Reason

if TYPE_CHECKING:
    from kos_ray.scheduler.state import State


@dataclass(slots=True)
class Approvals:
    """All of them."""

    #: jobs that wait, and until when; 0: their time does not run
    waiting: dict[JobKey, int] = field(default_factory=dict)
    #: a heap of `(due_us, key)`, with stale entries; derived
    due: list[tuple[int, JobKey]] = field(default_factory=list)
    #: empty between steps: what was answered, and jobs that are to end, each with its reason
    answered: list[ApprovalsAnswered] = field(default_factory=list)
    rejected: dict[JobKey, Reason] = field(default_factory=dict)

    def is_due(self, now_us: int) -> bool:
        """Whether something is to be decided."""
        return bool(self.answered or (self.due and self.due[0][0] <= now_us))

    def next_due_us(self) -> int | None:
        """When somebody's time is over, None: never."""
        while self.due and self.waiting.get(self.due[0][1]) != self.due[0][0]:
            heappop(self.due)
        return self.due[0][0] if self.due else None

    def wait_until(self, key: JobKey, due_us: int) -> None:
        """A job waits; its time runs from now on where `due_us` is not 0."""
        self.waiting[key] = due_us
        if due_us:
            heappush(self.due, (due_us, key))

    def job_over(self, key: JobKey) -> None:
        """Nobody needs to be asked any more."""
        self.waiting.pop(key, None)
        self.rejected.pop(key, None)


def begin(state: "State", spec: Spec, keys: range) -> None:
    """Jobs came: those that are to be approved are held from the beginning."""
    if spec.approval is None:
        return
    for key in map(JobKey, keys):
        job = state.jobs[key]
        job.held = True
        state.coordination.approvals.wait_until(key, 0)
        if job.state is JobState.READY:
            state.todo.held[key] = None


def asked(state: "State", key: JobKey, now_us: int) -> None:
    """A job could start now, if it is one of them: its time runs."""
    approvals = state.coordination.approvals
    approval = state.jobs[key].entry.spec.approval
    if approvals.waiting.get(key) == 0 and approval is not None and approval.timeout_ms:
        approvals.wait_until(key, now_us + approval.timeout_ms * MS_US)


def decide(state: "State", now_us: int) -> Iterator[JudgeApprovals]:
    """What follows from answers, and from time; each decision is to be folded before the next one is asked for."""
    approvals = state.coordination.approvals
    answers, approvals.answered = approvals.answered, []
    for said in answers:
        keys = tuple(key for key in said.keys if key in approvals.waiting)
        if keys:
            reason = Reason.APPROVED if said.approved else Reason.REJECTED
            yield JudgeApprovals(keys=keys, approved=said.approved, reason=reason, note=said.note, by=said.by)
    late: dict[bool, list[JobKey]] = {}
    while approvals.due and approvals.due[0][0] <= now_us:
        due_us, key = heappop(approvals.due)
        if approvals.waiting.get(key) == due_us:
            late.setdefault(_approval(state, key).approve, []).append(key)
    for approved, keys_late in late.items():
        yield JudgeApprovals(keys=tuple(sorted(keys_late)), approved=approved, reason=Reason.APPROVAL_TIMEOUT)


def judged(state: "State", decision: JudgeApprovals) -> None:
    """Fold a decision: jobs go on, or are to end."""
    for key in decision.keys:
        del state.coordination.approvals.waiting[key]
        if not decision.approved:
            state.coordination.approvals.rejected[key] = Reason(decision.reason)
            continue
        job = state.jobs[key]
        job.held = False
        state.todo.held.pop(key, None)
        if job.state is JobState.HELD:
            state.todo.unblocked[key] = None


def _approval(state: "State", key: JobKey) -> Approval:
    approval = state.jobs[key].entry.spec.approval
    assert approval is not None
    return approval


def to_snapshot(approvals: Approvals) -> Any:
    """Plain data."""
    return list(approvals.waiting.items())


def from_snapshot(plain: Any) -> Approvals:
    """The inverse."""
    found = Approvals()
    for key, due_us in plain:
        found.wait_until(JobKey(key), due_us)
    return found
