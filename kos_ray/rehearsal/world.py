"""The page to read first: one workload through the production scheduler in virtual time.

    arrivals, ends of attempts, the scheduler's own timers  ──step──>  decisions  ──virtual nodes──>  ends of attempts

`scheduler.machine.step` is what runs in the live cluster. What is virtual is the clock, the nodes, and the code: an
attempt ends when its true run time is over. Messages take no time, and nothing fails.
"""

from collections.abc import Sequence
from dataclasses import replace

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.errors import KosError
from kos_ray.model.ids import MS_US, JobKey, SpecKey
from kos_ray.model.job import After, AttemptEnd, JobState, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.rehearsal.advised import Advised
from kos_ray.rehearsal.nodes import Attempt, Nodes, attempt_of
from kos_ray.rehearsal.record import Record
from kos_ray.rehearsal.workload import VirtualJob
from kos_ray.scheduler import invariants
from kos_ray.scheduler.machine import next_due_us, step
from kos_ray.scheduler.state import State

#: when a rehearsal starts, microseconds since the Unix epoch: 0 stands for "never" in events
START_US = 1_000_000
#: passes in a row in which nothing happens but time goes on; then what waits waits for ever
_IDLE_PASSES_MAX = 10_000


class RehearsalFailed(KosError):
    """What must hold after every step did not hold: a bug in the scheduler."""


class World:
    """One rehearsal. `run` may be called once."""

    def __init__(
        self, nodes: Sequence[Node], jobs: Sequence[VirtualJob], policy: Policy | None = None, *, check: bool = False
    ) -> None:
        self.state = State()
        self.record = Record(nodes, jobs, START_US)
        self._policy = policy or Policy()
        self._cluster = tuple(nodes)
        self._jobs = tuple(jobs)
        self._check_always = check
        self._nodes = Nodes()
        self.advised = Advised()
        self._specs: dict[Spec, SpecKey] = {}
        #: specs that are told in this pass
        self._told: set[SpecKey] = set()
        #: number of the job that a key belongs to, and what an attempt of it still has to run
        self._number: dict[JobKey, int] = {}
        self._left_us: dict[JobKey, int] = {}
        #: each job's first key
        self._first: list[JobKey] = []
        self._arrived = 0

    def run(self) -> Record:
        """What came of it.

        Raises:
            RehearsalFailed: an invariant of the scheduler was broken.
            PluginFailed: a plug-in that the policy names failed.
            Refused: there is none of that name.

        """
        events: list[e.Event] = [
            e.SchedulerStarted(epoch=1, version="0", policy=self._policy),
            e.NodesJoined(nodes=self._cluster),
        ]
        now_us: int | None = START_US
        idle = 0
        while now_us is not None:
            self.record.reach(now_us)
            events += self._arrivals(now_us)
            events += self._nodes.events(now_us)
            idle = 0 if events else idle + 1
            if idle > _IDLE_PASSES_MAX:
                break
            self._note_attempts()
            decisions = step(self.state, events, now_us)
            self._carry_out(decisions, now_us)
            if self._check_always:
                self._check(now_us)
            events = self.advised.events(self.state, events, decisions, now_us)
            now_us = now_us if events else self._next_us(now_us)
        self._check(self._nodes.now_us)
        self.record.close()
        return self.record

    # --- time

    def _next_us(self, now_us: int) -> int | None:
        """When something happens next; None when nothing will."""
        instants = [self._nodes.next_us()]
        if self._arrived < len(self._jobs):
            instants.append(START_US + self._jobs[self._arrived].at_us)
        if self.state.jobs:
            due_us = next_due_us(self.state, now_us)
            instants.append(None if due_us is None else max(due_us, now_us + 1))
        return min((instant for instant in instants if instant is not None), default=None)

    # --- what happens

    def _arrivals(self, now_us: int) -> list[e.Event]:
        found: list[e.Event] = []
        self._told.clear()
        while self._arrived < len(self._jobs) and START_US + self._jobs[self._arrived].at_us <= now_us:
            found.append(self._submitted(self._arrived, JobKey(len(self._left_us) + 1)))
            self._arrived += 1
        return found

    def _submitted(self, number: int, first: JobKey) -> e.Event:
        job = self._jobs[number]
        keys = [JobKey(first + index) for index in range(job.members)]
        self._first.append(first)
        self._number.update(dict.fromkeys(keys, number))
        self._left_us.update(dict.fromkeys(keys, job.run_us))
        spec = replace(job.spec, deadline_us=START_US + job.at_us + job.deadline_us) if job.deadline_us else job.spec
        spec_key = self._specs.setdefault(spec, SpecKey(len(self._specs) + 1))
        after = tuple((self._first[parent], self._jobs[parent].members, int(After.OK)) for parent in job.after)
        gone = [
            JobKey(parent + index)
            for parent, members, _ in after
            for index in range(members)
            if self._left_us[JobKey(parent + index)] < 0
        ]
        whole = job.members == 1
        return e.JobsSubmitted(
            request_id=str(number),
            first=first,
            ids=(f"j{number}",),
            counts=(-1 if whole else job.members,),
            specs=(spec_key,),
            args=(b"",) * job.members,
            new_specs=self._to_tell(spec_key, spec),
            dependencies=tuple(e.JobDependency(key=key, after=after) for key in keys) if after else (),
            ended_parents=tuple((key, int(JobState.SUCCEEDED)) for key in gone),
            gangs=() if whole else (e.NewGang(name=f"g{number}", ranges=((first, job.members),), least=job.members),),
            sender=job.user,
        )

    def _to_tell(self, key: SpecKey, spec: Spec) -> tuple[tuple[SpecKey, Spec], ...]:
        """A spec that the scheduler does not know, or has forgotten."""
        if key in self.state.specs or key in self._told:
            return ()
        self._told.add(key)
        return ((key, spec),)

    # --- what is decided

    def _carry_out(self, decisions: list[d.Decision], now_us: int) -> None:
        self.record.passes += 1
        for decision in decisions:
            if isinstance(decision, d.Evict):
                self.record.preemptions += len(decision.keys)
            elif isinstance(decision, d.Finish):
                self._finish(decision, now_us)
            self._nodes.carry_out(decision, self._attempt)
        self._note_attempts()

    def _attempt(self, key: JobKey) -> Attempt:
        return attempt_of(self.state.jobs[key], self._left_us[key])

    def _finish(self, decision: d.Finish, now_us: int) -> None:
        for key in decision.keys:
            self._left_us[key] = -1
            self.record.finished(self._number.pop(key), now_us, succeeded=decision.state == JobState.SUCCEEDED)

    def _note_attempts(self) -> None:
        """Have the record know who started and ended; what a job saved it need not run again."""
        for attempt in self._nodes.started:
            self.record.started(self._number[attempt.key], attempt)
        self._nodes.started.clear()
        for attempt in self._nodes.ended:
            ran_us = attempt.end_us - attempt.entered_us
            saved = attempt.end is AttemptEnd.STOPPED and attempt.saves
            if saved:
                self._left_us[attempt.key] -= ran_us
            self.record.ended(self._number[attempt.key], attempt, lost=attempt.end is AttemptEnd.STOPPED and not saved)
        self._nodes.ended.clear()

    def _check(self, now_us: int) -> None:
        broken = invariants.check(self.state)
        if broken:
            raise RehearsalFailed(f"after {(now_us - START_US) / MS_US:g} ms: {'; '.join(broken)}")
