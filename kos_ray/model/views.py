"""What people see of jobs, nodes and the cluster: the readers' answers, one flat value each."""

from dataclasses import dataclass

from kos_ray.model.gpu import GpuReading
from kos_ray.model.ids import JobKey


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job, with the data of its current (or last) attempt. Instants are microseconds, 0 where not yet."""

    id: str
    key: JobKey
    name: str = ""
    type: str = ""
    namespace: str = ""
    band: int = 3
    state: str = ""  #: JobState's name in lower case
    reason: str = ""  #: Reason's name in lower case
    remedy: str = ""
    attempt: int = 0
    node: str = ""
    pid: int = 0
    submitted_us: int = 0
    ready_us: int = 0
    launched_us: int = 0
    entered_us: int = 0
    ended_us: int = 0
    resources: tuple[tuple[str, int], ...] = ()
    tags: tuple[str, ...] = ()
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    #: public ids of parents, `(id, kind)`; for kinds see `dependency.kind_name`
    after: tuple[tuple[str, str], ...] = ()
    #: how far its last attempt said it is, from 0 to 1, and what it said with it; None where it said nothing
    progress: float | None = None
    progress_text: str = ""
    #: public id of the job that submitted it while it ran, "" where none did
    parent: str = ""
    #: of a command whose last attempt has ended: its exit code, 128 + the signal where one killed it
    exit_code: int | None = None
    #: what it was submitted with, "" for none; of an array one for all items
    idempotency_key: str = ""
    #: when it should have ended, 0 for no deadline; and met or missed, or of a live one meets, at_risk, missed, unknown
    deadline_us: int = 0
    deadline: str = ""
    #: of a message the agent, of the same namespace, to which it was sent by name; "" for a role, and for other jobs
    receiver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt of a job's history."""

    attempt: int
    end: str = ""  #: AttemptEnd's name in lower case, "" while it goes on
    node: str = ""
    pid: int = 0
    launched_us: int = 0
    entered_us: int = 0
    ended_us: int = 0
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    log: str = ""  #: the slot's log file on that node, "" where it printed nothing
    log_start: int = 0
    log_end: int = 0
    log_blob: str = ""  #: hash of the stored log file, "" while it is only on the node
    exit_code: int | None = None  #: of a command: see `JobView`


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node."""

    id: str
    name: str
    alive: bool
    head: bool
    resources: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, str], ...] = ()
    since_us: int = 0
    cause: str = ""  #: why it is gone
    #: of what its agent runs: `(name, version)` of kos_ray, Python and Ray
    versions: tuple[tuple[str, str], ...] = ()
    #: of one that is there what it measured last; see `NodeStanding`
    loads: tuple[tuple[str, int], ...] = ()
    rates: tuple[tuple[str, int], ...] = ()
    gpus: tuple[GpuReading, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStanding:
    """How a node stands in the scheduler's own ledger; an empty id: only a name of which something is said."""

    id: str
    name: str
    host: str = ""
    cordoned: bool = False
    draining: bool = False
    silent: bool = False  #: its agent does not answer
    retires: bool = False  #: its agent is to be replaced by one of another version
    pressed: tuple[tuple[str, int], ...] = ()  #: what is short there, as in `loads`; see `rebalance`
    note: str = ""
    by: str = ""
    labels: tuple[tuple[str, str], ...] = ()  #: its own and those that people gave it
    attempts: int = 0
    slots: int = 0
    free: tuple[tuple[str, int], ...] = ()  #: what no slot holds, as amounts
    #: what it measured last: thousandths of what it has that are used, by kind, and bytes a second; see `model.sample`
    loads: tuple[tuple[str, int], ...] = ()
    rates: tuple[tuple[str, int], ...] = ()
    #: of each attempt there its job's key, its number, thousandths of a core, and bytes of memory
    uses: tuple[tuple[int, int, int, int], ...] = ()
    gpus: tuple[GpuReading, ...] = ()
    measured_us: int = 0

    @property
    def state(self) -> str:
        """One word."""
        if not self.id:
            return "absent"
        if self.silent:
            return "silent"
        if self.retires:
            return "retiring"
        if self.draining:
            return "draining" if self.attempts else "drained"
        if self.cordoned:
            return "cordoned"
        return "pressed" if self.pressed else "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStandings:
    """All of them."""

    nodes: tuple[NodeStanding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Something of ours in the Ray cluster, or on a node of it, that nobody answers for."""

    kind: str  #: "node agent", "reader", or "process"
    name: str  #: the actor's, or what process it is
    node: str = ""  #: by id, where it is known
    belongs: str = ""  #: whose it says it is: a cluster's id, and of a reader the state directory
    why: str = ""
    #: proved to be nobody's: the scheduler ends it by itself
    certain: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """All that are known: those that are there, then those that were ended since the scheduler was started."""

    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One event or decision of the journal, for people: `detail` is plain data."""

    seq: int
    at_us: int
    epoch: int
    kind: str
    detail: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryLine:
    """One thing that happened to one job: `seq` is its place in the journal."""

    seq: int
    at_us: int
    what: str  #: what was asked or decided, or how an attempt ended, in a word
    attempt: int = 0  #: 0 where it is about the job as a whole
    node: str = ""
    pid: int = 0
    by: str = ""  #: who asked for it; of an eviction, the job that wants the room
    reason: str = ""  #: Reason's name in lower case
    detail: str = ""
    result: str = ""  #: SHA-256 of the result or the checkpoint as it was stored


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHistory:
    """A job's whole story: see `journal.history`."""

    job: JobView
    story: tuple[StoryLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeVerdict:
    """Why one node does not take a job: what it lacks, "" where it would; `ever` whether it could when empty."""

    node: str
    lacks: str = ""
    ever: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVerdict:
    """Why one agent does not have a message: `why` is a Reason's name in lower case, `text` the same for people.

    `delay_us` is when it would have been done, over `skill` (thousandths); 0 where it came into no question.
    """

    agent: str
    why: str
    text: str = ""
    delay_us: int = 0
    skill: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A change that was tried on a copy of the state, and with which a job starts in the next pass."""

    kind: str
    text: str
    #: running jobs that end with it, by key and by name
    ends: tuple[JobKey, ...] = ()
    end_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestions:
    """The smallest change of each kind, the smallest of all first."""

    found: tuple[Suggestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """How long a job is expected to run, in microseconds; 0 where nobody knows. `runs` is what a learnt one rests on.

    One run in ten is shorter than `low_us`, one in ten longer than `high_us`, half of them than `mid_us`.
    """

    low_us: int = 0
    mid_us: int = 0
    high_us: int = 0
    source: str = "unknown"  #: declared; size, shape or type (learnt of jobs alike in that); limit (its timeout)
    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntKind:
    """What was learnt of one kind of jobs; see `RunTime`."""

    namespace: str
    type: str
    resources: tuple[tuple[str, int], ...] | None = None  #: None: whatever they ask for
    arguments_from: int = 0  #: bytes
    arguments_below: int = 0  #: 0: of whatever size
    runs: int = 0
    low_us: int = 0
    mid_us: int = 0
    high_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntKinds:
    """All of them."""

    kinds: tuple[LearntKind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job waits, read off the scheduler's state at one instant."""

    key: JobKey
    state: str
    reason: str = ""
    remedy: str = ""
    #: when it could first have started
    since_us: int = 0
    #: its place among bands: lower goes first, -1 has waited as long as its band allows
    order: int = 0
    overdue: bool = False
    #: its accounts' shares, from the highest namespace down, in millionths over their weights
    standing: tuple[int, ...] = ()
    #: ready jobs of its own account, or of more urgent orders, that go first; the first of them by key and by name
    ahead: int = 0
    ahead_keys: tuple[JobKey, ...] = ()
    ahead_names: tuple[str, ...] = ()
    #: attempts that were asked to make room for it and still have to, and the node where it will run then
    making_room: int = 0
    target: str = ""
    #: of one that has been sent to a node: what is not ready there yet, "" where it is or nobody knows
    boots: str = ""
    nodes: tuple[NodeVerdict, ...] = ()
    #: jobs that it waits for, the first ones by key and by name
    parents: tuple[JobKey, ...] = ()
    parent_names: tuple[str, ...] = ()
    #: its deadline (0 for none), whether it can be met (meets, at_risk, missed, unknown), the earliest end of the job
    #: and the likely one (0 where nobody knows)
    deadline_us: int = 0
    deadline: str = ""
    earliest_us: int = 0
    likely_us: int = 0
    run_time: RunTime = RunTime()
    #: agents of lower bands that run and are not to give way
    spared: int = 0
    #: jobs of lower bands that run and have given way as often as they may
    worn: int = 0
    #: of a gang that waits: its name, how many members have to start together, how many may, and how many would fit now
    gang: str = ""
    gang_needs: int = 0
    gang_ready: int = 0
    gang_fits: int = 0
    #: of a message for a role: who has it, and why; who else came into question, and why not; who declined it
    agent: str = ""
    chosen: str = ""
    passed: tuple[AgentVerdict, ...] = ()
    declined: tuple[str, ...] = ()
    #: the schedule that made it, and when it was due; "" and 0 for none
    schedule: str = ""
    nominal_us: int = 0
    #: what it needs and no node has, named, and how many nodes were looked at
    lacks: str = ""
    #: what would start it now, where somebody asked for that
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingView:
    """How the scheduling stands as a whole."""

    #: where jobs come from besides clients, and what was asked for: another one where there is no adapter for that
    queue: str = "sqlite"
    queue_wanted: str = "sqlite"
    #: plug-ins that settings name, and why they are disabled, "" where they are not
    plugins: tuple[tuple[str, str], ...] = ()
    #: Jain's index of the nodes' loads: 1 where all are loaded alike, 1/n where one of n has all
    evenness: float = 1.0
    #: agents that run, and how many may at once, 0 for no limit
    agents: int = 0
    agents_max: int = 0
    #: jobs that could not meet their deadlines any more while they waited
    too_late: int = 0
    #: whose slot it is, 0 where there are no tiers
    tier: int = 0
    #: what telemetry counted since the scheduler started
    counts: tuple[tuple[str, int], ...] = ()
    #: why and since when the journal cannot write: nothing is accepted and nothing starts; "" and 0 while it can
    trouble: str = ""
    trouble_since_us: int = 0
    #: schedules, how many of them are paused, and the next fire: whose (namespace/name), and when; 0 for none
    schedules: int = 0
    schedules_paused: int = 0
    next_fire: str = ""
    next_fire_us: int = 0
    #: what nobody answers for: how many are there, and how many were ended since the scheduler started
    leaks: int = 0
    leaks_ended: int = 0
    #: node agents and slots that take long to be ready, one text for each
    boots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """The whole in a few numbers."""

    cluster_id: str
    epoch: int
    seq: int
    state_dir: str
    jobs: dict[str, int]  #: by state
    nodes: tuple[NodeView, ...]
    journal_bytes: int = 0
    wal_bytes: int = 0
    #: None where the scheduler did not say
    scheduling: SchedulingView | None = None
