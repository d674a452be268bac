"""Answers of people to jobs that wait for approval."""

from collections.abc import Mapping, Sequence
from typing import Any

from kos_ray.engine.parties import Granted
from kos_ray.model import events as e
from kos_ray.model.approval import ApprovalsAnswered
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.scheduler.state import State

#: signs of a note
_NOTE_MAX = 10_000


def answer(fields: Mapping[str, Any], state: State, _now: int, before: Sequence[e.Event], by: str) -> Granted:
    """Approve or reject jobs, all of them or none; answered with how many they are."""
    keys = tuple(JobKey(key) for key in fields["keys"])
    if len(fields["note"]) > _NOTE_MAX:
        raise Refused(f"note: expected at most {_NOTE_MAX} signs, found {len(fields['note'])}")
    just_now = {key for event in before if isinstance(event, ApprovalsAnswered) for key in event.keys}
    for key in keys:
        job = state.jobs.get(key)
        if job is None or key not in state.coordination.approvals.waiting or key in just_now:
            raise Refused("it waits for nobody's approval (any more); see `kos history`")
        approval = job.entry.spec.approval
        if approval is not None and approval.by and by not in approval.by:
            raise Refused(f"expected an answer by {' or '.join(approval.by)}, found one by {by}")
    said = ApprovalsAnswered(
        request_id=fields["request_id"], keys=keys, approved=fields["approved"], note=fields["note"], by=by
    )
    return [said], {"jobs": len(keys)}


def plain_approvals(state: State) -> list[dict[str, Any]]:
    """All jobs that wait for an answer, as plain data: `ready` says whether it alone is wanting."""
    found = []
    for key, due_us in state.coordination.approvals.waiting.items():
        job = state.jobs[key]
        approval = job.entry.spec.approval
        if approval is not None:
            found.append(
                {
                    "key": key,
                    "namespace": job.entry.spec.namespace,
                    "ask": approval.ask,
                    "by": approval.by,
                    "due_us": due_us,
                    "otherwise": "approve" if approval.approve else "reject",
                    "ready": job.state.name == "HELD",
                }
            )
    return found
