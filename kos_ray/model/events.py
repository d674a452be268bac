"""What happened outside, in the past tense. Hot events are columns: position i of each tuple is one item."""

from dataclasses import dataclass

from kos_ray.model.agent_snapshots import SNAPSHOT_EVENTS, SnapshotEvent
from kos_ray.model.agents import AGENT_EVENTS, AgentEvent
from kos_ray.model.coordination import COORDINATION_EVENTS, CoordinationEvent
from kos_ray.model.gang import GangMode, OnFailure
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import Spec
from kos_ray.model.node_events import (
    NODE_EVENTS,
    NodeCalm,
    NodeCondition,
    NodeEvent,
    NodeLost,
    NodePressed,
    NodesJoined,
    NodesMarked,
    WindowsChanged,
)
from kos_ray.model.policy import Policy
from kos_ray.model.schedule import SCHEDULE_EVENTS, ScheduleEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStarted:
    """A scheduler took the journal over; outcomes and agents of lower epochs are fenced from here on."""

    epoch: int
    version: str
    policy: Policy = Policy()
    #: the cluster's new id, where its journal is a copy that was adopted
    adopted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDependency:
    """One job's dependencies: ranges of parents `(first, count, After)`."""

    key: JobKey
    after: tuple[tuple[int, int, int], ...]
    #: ranges `(first, count)` of parents whose results are handed to the job; a count of -1 is one bare result
    inputs: tuple[tuple[int, int], ...] = ()
    #: `dependency.Rule`: which of them it needs
    rule: int = 0
    #: of the jobs with this key one at a time runs, in their namespace and of their user
    singleton: str = ""

    @property
    def waits(self) -> bool:
        """Whether the job is blocked at first."""
        return bool(self.after or self.rule or self.singleton)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayLimits:
    """What holds for the items of one array together; arrays of one `group` count as one."""

    index: int  #: into the event's `ids`
    group: str
    #: so many run at once, 0 for no limit
    at_most: int = 0
    #: when so many have failed, the rest that has not started is given up; 0 for never
    max_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGang:
    """Jobs of one submission that are a gang: ranges of keys `(first, count)`, in the order of ranks."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    #: so many have to fit at once: all, a quorum, or 0 where whoever fits starts
    least: int
    mode: GangMode = GangMode.ALL
    on_failure: OnFailure = OnFailure.REPLACE


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsSubmitted:
    """A request was accepted: arrays of jobs with dense keys from `first` on, in the order of `ids`.

    Array i has `counts[i]` jobs of spec `specs[i]`; a count of -1 is a single job (its id has no index).
    `args[j]` is the pickled argument of the job `first + j` (b"" for none, or a blob reference, see `spec.payload`).
    """

    request_id: str
    first: JobKey
    ids: tuple[str, ...]
    counts: tuple[int, ...]
    specs: tuple[SpecKey, ...]
    args: tuple[bytes, ...]
    #: specs that the state does not hold yet, by key
    new_specs: tuple[tuple[SpecKey, Spec], ...] = ()
    #: names of single jobs, `(index into ids, name)`
    names: tuple[tuple[int, str], ...] = ()
    dependencies: tuple[JobDependency, ...] = ()
    #: parents that had ended before, `(key, JobState)`: the state no longer holds them
    ended_parents: tuple[tuple[JobKey, int], ...] = ()
    #: those of them that rules count in another way than their state says, `(key, dependency.Ended)`
    ended_as: tuple[tuple[JobKey, int], ...] = ()
    limits: tuple[ArrayLimits, ...] = ()
    gangs: tuple[NewGang, ...] = ()
    sender: str = ""
    #: jobs that were there before and that `where` of new specs names, `(namespace, name, first, count)`; and the nodes
    #: on which those of them ran last that are over, `(namespace, name, node)`
    neighbours: tuple[tuple[str, str, int, int], ...] = ()
    ran_on: tuple[tuple[str, str, str], ...] = ()
    #: the job that submitted these while it ran, JobKey(0) where none did
    parent: JobKey = JobKey(0)
    #: those with an idempotency key, `(index into ids, key, hash of what was submitted)`
    keyed: tuple[tuple[int, str, str], ...] = ()

    @property
    def job_count(self) -> int:
        """Jobs in all."""
        return len(self.args)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptsEntered:
    """User code of these attempts runs since `entered_us`; short attempts are never reported as entered.

    `pids` are the processes in which it runs; empty where they were not told.
    """

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    entered_us: tuple[int, ...]
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptError:
    """Why one attempt failed: `index` into the columns, the error's type, message and traceback as text."""

    index: int
    type: str
    message: str
    traceback: str = ""
    #: when it is to be tried again: 0 as its backoff has it, else after so many milliseconds; -1 never
    again_ms: int = 0
    #: of an agent's start: what it needs and its node has not, such as "setting TOKEN"
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptsEnded:
    """Attempts that ended on a node; `results[i]` is a pickled value, a blob reference, or b""."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    ends: tuple[int, ...]  #: AttemptEnd
    entered_us: tuple[int, ...]  #: 0 where it was never entered
    ended_us: tuple[int, ...]
    pids: tuple[int, ...]
    results: tuple[bytes, ...]
    errors: tuple[AttemptError, ...] = ()
    #: what it printed, `(index, log file, start byte, end byte)`
    logs: tuple[tuple[int, str, int, int], ...] = ()
    #: of commands, `(index, exit code)`; 128 + the signal where one killed it, as shells say
    exit_codes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressMade:
    """How far running attempts say they are: the newest word of each, at most about one a second."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    shares: tuple[int, ...]  #: of the whole, in 1/10 000
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsStored:
    """Running attempts saved their state: `payloads[i]` is what the job's next attempt is handed."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    numbers: tuple[int, ...]  #: counts the checkpoints of one attempt, from 1
    payloads: tuple[bytes, ...]  #: a pickled value or a blob reference
    at_us: tuple[int, ...]
    #: sparse: those that are snapshots of agents, `(index into keys, why)`
    whys: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsStored:
    """A slot's log file was stored as a blob; the node is no longer needed to read it."""

    node: NodeId
    file: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalResumed:
    """The journal could not write since `since_us`, and writes again; what was asked for in between was refused."""

    since_us: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCompacted:
    """Retention: the frames up to an anchor go, and with them the jobs that ended before an instant.

    What they came to is in two files, named by their SHA-256: the rows that stay, and the scheduler's state.
    """

    anchor_seq: int
    anchor_hash: str
    anchor_epoch: int
    anchor_us: int
    rows: str
    state: str
    cutoff_us: int
    jobs: int = 0  #: so many go


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    """Somebody changed the scheduler's settings while it runs: this is the whole policy from now on."""

    request_id: str
    policy: Policy
    by: str = ""
    #: plug-ins that the change names: those of them that were disabled are tried again
    afresh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksAdvised:
    """A plug-in said where jobs stand in their queue: the lowest rank goes first."""

    plugin: str
    keys: tuple[JobKey, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginDisabled:
    """A plug-in lied, hung or crashed: the namespaces that it ordered go on by priority."""

    plugin: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants these jobs to end."""

    request_id: str
    keys: tuple[JobKey, ...]
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequested:
    """Somebody wants these jobs not to start; with `stop`, attempts that run are ended at no charge as well."""

    request_id: str
    keys: tuple[JobKey, ...]
    stop: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequested:
    """Somebody lets held jobs go on."""

    request_id: str
    keys: tuple[JobKey, ...]
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityChanged:
    """Somebody moves these jobs to another band; attempts that are on their way stay there."""

    request_id: str
    keys: tuple[JobKey, ...]
    band: int
    by: str = ""


Event = (
    SchedulerStarted
    | JobsSubmitted
    | AttemptsEntered
    | AttemptsEnded
    | LogsStored
    | ProgressMade
    | CheckpointsStored
    | CancelRequested
    | HoldRequested
    | ReleaseRequested
    | PriorityChanged
    | PolicyChanged
    | RanksAdvised
    | PluginDisabled
    | JournalResumed
    | JournalCompacted
    | NodeEvent
    | ScheduleEvent
    | AgentEvent
    | SnapshotEvent
    | CoordinationEvent
)

EVENT_TYPES: tuple[type, ...] = (
    SchedulerStarted,
    JobsSubmitted,
    AttemptsEntered,
    AttemptsEnded,
    LogsStored,
    ProgressMade,
    CheckpointsStored,
    CancelRequested,
    HoldRequested,
    ReleaseRequested,
    PriorityChanged,
    PolicyChanged,
    RanksAdvised,
    PluginDisabled,
    JournalResumed,
    JournalCompacted,
    *NODE_EVENTS,
    *SCHEDULE_EVENTS,
    *AGENT_EVENTS,
    *SNAPSHOT_EVENTS,
    *COORDINATION_EVENTS,
)

__all__ = [
    "EVENT_TYPES",
    "ArrayLimits",
    "AttemptError",
    "AttemptsEnded",
    "AttemptsEntered",
    "CancelRequested",
    "CheckpointsStored",
    "Event",
    "HoldRequested",
    "JobDependency",
    "JobsSubmitted",
    "JournalCompacted",
    "JournalResumed",
    "LogsStored",
    "NewGang",
    "NodeCalm",
    "NodeCondition",
    "NodeLost",
    "NodePressed",
    "NodesJoined",
    "NodesMarked",
    "PluginDisabled",
    "PolicyChanged",
    "PriorityChanged",
    "ProgressMade",
    "RanksAdvised",
    "ReleaseRequested",
    "SchedulerStarted",
    "WindowsChanged",
]
