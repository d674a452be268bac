"""Schedules and reactions: what starts jobs by itself. Instants are microseconds since the Unix epoch."""

from dataclasses import dataclass
from enum import IntEnum

from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.model.occasion import ConditionsDue, OccasionsNoted, Trigger
from kos_ray.model.reasons import Reason

HOUR_US = 3_600_000_000
#: how rules of others begin; see `plugins/rules.py`
FOREIGN = ("python:", "plugin:")


class Overlap(IntEnum):
    """What becomes of a fire while a job of an earlier one is live; Temporal's names. Stored in journals."""

    SKIP = 0
    BUFFER_ONE = 1  #: the first such fire starts when that job has ended; those behind it are skipped
    BUFFER_ALL = 2  #: all of them do, one after another
    CANCEL_OTHER = 3  #: that job is cancelled, and this one starts when it has ended
    TERMINATE_OTHER = 4  #: that job is cancelled, and this one starts at once
    ALLOW_ALL = 5


class CatchUp(IntEnum):
    """Which of the fires start that were missed while there was no scheduler. Stored in journals."""

    LATEST = 0
    NONE = 1
    EARLIEST = 2
    ALL = 3


class Outcome(IntEnum):
    """What became of a fire. Stored in journals."""

    SUBMITTED = 0
    SKIPPED = 1
    BUFFERED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When which job starts. The rules are text, which `kos_ray.timing` reads; any of them makes it fire."""

    name: str
    rules: tuple[str, ...]
    spec: Spec
    #: instead of rules: it is a reaction, which fires for what happens
    on: Trigger | None = None
    namespace: str = "default"
    #: the argument's payload, as of any job
    args: bytes = b""
    #: rules (cron) whose instants are left out
    without: tuple[str, ...] = ()
    timezone: str = "UTC"
    dst: str = "vixie"
    #: it fires from here on, and up to here; 0: no bound
    start_us: int = 0
    end_us: int = 0
    #: so many fires in all, 0 for no limit; those that were skipped do not count
    fires_max: int = 0
    jitter_us: int = 0
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LATEST
    #: what was missed longer ago than this never starts
    window_us: int = HOUR_US
    pause_on_failure: bool = False
    #: jobs that each of its jobs waits for, by name or public id, `(id, After)`
    after: tuple[tuple[str, int], ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether its rule is somebody else's, who is asked in a process of their own."""
        return bool(self.rules) and self.rules[0].startswith(FOREIGN)

    @property
    def key(self) -> str:
        """What it is known by."""
        return schedule_key(self.namespace, self.name)


def schedule_key(namespace: str, name: str) -> str:
    """A name is unique in its namespace."""
    return f"{namespace}\0{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSet:
    """Somebody made a schedule, or changed one: it fires next at `next_us` (0: never), which is due at `due_us`."""

    request_id: str
    schedule: Schedule
    next_us: int = 0
    due_us: int = 0
    by: str = ""
    #: its rule is somebody else's, and is to be asked for its instants behind this one; 0: it is not
    ask_after_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRemoved:
    """Somebody took a schedule away; its jobs go on."""

    request_id: str
    key: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePaused:
    """Somebody wants a schedule's fires to be skipped until it is resumed."""

    request_id: str
    key: str
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleResumed:
    """Somebody lets a schedule go on: it fires next at `next_us`."""

    request_id: str
    key: str
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFired:
    """A schedule's time had come, at `nominal_us`; in the same frame as the job that it made.

    `until_us`: of fires that were missed too long ago, all before this instant, however many.
    """

    key: str
    nominal_us: int
    outcome: Outcome
    reason: Reason = Reason.NONE
    job: JobKey = JobKey(0)
    #: the next one behind it (0: none), and when that is due
    next_us: int = 0
    due_us: int = 0
    until_us: int = 0
    #: somebody asked for it (`trigger`, `backfill`): the schedule's own fires are not moved
    asked: bool = False
    #: why it was skipped, where a reason's words do not say it
    detail: str = ""
    #: of a reaction: the id of the event that it is for, and what its job is told of it, as JSON
    occasion: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleForeseen:
    """A rule of somebody else's named its next instants; none: there are no more. `failed`: what is wrong with it."""

    key: str
    instants: tuple[int, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """The answer of such a rule, asked for its instants behind `after_us`."""

    key: str
    rule: str
    after_us: int
    instants: tuple[int, ...] = ()
    failed: str = ""


ScheduleEvent = (
    ScheduleSet
    | ScheduleRemoved
    | SchedulePaused
    | ScheduleResumed
    | ScheduleFired
    | ScheduleForeseen
    | OccasionsNoted
    | ConditionsDue
)
#: those that say how a schedule stands
SCHEDULE_CHANGES: tuple[type, ...] = (
    *(ScheduleSet, ScheduleRemoved, SchedulePaused, ScheduleResumed),
    *(ScheduleFired, ScheduleForeseen),
)
SCHEDULE_EVENTS: tuple[type, ...] = (*SCHEDULE_CHANGES, OccasionsNoted, ConditionsDue)
