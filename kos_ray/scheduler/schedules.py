"""Schedules as part of the state, and what becomes of their fires: instants in, verdicts out.

Which instants a rule names is found outside (`engine/schedules.py`) and enters with the events, as windows do. Here it
is decided what overlap, catch-up and a pause make of them. Whoever is due stands in a heap: the others cost nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple

from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.occasion import ConditionsDue, OccasionsNoted
from kos_ray.model.reasons import Reason
from kos_ray.model.schedule import (
    CatchUp,
    Outcome,
    Overlap,
    Schedule,
    ScheduleFired,
    ScheduleForeseen,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleSet,
)
from kos_ray.scheduler.reactions import Reactions

#: a fire that is late by no more was not missed: it starts as if it were in time
GRACE_US = 10_000_000
#: fires that may wait for the end of the job before them
BUFFER_MAX = 1_000


#: of very many schedules nearly all have no jobs: these are everybody's, and nobody changes them
_NO_JOBS: dict[JobKey, int] = {}
_NOTHING: Mapping[int, tuple[str, str]] = {}


class Standing:
    """How a schedule stands."""

    __slots__ = (
        *("ahead", "asked", "buffer", "due_us", "fires", "last", "last_us"),
        *("_schedule", "live", "next_us", "note", "paused", "waiting"),
    )

    def __init__(self, schedule: Schedule | Callable[[], Schedule]) -> None:
        # one from a snapshot is read when somebody needs it: of very many, few are soon
        self._schedule = schedule
        #: its next fire (0: none), and when that is due
        self.next_us = 0
        self.due_us = 0
        self.paused = False
        self.note = ""
        #: how many have been started, or wait to be
        self.fires = 0
        #: its live jobs and their nominal instants
        self.live: dict[JobKey, int] = _NO_JOBS
        #: fires that start when those have ended
        self.buffer: tuple[int, ...] = ()
        #: live jobs that somebody asked for: they count for no overlap
        self.asked: frozenset[JobKey] = frozenset()
        #: the last of its jobs that succeeded, 0 for none
        self.last = JobKey(0)
        #: of a rule of somebody else's: its instants, as far as it was asked
        self.ahead: tuple[int, ...] = ()
        #: of a reaction: its newest nominal instant, and what is told of the buffered ones: id of the event, and JSON
        self.last_us = 0
        self.waiting: Mapping[int, tuple[str, str]] = _NOTHING

    @property
    def schedule(self) -> Schedule:
        """What it is."""
        if not isinstance(self._schedule, Schedule):
            self._schedule = self._schedule()
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self._schedule = schedule


@dataclass(slots=True)
class Schedules:
    """All of them. `due` is a heap of `(due_us, key)`; an entry that is not the schedule's own is stale."""

    by_key: dict[str, Standing] = field(default_factory=dict)
    #: the schedule of each live job of one that is still there; and when live jobs that any made were due
    of_job: dict[JobKey, str] = field(default_factory=dict)
    nominal: dict[JobKey, int] = field(default_factory=dict)
    #: of live jobs, the one whose result each is handed: the last that had succeeded when it was made
    handed: dict[JobKey, JobKey] = field(default_factory=dict)
    due: list[tuple[int, str]] = field(default_factory=list)
    #: what live jobs of reactions are told of their events, as JSON
    told: dict[JobKey, str] = field(default_factory=dict)
    reactions: Reactions = field(default_factory=Reactions)
    #: schedules whose rule is to be asked, and behind which instant
    unforeseen: dict[str, int] = field(default_factory=dict)
    #: those with a buffered fire that can start now
    ready: dict[str, None] = field(default_factory=dict)

    def next_due_us(self) -> int | None:
        """When `due_now` has something, or ends of jobs are to be told; 0 for at once."""
        if self.ready or self.reactions.ends:
            return 0
        while self.due and self._is_stale(*self.due[0]):
            heappop(self.due)
        condition_us = self.reactions.next_due_us()
        if not self.due or condition_us is None:
            return condition_us if not self.due else self.due[0][0]
        return min(condition_us, self.due[0][0])

    def due_now(self, now_us: int, most: int) -> list[Standing]:
        """Those that are to be asked about now, the first due first, no more than `most`. Nothing is changed."""
        found = [self.by_key[key] for key in self.ready]
        later: list[tuple[int, str]] = []
        while self.due and self.due[0][0] <= now_us and len(found) < most:
            entry = heappop(self.due)
            if not self._is_stale(*entry) and (not later or later[-1] != entry):
                later.append(entry)
                if entry[1] not in self.ready:
                    found.append(self.by_key[entry[1]])
        for entry in later:
            heappush(self.due, entry)
        return found[:most]

    def wanted(self) -> set[JobKey]:
        """Jobs whose results may still be handed on."""
        return {standing.last for standing in self.by_key.values() if standing.last} | set(self.handed.values())

    def _is_stale(self, due_us: int, key: str) -> bool:
        standing = self.by_key.get(key)
        return standing is None or standing.due_us != due_us or not standing.next_us


class Verdict(NamedTuple):
    """What becomes of one fire."""

    nominal_us: int
    outcome: Outcome
    reason: Reason = Reason.NONE
    #: it waited in the buffer
    buffered: bool = False


class Verdicts(NamedTuple):
    """What becomes of fires, in their order, and which live jobs are cancelled for them."""

    fires: list[Verdict]
    cancel: list[JobKey]


def judge_fires(standing: Standing, nominals: Sequence[int], now_us: int) -> Verdicts:
    """What pause, catch-up and overlap make of fires whose time has come, and of those that are buffered.

    `nominals` are in order. One that is late by more than GRACE_US was missed; one that is older than the schedule's
    window never starts. Fires of one call are judged one after another, each as if those before it had started.
    """
    schedule = standing.schedule
    found: list[Verdict] = []
    cancel: dict[JobKey, None] = {}
    live, buffer, left = len(standing.live), list(standing.buffer), _left(standing)
    if buffer and not live:
        found.append(Verdict(buffer.pop(0), Outcome.SUBMITTED, buffered=True))
        live += 1
    chosen = _caught_up(schedule, [at for at in nominals if at < now_us - GRACE_US], now_us)
    for at_us in nominals:
        if standing.paused:
            found.append(Verdict(at_us, Outcome.SKIPPED, Reason.SCHEDULE_PAUSED))
            continue
        if at_us < now_us - GRACE_US and at_us not in chosen:
            late = at_us < now_us - schedule.window_us
            found.append(Verdict(at_us, Outcome.SKIPPED, Reason.MISSED_LONG_AGO if late else Reason.MISSED))
            continue
        if left == 0:
            break
        verdict, dropped = _overlapping(schedule.overlap, at_us, live, buffer)
        found += [Verdict(old, Outcome.SKIPPED, Reason.OVERLAP) for old in dropped]
        found.append(verdict)
        if live and schedule.overlap in (Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER):
            cancel.update(dict.fromkeys(standing.live))
        if verdict.outcome is not Outcome.SKIPPED:
            left -= 1
        live += verdict.outcome is Outcome.SUBMITTED
    return Verdicts(found, list(cancel))


def _left(standing: Standing) -> int:
    """How many fires it may still start; below 0: any number."""
    most = standing.schedule.fires_max
    return max(0, most - standing.fires) if most else -1


def _caught_up(schedule: Schedule, missed: Sequence[int], now_us: int) -> set[int]:
    """Those of the missed fires that start after all."""
    within = [at for at in missed if at >= now_us - schedule.window_us]
    match schedule.catch_up:
        case CatchUp.NONE:
            return set()
        case CatchUp.LATEST:
            return set(within[-1:])
        case CatchUp.EARLIEST:
            return set(within[:1])
    return set(within)


def _overlapping(overlap: Overlap, at_us: int, live: int, buffer: list[int]) -> tuple[Verdict, list[int]]:
    """What overlap makes of a fire; and which buffered ones are given up for it. Moves `buffer`."""
    if overlap in (Overlap.ALLOW_ALL, Overlap.TERMINATE_OTHER) or not (live or buffer):
        return Verdict(at_us, Outcome.SUBMITTED), []
    if overlap is Overlap.SKIP:
        return Verdict(at_us, Outcome.SKIPPED, Reason.OVERLAP), []
    dropped: list[int] = []
    if overlap is Overlap.CANCEL_OTHER:
        dropped, buffer[:] = list(buffer), []
    elif len(buffer) >= (1 if overlap is Overlap.BUFFER_ONE else BUFFER_MAX):
        return Verdict(at_us, Outcome.SKIPPED, Reason.OVERLAP), []
    buffer.append(at_us)
    return Verdict(at_us, Outcome.BUFFERED), dropped


# --- what happened


def fold(schedules: Schedules, event: Any) -> None:
    """An event of `model.schedule`, into the state."""
    if isinstance(event, ScheduleSet):
        _set(schedules, event)
    elif isinstance(event, OccasionsNoted):
        schedules.reactions.noted(event)
    elif isinstance(event, ConditionsDue):
        schedules.reactions.time_came(event)
    else:
        if isinstance(event, ScheduleFired) and event.job:
            schedules.nominal[event.job] = event.nominal_us
        if event.key in schedules.by_key:
            _OF_ONE[type(event)](schedules, schedules.by_key[event.key], event)


def _removed(schedules: Schedules, standing: Standing, event: ScheduleRemoved) -> None:
    del schedules.by_key[event.key]
    schedules.reactions.add(standing.schedule.namespace, event.key, None)
    schedules.unforeseen.pop(event.key, None)
    schedules.ready.pop(event.key, None)
    for key in (*standing.live, *standing.asked):
        del schedules.of_job[key]


def _paused(_schedules: Schedules, standing: Standing, event: SchedulePaused) -> None:
    standing.paused, standing.note = True, event.note


def _resumed(schedules: Schedules, standing: Standing, event: ScheduleResumed) -> None:
    standing.paused, standing.note = False, event.note
    _ask_on(schedules, standing)


def _ask_on(schedules: Schedules, standing: Standing) -> None:
    """Where all that a rule of somebody else's said is behind it, it is to be asked for more."""
    most = standing.schedule.fires_max
    if standing.schedule.foreign and standing.ahead and not standing.next_us and not (most and standing.fires >= most):
        schedules.unforeseen[standing.schedule.key] = standing.ahead[-1]


def _set(schedules: Schedules, event: ScheduleSet) -> None:
    key = event.schedule.key
    standing = schedules.by_key.get(key)
    if standing is None:
        standing = schedules.by_key[key] = Standing(event.schedule)
    standing.schedule = event.schedule
    schedules.reactions.add(event.schedule.namespace, key, event.schedule.on)
    _next(schedules, standing, event.next_us, event.due_us)
    schedules.unforeseen.pop(key, None)
    standing.ahead = ()
    if event.ask_after_us:
        schedules.unforeseen[key] = event.ask_after_us


def _foreseen(schedules: Schedules, standing: Standing, event: ScheduleForeseen) -> None:
    after_us = schedules.unforeseen.pop(event.key)
    if event.failed:
        standing.paused, standing.note = True, f"its rule: {event.failed}"
        standing.ahead = (after_us,)  # whoever resumes it has it asked again
        return
    standing.ahead = event.instants
    if event.instants:
        _next(schedules, standing, event.instants[0], event.instants[0])


def _next(schedules: Schedules, standing: Standing, next_us: int, due_us: int) -> None:
    most = standing.schedule.fires_max
    if most and standing.fires >= most:
        next_us = due_us = 0
    standing.next_us, standing.due_us = next_us, due_us
    if next_us:
        heappush(schedules.due, (due_us, standing.schedule.key))


def _hand(schedules: Schedules, standing: Standing, event: ScheduleFired) -> None:
    """What the job of a fire is told: of its event, and of the run before it."""
    schedules.of_job[event.job] = standing.schedule.key
    if event.told:
        schedules.told[event.job] = event.told
    if standing.last:
        schedules.handed[event.job] = standing.last


def _fired(schedules: Schedules, standing: Standing, event: ScheduleFired) -> None:
    waited = event.nominal_us in standing.buffer
    standing.last_us = max(standing.last_us, event.nominal_us)
    if waited and event.outcome is not Outcome.BUFFERED:
        standing.buffer = tuple(at for at in standing.buffer if at != event.nominal_us)
        standing.waiting = {at: told for at, told in standing.waiting.items() if at != event.nominal_us}
        standing.fires -= event.outcome is Outcome.SKIPPED
    if event.outcome is Outcome.BUFFERED:
        standing.buffer = (*standing.buffer, event.nominal_us)
        standing.fires += 1
        if event.told:
            standing.waiting = {**standing.waiting, event.nominal_us: (event.occasion, event.told)}
    if event.job:
        _hand(schedules, standing, event)
    if event.asked:
        standing.asked |= {event.job} if event.job else frozenset()
        return
    if event.outcome is Outcome.SUBMITTED:
        if not standing.live:
            standing.live = {}
        standing.live[event.job] = event.nominal_us
        standing.fires += not waited
    if not waited:
        _next(schedules, standing, event.next_us, event.due_us)
        _ask_on(schedules, standing)
    note_ready(schedules, standing)


_OF_ONE: dict[type, Callable[[Schedules, Standing, Any], None]] = {
    ScheduleRemoved: _removed,
    SchedulePaused: _paused,
    ScheduleResumed: _resumed,
    ScheduleForeseen: _foreseen,
    ScheduleFired: _fired,
}


def job_ended(schedules: Schedules, key: JobKey, outcome: JobState) -> None:
    """One of its jobs is over: a buffered fire may start, or a failure pauses it."""
    del schedules.nominal[key]
    schedules.handed.pop(key, None)
    schedules.told.pop(key, None)
    if key not in schedules.of_job:
        return
    standing = schedules.by_key[schedules.of_job.pop(key)]
    if outcome is JobState.SUCCEEDED:
        standing.last = key
    if key in standing.asked:
        standing.asked -= {key}
        return
    nominal_us = standing.live.pop(key)
    if standing.schedule.pause_on_failure and outcome in (JobState.FAILED, JobState.LOST) and not standing.paused:
        standing.paused = True
        standing.note = f"its job {key}, due at {nominal_us}, ended {outcome.name.lower()} (pause_on_failure)"
    note_ready(schedules, standing)


def note_ready(schedules: Schedules, standing: Standing) -> None:
    """Whether a buffered fire of a schedule can start now."""
    if standing.buffer and not standing.live:
        schedules.ready[standing.schedule.key] = None
    else:
        schedules.ready.pop(standing.schedule.key, None)
