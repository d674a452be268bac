"""The fold of frames said a second time, job by job in plain Python, for the tables to be compared with."""

from dataclasses import dataclass, field

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.job import AttemptEnd, JobState, SlotKind
from kos_ray.model.reasons import Reason

S = JobState
SENT = (S.LAUNCHED, S.RUNNING, S.STOPPING)


@dataclass
class OneJob:
    state: JobState
    ready_us: int
    arg: bytes
    reason: int = 0
    attempt: int = 0
    failures: int = 0
    node: str | None = None
    pid: int = 0
    outcome: int | None = None
    launched_us: int = 0
    entered_us: int = 0
    ended_us: int = 0
    due_us: int = 0
    band: int | None = None
    result: bytes | None = None
    past: list[tuple] = field(default_factory=list)
    errors: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    logs: dict[int, tuple[str, int, int]] = field(default_factory=dict)

    def leave_attempt(self, now: int) -> None:
        if self.state in SENT:
            outcome = AttemptEnd.LOST if self.outcome is None else self.outcome
            times = (self.launched_us, self.entered_us, self.ended_us or now)
            self.past.append((self.attempt, outcome, self.node, self.pid, *times))
        self.node, self.pid, self.outcome, self.result = None, 0, None, None
        self.launched_us = self.entered_us = self.ended_us = 0


class Oracle:
    def __init__(self) -> None:
        self.jobs: dict[int, OneJob] = {}
        self.nodes: dict[str, bool] = {}

    def fold(self, now: int, events, decisions) -> None:
        self.now, self.lost = now, set()
        for record in (*events, *decisions):
            getattr(self, type(record).__name__, lambda _: None)(record)

    def current(self, key: int, attempt: int) -> OneJob | None:
        job = self.jobs.get(key)
        fits = job and job.attempt == attempt and job.state in SENT and job.outcome is None
        return job if fits else None

    def JobsSubmitted(self, event: e.JobsSubmitted) -> None:  # noqa: N802
        blocked = {x.key for x in event.dependencies if x.waits}
        for key, arg in enumerate(event.args, event.first):
            if key in blocked:
                self.jobs[key] = OneJob(S.BLOCKED, 0, arg, reason=1)
            else:
                self.jobs[key] = OneJob(S.READY, self.now, arg)

    def NodesJoined(self, event: e.NodesJoined) -> None:  # noqa: N802
        self.nodes |= {node.id: True for node in event.nodes}

    def NodeLost(self, event: e.NodeLost) -> None:  # noqa: N802
        self.lost.add(event.node)
        if event.node in self.nodes:
            self.nodes[event.node] = False

    def AttemptsEntered(self, event: e.AttemptsEntered) -> None:  # noqa: N802
        pids = event.pids or (0,) * len(event.keys)
        for key, attempt, at, pid in zip(event.keys, event.attempts, event.entered_us, pids, strict=True):
            job = self.current(key, attempt)
            if job is None or event.node in self.lost or job.entered_us:
                continue
            if job.state is S.LAUNCHED:
                job.state, job.entered_us, job.pid = S.RUNNING, at, pid
            elif job.state is S.STOPPING:
                job.entered_us, job.pid = at, pid

    def AttemptsEnded(self, event: e.AttemptsEnded) -> None:  # noqa: N802
        errors = {x.index: (x.type, x.message, x.traceback) for x in event.errors}
        logs = {index: rest for index, *rest in event.logs}
        for i, key in enumerate(event.keys):
            job = self.current(key, event.attempts[i])
            if job is None or event.node in self.lost or job.node != event.node:
                continue
            job.outcome, job.pid, job.ended_us = event.ends[i], event.pids[i], event.ended_us[i]
            job.entered_us = event.entered_us[i] or job.entered_us
            job.result = event.results[i]
            if i in errors:
                job.errors[job.attempt] = errors[i]
            if i in logs:
                job.logs[job.attempt] = tuple(logs[i])

    def MakeReady(self, decision: d.MakeReady) -> None:  # noqa: N802
        for key in decision.keys:
            job = self.jobs[key]
            job.leave_attempt(self.now)
            job.state, job.reason, job.ready_us, job.due_us = S.READY, decision.reason, self.now, 0

    def Hold(self, decision: d.Hold) -> None:  # noqa: N802
        for key in decision.keys:
            job = self.jobs[key]
            job.leave_attempt(self.now)
            job.state, job.reason, job.due_us = S.HELD, decision.reason, 0

    def PriorityChanged(self, event: e.PriorityChanged) -> None:  # noqa: N802
        for key in event.keys:
            if not self.jobs[key].state.final:
                self.jobs[key].band = event.band

    def RetryLater(self, decision: d.RetryLater) -> None:  # noqa: N802
        for key, due, reason in zip(decision.keys, decision.due_us, decision.reasons, strict=True):
            job = self.jobs[key]
            job.leave_attempt(self.now)
            job.state, job.reason, job.due_us = S.BACKOFF, reason, due
            job.failures += reason not in (Reason.UNDELIVERED, Reason.NODE_LOST)

    def Launch(self, decision: d.Launch) -> None:  # noqa: N802
        assert isinstance(decision.kind, SlotKind)
        for key, attempt in zip(decision.keys, decision.attempts, strict=True):
            job = self.jobs[key]
            job.state, job.reason, job.attempt, job.node = S.LAUNCHED, 0, attempt, decision.node
            job.launched_us = self.now

    def Stop(self, decision: d.Stop) -> None:  # noqa: N802
        for key in decision.keys:
            self.jobs[key].state, self.jobs[key].reason = S.STOPPING, decision.reason

    def Finish(self, decision: d.Finish) -> None:  # noqa: N802
        for key in decision.keys:
            job = self.jobs[key]
            if job.state in SENT and job.outcome is None:
                job.outcome = AttemptEnd.LOST
            job.ended_us = job.ended_us or self.now
            job.state, job.reason, job.due_us = JobState(decision.state), decision.reason, 0
