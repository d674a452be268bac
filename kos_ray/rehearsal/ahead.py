"""What comes of a live state that is left alone: the production scheduler goes on in virtual time from there.

The state is a copy, made through a snapshot, and is used up. Attempts that run go on for what is left of their run
times; all succeed, and nothing arrives but what is told at first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import MS_US, JobKey, NodeId
from kos_ray.model.job import JobState
from kos_ray.model.policy import Amounts
from kos_ray.model.reasons import Reason
from kos_ray.rehearsal.nodes import Attempt, Nodes, attempt_of
from kos_ray.scheduler.explain import why
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.ledger import lane_of
from kos_ray.scheduler.machine import next_due_us, step
from kos_ray.scheduler.state import State

#: how far ahead is looked, and in how many passes: windows are known for so long
HORIZON_US = 60 * 86_400 * 1_000_000
PASSES_MAX = 5_000
#: passes in a row without anything on a node that could change what waits
_IDLE_PASSES_MAX = 50
_NOWHERE = NodeId("")


@dataclass(slots=True)
class Fate:
    """What became of one job. Instants are 0 where they did not come."""

    #: where it started first
    node: NodeId = _NOWHERE
    start_us: int = 0
    end_us: int = 0
    #: what held it after the first pass
    reason: Reason = Reason.NONE
    #: who was asked to make room for it
    victims: list[JobKey] = field(default_factory=list)
    #: what the settings let its namespace use on top, when it had started
    quota: Amounts = ()


class Ahead:
    """One look ahead. `run` may be called once."""

    def __init__(self, state: State, now_us: int, run_us: Callable[[Job], int]) -> None:
        """`run_us`: how long the attempt of a job, on a node or about to be, has to run from now on."""
        self._state = state
        self._now_us = self._first_us = now_us
        self._run_us = run_us
        self._fates: dict[JobKey, Fate] = {}
        #: those of the jobs that are not over, and will be
        self._open: set[JobKey] = set()
        #: what savers have to run yet that were evicted
        self._left_us: dict[JobKey, int] = {}
        #: counts the scheduler's passes
        self.passes = 0
        self._nodes = Nodes(now_us)
        self._take_over()

    def run(self, events: Sequence[e.Event], keys: Iterable[JobKey]) -> dict[JobKey, Fate]:
        """Tell what happens now, and see what becomes of these jobs."""
        self._fates = {key: Fate() for key in keys}
        self._open = set(self._fates)
        self._pass(list(events))
        for key in self._open:
            self._fates[key].reason = why(self._state, self._state.jobs[key])
        idle = 0
        while self.passes < PASSES_MAX:
            next_us = self._next_us()
            if not self._open or next_us is None or idle > _IDLE_PASSES_MAX:
                break
            self._now_us = next_us
            told = list(self._nodes.events(next_us))
            idle = 0 if told or self._next_end_us() is not None else idle + 1
            self._pass(told)
        return self._fates

    # --- what runs already

    def _take_over(self) -> None:
        """Attempts go on, in the order in which they were launched: of what ends at one instant that is told first."""
        entered: set[JobKey] = set()
        lanes = [lane for node in self._state.nodes.values() for lane in node.lanes.values()]
        for lane in lanes:
            held = sorted(lane.held, key=lambda key: self._state.jobs[key].state is JobState.LAUNCHED)
            entered.update(held[: lane.slots])
        jobs = [self._state.jobs[key] for lane in lanes for key in lane.held]
        for job in sorted(jobs, key=lambda job: (job.started_us, job.key)):
            attempt = attempt_of(job, self._run_us(job))
            attempt.entered_us = job.started_us if job.key in entered else -1
            attempt.told = job.state is not JobState.LAUNCHED
            self._nodes.hold(attempt.node, attempt.kind, lane_of(job).slots, [attempt])
            if job.state is JobState.STOPPING:
                self._nodes.end_by(attempt, self._stops_us(job))

    def _stops_us(self, job: Job) -> int:
        """When an attempt that was asked to stop ends; whoever was not evicted is taken to have been asked just now."""
        if job.entry.saves:
            return self._now_us
        policy = self._state.policy
        barred = job.barred if job.evicted_for is not None else None
        asked_us = barred[1] - policy.exempt_us if barred else self._now_us
        return max(self._now_us, asked_us + (job.entry.spec.grace_ms or policy.stop_grace_ms) * MS_US)

    # --- time

    def _next_end_us(self) -> int | None:
        """When something happens on a node next, as far as is looked."""
        found = self._nodes.next_us()
        return found if found is not None and found <= self._now_us + HORIZON_US else None

    def _next_us(self) -> int | None:
        due_us = next_due_us(self._state, self._now_us)
        instants = (self._next_end_us(), None if due_us is None else max(due_us, self._now_us + 1))
        return min((instant for instant in instants if instant is not None), default=None)

    def _pass(self, events: list[e.Event]) -> None:
        self.passes += 1
        self._note_ends()
        decisions = step(self._state, events, self._now_us)
        for decision in decisions:
            self._nodes.carry_out(decision, self._attempt)
            match decision:
                case d.Evict() if decision.wanted_by in self._fates:
                    self._fates[decision.wanted_by].victims += decision.keys
                case d.Finish():
                    for key in self._fates.keys() & set(decision.keys):
                        self._fates[key].end_us = self._now_us
                        self._open.discard(key)
                case _:
                    pass
        for attempt in self._nodes.started:
            if attempt.key in self._fates:
                self._started(attempt)
        self._nodes.started.clear()

    # --- what happens to jobs

    def _attempt(self, key: JobKey) -> Attempt:
        job = self._state.jobs[key]
        left_us = self._left_us.get(key)
        return attempt_of(job, self._run_us(job) if left_us is None else left_us)

    def _started(self, attempt: Attempt) -> None:
        fate, state = self._fates[attempt.key], self._state
        known = attempt.end_us <= self._now_us + HORIZON_US
        fate.end_us = attempt.end_us if known else 0
        if not known:
            self._open.discard(attempt.key)
        if not fate.start_us:
            fate.node, fate.start_us = attempt.node, self._now_us
            fate.quota = state.tree.left(state.reserved, attempt.kind.namespace)

    def _note_ends(self) -> None:
        """What a job saved before it made room it need not run again."""
        for attempt in self._nodes.ended:
            if attempt.saves:
                ran_us = attempt.end_us - max(attempt.entered_us, self._first_us)
                self._left_us[attempt.key] = max(1, attempt.run_us - ran_us)
        self._nodes.ended.clear()
