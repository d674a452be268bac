"""One job's story, from the frames: what was asked, decided and reported, each with who and why."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from kos_ray.journal.codec import Frame
from kos_ray.journal.reader import JournalReader
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.approval import JudgeApprovals
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import UNIT
from kos_ray.model.sample import share
from kos_ray.model.views import JobView, StoryLine

_Found = dict[str, Any]
_SECOND_US = 1_000_000


def story(reader: JournalReader, view: JobView) -> list[StoryLine]:
    """What happened to a job, the first thing first, up to its end.

    Frames are read from the job's submission to its end, or to the newest one, each proved to follow the one before.

    Raises:
        JournalDamaged: a frame is not what its hash says.

    """
    teller = _Teller(reader, view)
    for frame in reader.remaining(reader.submitted_in(view.key) - 1):
        teller.read(frame)
        if teller.over:
            break
    return teller.lines


def digest(payload: bytes) -> str:
    """SHA-256 of what a payload carries, in hexadecimal; "" where it carries none."""
    carried = open_payload(payload)
    if isinstance(carried, BlobRef):
        return carried.hash
    return "" if carried is None else hashlib.sha256(carried).hexdigest()


def words(reason: int) -> str:
    """A reason's name."""
    return Reason(reason).name.lower() if reason else ""


class _Teller:
    """Reads frames in their order, and knows where the job stands."""

    def __init__(self, reader: JournalReader, view: JobView) -> None:
        self._reader = reader
        self._view = view
        self._key = view.key
        self.lines: list[StoryLine] = []
        self.over = False
        #: its attempt and where that is; "" while it has none
        self._attempt, self._node = 0, ""
        self._ready_us = 0

    def read(self, frame: Frame) -> None:
        for seq, record in enumerate((*frame.events, *frame.decisions), frame.first_seq):
            tell = _TELLERS.get(type(record))
            for found in tell(self, record, frame.now_us) if tell else ():
                self.lines.append(replace(StoryLine(seq=seq, at_us=frame.now_us, what=""), **found))

    def _place(self, record: Any) -> int:
        """Where the job stands in a record's columns, -1 where it is not about it."""
        return record.keys.index(self._key) if self._key in record.keys else -1

    def submitted(self, event: e.JobsSubmitted, now_us: int) -> Iterator[_Found]:
        if not event.first <= self._key < event.first + event.job_count:
            return
        parents = ", ".join(f"{parent} ({kind})" for parent, kind in self._view.after)
        self._ready_us = 0 if parents else now_us
        detail = f"waits for {parents}" if parents else "may start"
        if event.parent:
            detail += f"; by the job {self._view.parent} while it ran"
        if self._view.idempotency_key:
            detail += f"; idempotency key {self._view.idempotency_key!r}"
        yield {"what": "submitted", "by": event.sender, "detail": detail}

    def entered(self, event: e.AttemptsEntered, _: int) -> Iterator[_Found]:
        at = self._place(event)
        if at >= 0:
            yield {
                "what": "entered",
                "at_us": event.entered_us[at],
                "attempt": event.attempts[at],
                "node": event.node,
                "pid": event.pids[at] if event.pids else 0,
            }

    def ended(self, event: e.AttemptsEnded, _: int) -> Iterator[_Found]:
        at = self._place(event)
        if at < 0:
            return
        end = AttemptEnd(event.ends[at])
        errors = [f"{error.type}: {error.message}" for error in event.errors if error.index == at]
        current = (event.attempts[at], event.node) == (self._attempt, self._node)
        yield {
            "what": end.name.lower(),
            "at_us": event.ended_us[at],
            "attempt": event.attempts[at],
            "node": event.node,
            "pid": event.pids[at],
            "detail": "; ".join([*errors, *([] if current else ["a late report: it does not count"])]),
            "result": digest(event.results[at]),
        }

    def node_lost(self, event: e.NodeLost, _: int) -> Iterator[_Found]:
        if self._node and event.node == self._node:
            yield {"what": "lost", "attempt": self._attempt, "node": event.node, "detail": f"node lost: {event.cause}"}
            self._node = ""

    def pressed(self, event: e.NodePressed, _: int) -> Iterator[_Found]:
        if not self._node or event.node != self._node or self._key not in event.keys:
            return
        uses = event.uses[event.keys.index(self._key)]
        said = [
            f"{share(kind, load)} used" + (f", by it {share(kind, use)}" if use >= 0 else "")
            for kind, load, use in zip(event.kinds, event.loads, uses, strict=True)
        ]
        yield {"what": "node_pressed", "attempt": self._attempt, "node": event.node, "detail": "; ".join(said)}

    def let_back(self, decision: d.LetBack, _: int) -> Iterator[_Found]:
        if self._place(decision) >= 0:
            yield {"what": "may_come_back", "reason": words(decision.reason)}

    def saved(self, event: e.CheckpointsStored, _: int) -> Iterator[_Found]:
        at = self._place(event)
        if at >= 0:
            yield {
                "what": "checkpoint",
                "at_us": event.at_us[at],
                "attempt": event.attempts[at],
                "node": event.node,
                "detail": f"number {event.numbers[at]}",
                "result": digest(event.payloads[at]),
            }

    def wanted(
        self, event: e.CancelRequested | e.HoldRequested | e.ReleaseRequested | e.PriorityChanged, _: int
    ) -> Iterator[_Found]:
        if self._place(event) < 0:
            return
        what = _WANTED[type(event)]
        if isinstance(event, e.HoldRequested) and event.stop:
            what = "pause_requested"
        detail = f"to band {event.band}" if isinstance(event, e.PriorityChanged) else ""
        yield {"what": what, "by": event.by, "detail": detail}

    def ready(self, decision: d.MakeReady, now_us: int) -> Iterator[_Found]:
        if self._place(decision) >= 0:
            self._node, self._ready_us = "", now_us
            yield {"what": "ready", "reason": words(decision.reason)}

    def held(self, decision: d.Hold, _: int) -> Iterator[_Found]:
        if self._place(decision) >= 0:
            self._node = ""
            yield {"what": "held", "reason": words(decision.reason)}

    def retried(self, decision: d.RetryLater, now_us: int) -> Iterator[_Found]:
        at = self._place(decision)
        if at >= 0:
            self._node = ""
            pause_s = (decision.due_us[at] - now_us) / _SECOND_US
            yield {
                "what": "retry_later",
                "reason": words(decision.reasons[at]),
                "detail": f"not within {pause_s:.3f} s",
            }

    def more_memory(self, decision: d.RaiseMemory, _: int) -> Iterator[_Found]:
        at = self._place(decision)
        if at >= 0:
            yield {"what": "more_memory", "detail": f"{decision.amounts[at] // (UNIT * 2**20)} MiB from now on"}

    def launched(self, decision: d.Launch, now_us: int) -> Iterator[_Found]:
        at = self._place(decision)
        if at < 0:
            return
        before, self._attempt, self._node = self._attempt, decision.attempts[at], decision.node
        detail = f"was ready for {max(0, now_us - self._ready_us) / _SECOND_US:.3f} s"
        if before:
            detail += f"; supersedes attempt {before}"
        yield {"what": "launched", "attempt": self._attempt, "node": decision.node, "detail": detail}

    def asked(self, decision: d.Stop | d.Recall | d.Evict, _: int) -> Iterator[_Found]:
        at = self._place(decision)
        if at < 0:
            return
        other = JobKey(decision.wanted_by) if isinstance(decision, d.Evict) else JobKey(0)
        by = self._reader.public_ids([other]).get(other, "") if other else ""
        yield {
            "what": {d.Stop: "stop", d.Recall: "recall", d.Evict: "evict"}[type(decision)],
            "attempt": decision.attempts[at],
            "node": decision.node,
            "by": by,
            "reason": words(decision.reason),
            "detail": "it makes room for that job" if by else "",
        }

    def judged(self, decision: JudgeApprovals, _: int) -> Iterator[_Found]:
        if self._place(decision) >= 0:
            what = "approved" if decision.approved else "rejected"
            yield {"what": what, "by": decision.by, "reason": words(decision.reason), "detail": decision.note}

    def assigned(self, decision: d.Assign, _: int) -> Iterator[_Found]:
        if decision.key != self._key:
            return
        others = [f"{one.agent}: {words(one.reason)}" for one in decision.others]
        others += [f"{decision.more} more"] if decision.more else []
        yield {
            "what": "assigned" if decision.agent else "given_back",
            "by": decision.agent,
            "reason": words(decision.reason),
            "detail": "; ".join(others),
        }

    def said(self, decision: d.Promote | d.MarkMissed | d.StartGang | d.KeepNoRoom, _: int) -> Iterator[_Found]:
        if self._place(decision) >= 0:
            yield {"what": _SAID[type(decision)]}

    def finished(self, decision: d.Finish, _: int) -> Iterator[_Found]:
        if self._place(decision) >= 0:
            self.over = True
            yield {"what": "over", "reason": words(decision.reason), "detail": JobState(decision.state).name.lower()}


_WANTED: dict[type, str] = {
    e.CancelRequested: "cancel_requested",
    e.HoldRequested: "hold_requested",
    e.ReleaseRequested: "release_requested",
    e.PriorityChanged: "reprioritised",
}
_SAID: dict[type, str] = {
    d.Promote: "goes_before_others",
    d.MarkMissed: "deadline_missed",
    d.StartGang: "gang_starts",
    d.KeepNoRoom: "room_given_up",
}
_TELLERS: dict[type, Callable[[_Teller, Any, int], Iterator[_Found]]] = {
    e.JobsSubmitted: _Teller.submitted,
    e.AttemptsEntered: _Teller.entered,
    e.AttemptsEnded: _Teller.ended,
    e.NodeLost: _Teller.node_lost,
    e.NodePressed: _Teller.pressed,
    e.CheckpointsStored: _Teller.saved,
    **dict.fromkeys(_WANTED, _Teller.wanted),
    JudgeApprovals: _Teller.judged,
    d.MakeReady: _Teller.ready,
    d.Hold: _Teller.held,
    d.RetryLater: _Teller.retried,
    d.RaiseMemory: _Teller.more_memory,
    d.Launch: _Teller.launched,
    d.Stop: _Teller.asked,
    d.Recall: _Teller.asked,
    d.LetBack: _Teller.let_back,
    d.Evict: _Teller.asked,
    d.Assign: _Teller.assigned,
    **dict.fromkeys(_SAID, _Teller.said),
    d.Finish: _Teller.finished,
}
