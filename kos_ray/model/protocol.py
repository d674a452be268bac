"""The contract between scheduler, node agents and slots: messages only, no transport.

The scheduler greets an agent with `Hello` and is answered with `Holding`: everything the agent has that the
scheduler has not acknowledged. Then it sends `Orders`; each order is idempotent by (job, attempt, epoch). The agent
sends `Report`s, each with a number, and resends from the first unacknowledged one until it gets `Acked`.

Rules that both the real agent and the fake one keep (`tests/contract/test_node_agent.py`):

1. Orders of an epoch below the highest seen, of a session before the last greeting's, or of another cluster, are
   refused and change nothing.
2. An attempt is `queued -> entered -> ended`. It is entered at most once. Launching it again changes nothing.
3. A recall of a queued attempt ends it `RECALLED`; of an entered one it changes nothing ("too late").
4. A stop of a queued attempt recalls it; an entered one is asked, and killed after its grace: `STOPPED`.
5. When a slot's process dies, the entered attempt ends `CRASHED`; attempts queued behind it are run by another slot.
6. An attempt that waits longer than the admission deadline for the process of its first slot ends `NOT_ADMITTED`. A
   process that is there and boots is waited for.
7. Every ended attempt is in some report until that report is acknowledged, whatever happens to the scheduler.

Agents that people keep (`tests/contract/test_agents.py`): the attempt that carries one is the only one of its slot.
What is for the agent runs in its process, in lanes that are slots of a kind with a `receiver`:

8. Messages are entered only while the agent takes them; a report says from when on, and when that is over.
9. When the carrier is asked to stop, messages that are not entered end `RECALLED`, and the others go on to their ends.
10. When its process dies, messages that it had entered end `LOST`, the others `RECALLED`, the carrier as in rule 5.

What attempts say while they run (`tests/contract/test_said_by_attempts.py`): an attempt's checkpoint is in some report
before its end, and the attempt is told that it is stored when `Acked` names it, never before; one that is not named was
fenced, and the attempt is told that. A child that an attempt submits is asked for again until the scheduler has
answered. The newest progress of an attempt is in some report before its end, others may be
left out.
"""

from dataclasses import dataclass

from kos_ray.model import decisions, events
from kos_ray.model.agent_snapshots import AgentsUnsaved, SaveAgents
from kos_ray.model.agents import AgentsSaid
from kos_ray.model.gang import GangSpec, Membership
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import SlotKind, Spec

#: N and N-1 understand each other. 2: agents end what the one before them left running, and slots say that they boot.
PROTOCOL = 2
PROTOCOL_OLDEST = PROTOCOL - 1
PROTOCOL_NEWEST = PROTOCOL + 1
#: no report of an entry is later than so many times the least
_TOLD_LATE = 8


def told_after_us(least_us: int, mean_us: float) -> float:
    """After how long an attempt is reported as entered: it is long then, and nothing is to wait behind it.

    `least_us` is for those of whom nobody knows how long they take, `mean_us` is how long those before it took on
    average. Where that is not long, whatever takes twice as long is; the others need no report but that of their end.
    """
    return max(least_us, 2 * mean_us) if 2 * mean_us <= _TOLD_LATE * least_us else least_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A scheduler's greeting."""

    cluster_id: str
    epoch: int
    protocol: int
    version: str
    #: counts the greetings of one epoch: orders sent before a later greeting are refused when they arrive after it
    session: int = 0


def too_far(hello: Hello, version: str) -> str:
    """Why an agent of this version of kos_ray cannot serve whoever greets."""
    return (
        f"the scheduler (kos_ray {hello.version or 'unknown'}) speaks protocol {hello.protocol}, this agent (kos_ray "
        f"{version}) understands {PROTOCOL_OLDEST} to {PROTOCOL_NEWEST}: install the same kos_ray on all nodes"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An agent's answer: what it holds. `refused` says why it does not serve this scheduler, "" if it does."""

    node: NodeId
    incarnation: str
    protocol: int
    refused: str = ""
    #: the cluster that it belongs to; agents of older versions do not say it
    cluster_id: str = ""
    #: the highest epoch that it has seen, in refusals
    epoch: int = 0
    queued: tuple[JobKey, ...] = ()
    queued_attempts: tuple[int, ...] = ()
    entered: tuple[JobKey, ...] = ()
    entered_attempts: tuple[int, ...] = ()
    #: reports that are not acknowledged yet, oldest first; they are sent again after this answer as well
    reports: "tuple[Report, ...]" = ()
    #: of what the agent runs: `(name, version)` of kos_ray, Python and Ray
    versions: tuple[tuple[str, str], ...] = ()
    #: what agents before this one had left running on the node, in words; it has been ended
    left_behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder:
    """Attempts for the slots of one kind, and how many slots that kind holds on this node from now on.

    `ranks` orders the agent's queue, lowest first. `inputs[i]` are the results handed to attempt i, each a tuple of
    payloads for an array or a single-element tuple; payloads are pickled values or blob references.
    """

    kind: SlotKind
    slots: int
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    ranks: tuple[int, ...]
    specs: tuple[SpecKey, ...]
    ids: tuple[str, ...]
    args: tuple[bytes, ...]
    #: sparse: `(index into keys, inputs of that job)`; an input is one payload or, for an array, a tuple of them
    inputs: tuple[tuple[int, tuple[bytes | tuple[bytes, ...], ...]], ...] = ()
    #: sparse: `(index into keys, payload of the last checkpoint of that job's earlier attempts)`
    restored: tuple[tuple[int, bytes], ...] = ()
    #: sparse: what members of gangs are told, `(index into keys, membership)`
    gangs: tuple[tuple[int, Membership], ...] = ()
    #: sparse: when those were due that a schedule made, `(index into keys, microseconds since the Unix epoch)`
    scheduled: tuple[tuple[int, int], ...] = ()
    #: sparse: what the last job of the same schedule that succeeded returned, `(index into keys, payload)`
    latest: tuple[tuple[int, bytes], ...] = ()
    #: sparse: what jobs of reactions are told of their events, `(index into keys, JSON)`
    told: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """One message to an agent, carried out in the order of the fields."""

    cluster_id: str
    epoch: int
    session: int = 0
    new_specs: tuple[tuple[SpecKey, Spec], ...] = ()
    resizes: tuple[decisions.ResizeSlots, ...] = ()
    #: the resizes name every kind that has slots here; all others are to be closed
    complete: bool = False
    recalls: tuple[decisions.Recall, ...] = ()
    stops: tuple[decisions.Stop, ...] = ()
    #: agents that are to save their state now
    saves: tuple[SaveAgents, ...] = ()
    #: what has changed for members of gangs that are there already
    gangs: tuple[tuple[JobKey, int, Membership], ...] = ()
    launches: tuple[LaunchOrder, ...] = ()
    #: reports up to this number are on disk
    acked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One message from an agent. `number` counts from 1 in one incarnation of the agent, without gaps."""

    node: NodeId
    incarnation: str
    number: int
    entered: tuple[events.AttemptsEntered, ...] = ()
    ended: tuple[events.AttemptsEnded, ...] = ()
    logs: tuple[events.LogsStored, ...] = ()
    progress: tuple[events.ProgressMade, ...] = ()
    checkpoints: tuple[events.CheckpointsStored, ...] = ()
    agents: tuple[AgentsSaid, ...] = ()
    #: those that were asked to save their state, and could not
    unsaved: tuple[AgentsUnsaved, ...] = ()

    @property
    def events(self) -> "list[events.Event]":
        """What it tells, in the order in which it counts: what an attempt said comes before its end."""
        said: list[events.Event] = [*self.entered, *self.progress, *self.checkpoints, *self.agents, *self.unsaved]
        return [*said, *self.ended, *self.logs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acked:
    """Reports of this incarnation up to `number` are on disk. `epoch` is the scheduler's."""

    incarnation: str
    number: int
    epoch: int
    #: those checkpoints of the report that are stored, `(key, attempt, number)`; the others were fenced
    stored: tuple[tuple[JobKey, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """An agent that runs exclusive work asks for time, counted from when it asks."""

    node: NodeId
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The answer: so many milliseconds, 0 where the scheduler does not count on this agent any more.

    Whatever it counts as lost from then on, it sends elsewhere only when these are over.
    """

    epoch: int
    lease_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """One array in a `Submit`: see `events.JobsSubmitted`. `count` -1 is a single job."""

    id: str
    count: int
    spec: str  #: the spec's hash
    args: tuple[bytes, ...]
    name: str = ""
    #: parents by public id (a job, an array, or a name), `(id, After)`
    after: tuple[tuple[str, int], ...] = ()
    #: public ids of parents whose results are handed over, in the order the arguments refer to them
    inputs: tuple[str, ...] = ()
    #: `dependency.Rule`, and the key of which one job at a time runs
    rule: int = 0
    singleton: str = ""
    #: see `events.ArrayLimits`; arrays of one group (the id of the first of them) count as one
    at_most: int = 0
    max_failures: int = 0
    group: str = ""
    gang: GangSpec | None = None
    #: one key in a namespace is one array: where one has it, and was submitted with the same `payload`, none is made
    idempotency_key: str = ""
    #: hash of what is submitted, made by the client; "" where the scheduler is to make it of all that stands here
    payload: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Singles:
    """Many single jobs in a `Submit` of which nothing is said but what they run, as columns."""

    ids: tuple[str, ...]
    #: hashes of specs, and which of them each job is of
    hashes: tuple[str, ...]
    specs: tuple[int, ...]
    args: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """A client's request. Sent again with the same `request_id`, it changes nothing and gets the same answer."""

    request_id: str
    arrays: tuple[Array, ...]
    #: specs by hash; those that this client has had accepted before may be left out
    specs: tuple[tuple[str, Spec], ...] = ()
    #: where outcomes are to be pushed, "" for nowhere
    watcher: str = ""
    sender: str = ""
    #: the job whose attempt asks for this, JobKey(0) for a client; the request is refused when the attempt is over
    parent: JobKey = JobKey(0)
    parent_attempt: int = 0
    #: it is wanted only if nothing has changed since this sequence number that a plan rests on; 0: in any case
    plan_seq: int = 0
    #: where there are some, there are no `arrays`
    singles: Singles | None = None

    @property
    def job_count(self) -> int:
        """How many jobs are asked for, those that may be there before by their idempotency keys among them."""
        return len(self.singles.ids) if self.singles else sum([abs(array.count) for array in self.arrays])


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to `Submit`, sent after the journal has it: keys are dense from `first` on."""

    first: JobKey = JobKey(0)
    job_count: int = 0
    refused: str = ""
    #: the scheduler's that has it and reports the outcomes; a later one has to be told anew who waits
    epoch: int = 0
    #: hashes of specs that the scheduler does not know (any more): send again with them
    unknown_specs: tuple[str, ...] = ()
    #: nothing was accepted: something has changed since the request's `plan_seq`
    stale: bool = False
    #: arrays of the request that were there before, by their idempotency keys: `(index, first key, public id)`; the
    #: keys of all others are dense
    known: tuple[tuple[int, JobKey, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Jobs that are over, for a client that waits for them; the answer to its poll with the number before."""

    number: int
    epoch: int = 0
    keys: tuple[JobKey, ...] = ()
    states: tuple[int, ...] = ()
    reasons: tuple[int, ...] = ()
    results: tuple[bytes, ...] = ()
    #: sparse: `(index into keys, error type, message, traceback)`
    errors: tuple[tuple[int, str, str, str], ...] = ()
