"""The auditor: what must be true, by what clients saw and what slots did. It never looks at the scheduler's ledger."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from kos_ray.model.dependency import Rule
from kos_ray.model.events import CancelRequested, HoldRequested
from kos_ray.model.gang import GangMode
from kos_ray.model.ids import JobKey
from kos_ray.model.job import After, AttemptEnd, Eviction, Guarantee, JobState, SlotKind, Spec
from kos_ray.model.protocol import Orders
from kos_ray.model.reasons import Reason
from kos_ray.model.rebalance import Rebalance
from kos_ray.sim.carried import Carried, agent_of
from kos_ray.sim.code import Fate, Inputs, Lives, Run
from kos_ray.sim.memory import check_memory, memory_of, with_memory
from kos_ray.sim.moves import Moves
from kos_ray.sim.rules import dependencies
from kos_ray.sim.workload import ArrayPlan, Plan, Workload
from kos_ray.sim.world import Violation, World

#: state, reason, result, error message
Outcome = tuple[JobState, Reason, bytes, str]

#: what a job failed of when its own code was to blame
_OWN_FAULT = (Reason.USER_ERROR, Reason.TIMEOUT, Reason.CRASHED, Reason.UNPREPARED)


#: what a job is over of that made room for another one
_MADE_ROOM = (Reason.PREEMPTED, Reason.RECLAIMED, Reason.ROTATED)


class Entry:
    """One entry into a job's code, as its slot saw it. `end` is None while it goes on, or when its agent died."""

    __slots__ = ("at_us", "end", "ended_us", "gone", "inputs", "machine", "number", "result")

    def __init__(self, number: int, machine: str, at_us: int, inputs: Inputs) -> None:
        self.number = number
        self.machine = machine
        self.at_us = at_us
        self.inputs = inputs
        self.end: AttemptEnd | None = None
        self.ended_us = 0
        self.result = b""
        #: its process is no more, whoever heard of that
        self.gone = False


class Story:
    """All that was seen of one job."""

    __slots__ = (
        "cancel_acked",
        "cancel_asked",
        "charged",
        "entries",
        "held",
        "key",
        "memory",
        "ordered",
        "outcome",
        "plan",
        "sent",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        #: some client has asked for it
        self.sent = False
        self.key: JobKey | None = None
        #: attempt -> when its launch was given to the network
        self.ordered: dict[int, int] = {}
        self.entries: list[Entry] = []
        #: attempt -> the memory that its agent was told to hold for it
        self.memory: dict[int, int] = {}
        #: attempts that ended at the job's charge -> the machine where
        self.charged: dict[int, tuple[str, int]] = {}
        self.cancel_asked = False
        self.cancel_acked = False
        #: holds that were acknowledged, and after which nobody has asked for its release
        self.held: set[str] = set()
        self.outcome: Outcome | None = None

    @property
    def last(self) -> int:
        """The highest attempt that was ordered."""
        return max(self.ordered, default=0)


class Auditor:
    """Hears of everything that is visible from outside, and raises at the first contradiction."""

    def __init__(
        self, world: World, workload: Workload, *, leases: bool = False, rebalance: Rebalance | None = None
    ) -> None:
        #: whether exclusive work runs under leases, so that it is nowhere twice
        self.leases = leases
        self.stories = {plan_id: Story(plan) for plan_id, plan in workload.plans.items()}
        #: tells the story of a job that no client asks for; None where nobody may
        self.scheduled: Callable[[str], Story | None] = lambda _public_id: None
        #: the same of a life of an agent that a message has begun, by the key of the job
        self.called: Callable[[str, JobKey], Story | None] = lambda _public_id, _key: None
        self.carried = Carried(world)
        self.carried.watch(self)
        self.moves = Moves(rebalance or Rebalance())
        #: machines that were lost, or whose agent died: what ended there may never have been heard
        self.tainted: set[str] = set()
        self.by_key: dict[JobKey, Story] = {}
        #: kinds of the processes that have entered user code, by machine and pid
        self.kinds: dict[tuple[str, int], SlotKind] = {}
        #: those of them that are for a single use
        self.used: set[tuple[str, int]] = set()
        #: client by array
        self._client_of: dict[str, str] = {}
        #: wall clocks have jumped: delays cannot be told
        self.jumped = False
        #: attempts that were stopped so that their gang starts over
        self._restarted: set[tuple[JobKey | None, int]] = set()
        #: what happened to attempts that is a fault, as far as jobs go
        self.landed: Counter[str] = Counter()
        self._world = world
        #: jobs that are to run one at a time, by line; those for which the line is only one way of several are left out
        self._lines: dict[tuple[str, str, str], list[str]] = {}
        for client, requests in enumerate(workload.requests):
            for array in (array for request in requests if not request.twin for array in request.arrays):
                self._client_of[array.id] = str(client)
                if array.singleton and array.rule is not Rule.ONE_MET:
                    # those of a request that is to be refused have no story
                    known = [plan.id for plan in array.jobs if plan.id in self.stories]
                    self._lines.setdefault(self._line(array), []).extend(known)

    def _line(self, array: ArrayPlan) -> tuple[str, str, str]:
        return array.spec.namespace, self._client_of[array.id], array.singleton

    def expect(self, holds: bool, what: str, about: Any) -> None:
        """Raise a violation unless it holds."""
        if not holds:
            raise Violation(f"{what}: {about}")

    def story(self, public_id: str, key: JobKey) -> Story | None:
        """The story of a job, which may be one that a schedule or an agent makes; None where nobody asks for it."""
        story = self.stories.get(public_id)
        if story is None and (story := self.scheduled(public_id) or self.called(public_id, key)) is not None:
            self.stories[public_id] = story
        return story

    @property
    def lives(self) -> Lives:
        """See `UserCode`."""
        return self.carried

    # --- what clients see

    def sent(self, plans: list[Plan]) -> None:
        """A client has asked for jobs."""
        for plan in plans:
            self.stories[plan.id].sent = True

    def accepted(self, plans: list[Plan], keys: list[JobKey]) -> None:
        """A request was acknowledged; a second acknowledgement is the same as the first."""
        for plan, key in zip(plans, keys, strict=True):
            story = self.stories[plan.id]
            self.expect(story.key in (None, key), "acknowledged twice, differently", (plan.id, story.key, key))
            self.expect(self.by_key.get(key, story) is story, "one key for two jobs", (plan.id, key))
            story.key = key
            self.by_key[key] = story

    def cancel_asked(self, keys: tuple[JobKey, ...]) -> None:
        """A client wants jobs to end."""
        for key in keys:
            self.by_key[key].cancel_asked = True

    def granted(self, wish: object) -> None:
        """The scheduler has given its word: nothing new is launched against it."""
        if isinstance(wish, CancelRequested):
            for key in wish.keys:
                self.by_key[key].cancel_acked = True
        elif isinstance(wish, HoldRequested):
            for key in wish.keys:
                self.by_key[key].held.add(wish.request_id)

    def released(self, keys: tuple[JobKey, ...]) -> None:
        """A client lets jobs go on: every hold of them is over."""
        for key in keys:
            self.by_key[key].held.clear()

    def delivered(self, key: JobKey, outcome: Outcome) -> None:
        """A client was told how a job ended."""
        story = self.by_key.get(key)
        if story is None:
            raise Violation(f"an outcome of a job that no client knows: {key}")
        about = (story.plan.id, outcome, story.outcome)
        self.expect(story.outcome in (None, outcome), "two outcomes of one job", about)
        story.outcome = outcome
        state, reason, result, error = outcome
        self.expect(state.final, "an outcome that is none", about)
        if state is JobState.SUCCEEDED:
            results = [e.result for e in story.entries if e.end is AttemptEnd.SUCCEEDED and e.number == story.last]
            self.expect(results == [result], "a result that the accepted attempt did not produce", (about, results))
        elif state is JobState.CANCELLED and reason is Reason.TOO_MANY_FAILED:
            self.expect(bool(story.plan.array.max_failures), "given up though nobody asked for that", about)
        elif state is JobState.CANCELLED and reason is Reason.GANG_ENDED:
            self.expect(story.plan.array.gang is not None, "ended with a gang that it has not", about)
        elif state is JobState.CANCELLED:
            gave_way = reason in _MADE_ROOM and story.plan.array.spec.eviction is Eviction.CANCEL
            self.expect(story.cancel_asked or gave_way, "cancelled by nobody", about)
        elif state is JobState.LOST:
            once = story.plan.array.spec.guarantee is Guarantee.AT_MOST_ONCE
            self.expect(once, "lost though it may be run again", about)
        elif state is JobState.FAILED and reason in _OWN_FAULT:
            own = error.endswith(f"in attempt {story.last}") if reason is not Reason.TIMEOUT else not error
            self.expect(own, "an error of another attempt", about)

    # --- what slots and links see

    def ordered(self, orders: Orders) -> None:
        """Orders were given to the network."""
        now_us = self._world.now_us
        for stop in orders.stops:
            if stop.reason is Reason.GANG_RESTARTED:
                self._restarted.update(zip(stop.keys, stop.attempts, strict=True))
        for launch in orders.launches:
            for public_id, key, number in zip(launch.ids, launch.keys, launch.attempts, strict=True):
                story = self.story(public_id, key)
                if story is None or not story.sent:
                    raise Violation(f"a job that no client asked for: {public_id}")
                about = (public_id, number, story.ordered)
                self.expect(number > story.last, "an attempt was ordered twice", about)
                self.expect(not story.cancel_acked, "launched after its cancellation was acknowledged", about)
                self.expect(not story.held, "launched though it is held", about)
                self.expect(story.outcome is None, "launched after its outcome was told", about)
                self._check_delay(story, number, now_us)
                story.ordered[number] = now_us
            if agent_of(launch.kind):
                self.carried.sent(launch)

    def _check_delay(self, story: Story, number: int, now_us: int) -> None:
        machine, ended_us = story.charged.get(number - 1, ("", 0))
        spec = story.plan.array.spec
        # an agent that was given up starts again when somebody wants that
        if not machine or machine in self.tainted or self.jumped or spec.carries is not None:
            return
        # whoever is stopped with its gang goes on with it, though it fails before it hears of that
        if (story.key, number - 1) in self._restarted:
            return
        backoff = spec.backoff
        least_us = int(backoff.first_ms * 1_000 * (1 - backoff.jitter))
        self.expect(now_us - ended_us >= least_us, "tried again before its delay was over", (story.plan.id, number))

    def launched(self, job: str, number: int, spec: Spec | None, args: bytes, kind: SlotKind) -> bool:
        """See `UserCode`."""
        story = self.stories[job]
        plan = story.plan
        wanted = (plan.array.spec, plan.args, with_memory(self.carried.kind_of(story, kind), memory_of(kind)))
        self.expect((spec, args, kind) == wanted, "launched as another job", (plan.id, number, spec, args, kind))
        story.memory[number] = memory_of(kind)
        self.carried.given(story, number, kind)
        check_memory(self, story, number)
        return next_run(story).fate is not Fate.UNPREPARED

    def entered(self, job: str, number: int, inputs: Inputs, machine: str, pid: int) -> Run:
        """See `UserCode`."""
        story, now_us = self.stories[job], self._world.now_us
        plan = story.plan
        self._world.note("%s enters attempt %d on %s in %d", plan.id, number, machine, pid)
        kind = with_memory(self.carried.lane_of(story, number), story.memory[number])
        self._check_process(plan, kind, (machine, pid))
        run = next_run(story)
        if run.fate is Fate.UNPREPARED:
            run = Run(Fate.FAIL, 10)
        if run.fate is Fate.STARVE and story.memory[number] >= run.memory:
            run = Run(Fate.SUCCEED, run.run_us, run.looks_us)
        about = (plan.id, number)
        entered_before = [entry.number for entry in story.entries]
        self.expect(number not in entered_before, "one attempt entered twice", about)
        if plan.array.spec.guarantee is Guarantee.AT_MOST_ONCE:
            self.expect(not entered_before, "an at-most-once job entered twice", (about, entered_before))
        if self.leases and plan.array.spec.guarantee is Guarantee.EXACTLY_ONCE:
            there = [entry.number for entry in story.entries if not entry.gone]
            self.expect(not there, "exclusive work is entered while it runs elsewhere", (about, there))
        for parent in _needed(plan):
            ends = [entry.end for entry in self.stories[parent.id].entries]
            self.expect(AttemptEnd.SUCCEEDED in ends, "entered before its parent succeeded", (about, parent.id))
        self.expect(len(inputs) == len(plan.array.inputs), "too few inputs", (about, inputs))
        story.entries.append(Entry(number, machine, now_us, inputs))
        self._check_company(story)
        return run

    def _check_company(self, story: Story) -> None:
        """No more items of an array run at once than may, and no two jobs of one line."""
        array = story.plan.array
        running = [plan.id for plan in array.jobs if self._runs(plan.id)]
        if array.at_most:
            self.expect(len(running) <= array.at_most, "too many items at once", (array.id, array.at_most, running))
        if array.singleton and array.rule is not Rule.ONE_MET:
            line = [other for other in self._lines[self._line(array)] if self._runs(other)]
            self.expect(len(line) <= 1, "two of one line run at once", (array.id, line))

        if array.gang is not None and array.gang.mode is GangMode.ALL:
            self._check_round(story)

    def gang_of(self, story: Story) -> list[Story]:
        """All members of the gang that a job is of, itself as well; nobody where it is of none."""
        array = story.plan.array
        if array.gang is None:
            return []
        size = array.gang.size or len(array.jobs)
        begin = array.jobs.index(story.plan) // size * size
        return [self.stories[plan.id] for plan in array.jobs[begin : begin + size]]

    def _check_round(self, story: Story) -> None:
        """Members of a gang that needs all run together only when they were sent at one instant."""
        running = [other for other in self.gang_of(story) if self._runs(other.plan.id)]
        sent = {other.plan.id: other.ordered[other.entries[-1].number] for other in running}
        self.expect(len(set(sent.values())) <= 1, "members of two rounds of a gang run at once", sent)

    def _runs(self, job: str) -> bool:
        return any(entry.end is None and entry.machine not in self.tainted for entry in self.stories[job].entries)

    def _check_process(self, plan: Plan, kind: SlotKind, process: tuple[str, int]) -> None:
        """A process serves one kind, and what is for a single use once."""
        before = self.kinds.setdefault(process, kind)
        self.expect(before == kind, "a process serves two kinds", (plan.id, process, before))
        if kind.single_use:
            self.expect(process not in self.used, "a process for a single use is used again", (plan.id, process))
            self.used.add(process)

    def ended(self, job: str, number: int, machine: str, end: AttemptEnd, result: bytes) -> None:
        """See `UserCode`."""
        story = self.stories[job]
        self._world.note("%s attempt %d ends %s", job, number, end.name.lower())
        if end.charged:
            story.charged[number] = (machine, self._world.now_us)
        if end is AttemptEnd.DECLINED:
            self.carried.declined(story, number, machine)
        if end is AttemptEnd.OUT_OF_MEMORY:
            self.landed["out of memory"] += 1
        for entry in story.entries:
            if entry.number == number:
                entry.end, entry.ended_us, entry.result, entry.gone = end, self._world.now_us, result, True
                self.landed["lease over"] += end is AttemptEnd.LOST and self.leases

    def vanished(self, job: str, number: int) -> None:
        """See `UserCode`."""
        for entry in self.stories[job].entries:
            entry.gone = entry.gone or entry.number == number

    def taint(self, machine: str) -> None:
        """What happened on a machine may never be heard of."""
        self.tainted.add(machine)


def next_run(story: Story) -> Run:
    """What the next entry of a job will do."""
    runs = story.plan.runs
    unprepared = sum(1 for number in story.charged if number not in {e.number for e in story.entries})
    return runs[min(len(story.entries) + unprepared, len(runs) - 1)]


def _needed(plan: Plan) -> list[Plan]:
    """The parents that must have succeeded before a job is entered."""
    if plan.array.rule is not Rule.ALL_MET:
        return []
    return [parent for parent, kind in dependencies(plan) if kind in (After.OK, After.CORR)]
