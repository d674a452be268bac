"""Jobs that wait for approval: they hold nothing, and go on by an answer or by time, through restarts."""

from dataclasses import replace
from typing import Any

import pytest
from engine_build import SPEC, Hands, array, ended

from kos_ray.engine.coordination import looked_at
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.journal.verify import verify
from kos_ray.model.approval import Approval, JudgeApprovals
from kos_ray.model.dependency import Rule
from kos_ray.model.errors import InvalidSpec, Refused
from kos_ray.model.events import CancelRequested, ReleaseRequested
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, JobState, Spec
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.invariants import check
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.spec.options import checked

S = 1_000_000
ASKS = replace(SPEC, approval=Approval(ask="Deploy?", by=("ann", "bob"), timeout_ms=60_000))


class Approving(Hands):
    """Hands with one node, and jobs that are to be approved."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.greet()
        self.tick()

    def ask(self, spec: Spec = ASKS, **fields: Any) -> None:
        self.submit(array("a", spec=spec, **fields), spec=spec, request="a")

    def answer(self, *, approved: bool, by: str = "ann", keys: tuple[int, ...] = (1,)) -> Any:
        fields = {"request_id": "r", "keys": keys, "approved": approved, "note": "as it should be"}
        self.engine.wish(CoordinationWish("answer", fields, by), self.answers.append)
        self.tick()
        return self.answers[-1]

    def reason(self, key: int = 1) -> Reason:
        return self.engine.why(JobKey(key))

    def end(self, key: int = 1) -> tuple[str, str]:
        state, reason, _ = self.journal.ends([JobKey(key)])[JobKey(key)]
        assert not self.engine.state.coordination.has_jobs
        return JobState(state).name.lower(), Reason(reason).name.lower()

    def again(self) -> "Approving":
        return Approving(self.journal, self.time_us)

    def pass_time(self, us: int) -> None:
        self.time_us += us
        self.tick()


def judgements(hands: Hands) -> list[JudgeApprovals]:
    decisions = [decision for frame in hands.journal.frames() for decision in frame.decisions]
    return [decision for decision in decisions if isinstance(decision, JudgeApprovals)]


def test_it_holds_nothing_until_somebody_approves_it() -> None:
    hands = Approving()
    hands.ask()
    assert hands.launched() == []
    assert hands.reason() is Reason.APPROVAL
    (found,) = looked_at("approvals", {}, hands.engine.state)
    assert (found["ask"], found["by"], found["ready"], found["otherwise"]) == (
        "Deploy?",
        ("ann", "bob"),
        True,
        "reject",
    )
    hands.engine.post(ReleaseRequested(request_id="x", keys=(JobKey(1),)))
    hands.tick()
    assert hands.launched() == []
    hands = hands.again()
    assert "by ann or bob" in str(hands.answer(approved=True, by="eve"))
    assert hands.answer(approved=True) == {"jobs": 1}
    assert hands.launched() == [("a", 1)]
    assert isinstance(hands.answer(approved=True), Refused)
    (said,) = judgements(hands)
    assert (said.by, said.note, said.reason) == ("ann", "as it should be", Reason.APPROVED)
    assert check(hands.engine.state) == []
    assert verify(hands.journal).differences == ()


def test_rejected_it_is_over_and_so_is_what_waits_for_it() -> None:
    hands = Approving()
    hands.ask()
    hands.submit(array("b", after=(("a", int(After.OK)),)), request="b")
    hands.answer(approved=False)
    assert hands.end() == ("cancelled", "rejected")
    assert hands.end(2)[0] == "skipped"
    assert verify(hands.journal).differences == ()


@pytest.mark.parametrize("approve", [False, True])
def test_when_nobody_answers_in_time_it_goes_as_it_says(approve: bool) -> None:
    """The time goes on over restarts."""
    hands = Approving()
    hands.ask(replace(SPEC, approval=Approval(ask="?", timeout_ms=60_000, approve=approve)))
    hands.pass_time(50 * S)
    hands = hands.again()
    due_us = hands.engine.next_due_us()
    assert due_us is not None
    hands.pass_time(9 * S)
    assert hands.reason() is Reason.APPROVAL
    hands.pass_time(S)
    assert judgements(hands)[0].reason == Reason.APPROVAL_TIMEOUT
    if approve:
        assert hands.launched() == [("a", 1)]
    else:
        assert hands.end() == ("cancelled", "approval_timeout")


def test_its_time_runs_from_when_it_could_start() -> None:
    hands = Approving()
    hands.submit(array("p"), request="p")
    hands.ask(after=(("p", int(After.OK)),), rule=int(Rule.ALL_SUCCESS) if hasattr(Rule, "ALL_SUCCESS") else 0)
    hands.pass_time(100 * S)
    assert hands.reason(2) is Reason.DEPENDENCY
    assert not looked_at("approvals", {}, hands.engine.state)[0]["ready"]
    hands.report(ended(1))
    hands.tick()
    assert hands.reason(2) is Reason.APPROVAL
    hands.pass_time(50 * S)
    assert hands.reason(2) is Reason.APPROVAL
    hands.pass_time(11 * S)
    assert hands.end(2) == ("cancelled", "approval_timeout")


def test_approved_before_it_can_start_it_starts_by_itself() -> None:
    hands = Approving()
    hands.submit(array("p"), request="p")
    hands.ask(after=(("p", int(After.OK)),))
    hands.answer(approved=True, keys=(2,))
    hands.report(ended(1))
    hands.tick()
    assert ("a", 1) in hands.launched()


def test_cancelled_nobody_is_asked_any_more_and_all_or_none_are_answered() -> None:
    hands = Approving()
    hands.submit(array("a", count=3, spec=ASKS), spec=ASKS)
    hands.engine.post(CancelRequested(request_id="c", keys=(JobKey(2),)))
    hands.tick()
    assert isinstance(hands.answer(approved=True, keys=(1, 2, 3)), Refused)
    assert hands.launched() == []
    assert hands.answer(approved=True, keys=(1, 3)) == {"jobs": 2}
    assert len(hands.launched()) == 2


def test_a_snapshot_has_who_waits() -> None:
    hands = Approving()
    hands.ask()
    plain = state_to_plain(hands.engine.state)
    found = state_from_plain(plain)
    assert state_to_plain(found)["coordination"] == plain["coordination"]
    assert found.coordination.approvals.next_due_us() == hands.engine.state.coordination.approvals.next_due_us()


def test_what_people_write() -> None:
    assert checked({"approval": "Deploy?"}).approval == Approval(ask="Deploy?")
    said = {"ask": "Deploy?", "by": "ann", "timeout": "2d", "otherwise": "approve"}
    assert checked({"approval": said}).approval == Approval(
        ask="Deploy?", by=("ann",), timeout_ms=2 * 86_400_000, approve=True
    )
    for wrong in ("", {"by": ["ann"]}, {"ask": "x", "otherwise": "maybe"}, {"ask": "x", "otherwise": "approve"}, 7):
        with pytest.raises(InvalidSpec, match="approval"):
            checked({"approval": wrong})
