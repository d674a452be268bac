"""Jobs: the shared template (`Spec`), the states of a job and the one table of its legal moves."""

from dataclasses import dataclass, field, replace
from enum import IntEnum

from kos_ray.model.approval import Approval
from kos_ray.model.dispatch import NOBODY, To
from kos_ray.model.resources import Resources
from kos_ray.model.where import ANYWHERE, Where

BANDS = ("critical", "realtime", "interactive", "default", "idle", "background")


class Guarantee(IntEnum):
    """What is promised about running a job's code; see the promises G2 to G4 in ARCHITECTURE.md."""

    AT_LEAST_ONCE = 0
    AT_MOST_ONCE = 1
    #: runs again like AT_LEAST_ONCE, but never twice at a time: under a lease, with a token and fences for its sinks
    EXACTLY_ONCE = 2


class Eviction(IntEnum):
    """What happens to a job whose room is wanted for another one. Stored in journals."""

    REQUEUE = 0  #: its attempt ends and it waits again; what it did is done again
    CHECKPOINT = 1  #: it is asked, saves its state, and goes on from there
    CANCEL = 2  #: it is over
    NEVER = 3  #: it is left alone
    SHRINK = 4  #: its gang gives back what is above its least size first; all of it is requeued only as a last resort


class Children(IntEnum):
    """What happens to jobs that a job submitted while it ran, when it is over. Stored in journals."""

    ABANDON = 0  #: they go on
    CANCEL = 1  #: they are cancelled, however it ended
    WAIT = 2  #: they go on, and whatever waits for the end of their parent waits for them as well


@dataclass(frozen=True, slots=True, order=True)
class Demands:
    """What a job needs besides the resources of a slot. Jobs with other demands are never alike for placement."""

    #: licences of the cluster, `(name, amount)`, held while it runs
    licences: tuple[tuple[str, int], ...] = ()
    #: units of rate limits, `(name, units)`, used up when it starts
    rates: tuple[tuple[str, int], ...] = ()
    #: of the jobs that share a key in their namespace, so many run at once: `(key, at most)`
    concurrency: tuple[tuple[str, int], ...] = ()
    #: one of the cluster's places for agents: it is one
    agent: bool = False


NO_DEMANDS = Demands()


class JobState(IntEnum):
    """Where a job stands. Values are stored in journals: never renumber."""

    BLOCKED = 0  #: a dependency has not ended yet
    READY = 1  #: waits for its turn and for room
    BACKOFF = 2  #: a failed attempt; the next one is due later
    LAUNCHED = 3  #: an attempt was sent to a node and waits there for a slot; it can be recalled
    RUNNING = 4  #: user code has been entered
    STOPPING = 5  #: asked to stop; the attempt has not ended yet
    HELD = 6  #: somebody wants it to wait until it is released
    SUCCEEDED = 10
    FAILED = 11
    CANCELLED = 12
    SKIPPED = 13  #: a dependency can never be met
    LOST = 14  #: an at-most-once job whose worker vanished

    @property
    def final(self) -> bool:
        """No move leads out of it."""
        return self >= JobState.SUCCEEDED


_S = JobState
_FINALS = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.LOST})

#: The legal moves. Everything else is a programmer's error and raises `IllegalMove`.
LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    _S.BLOCKED: frozenset({_S.READY, _S.HELD, _S.CANCELLED, _S.SKIPPED}),
    _S.READY: frozenset({_S.LAUNCHED, _S.CANCELLED, _S.HELD, _S.FAILED}),
    _S.BACKOFF: frozenset({_S.READY, _S.CANCELLED, _S.HELD}),
    _S.HELD: frozenset({_S.READY, _S.CANCELLED}),
    _S.LAUNCHED: frozenset({_S.RUNNING, _S.READY, _S.HELD, _S.BACKOFF, _S.STOPPING}) | _FINALS,
    _S.RUNNING: frozenset({_S.READY, _S.HELD, _S.BACKOFF, _S.STOPPING}) | _FINALS,
    # a paused attempt is stopped and its job goes back; a cancellation may come on top
    _S.STOPPING: frozenset({_S.READY, _S.HELD, _S.BACKOFF, _S.STOPPING}) | _FINALS,
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.SKIPPED: frozenset(),
    _S.LOST: frozenset(),
}


class AttemptEnd(IntEnum):
    """How an attempt ended, as its node agent (or the loss of it) tells. Stored in journals."""

    SUCCEEDED = 0
    FAILED = 1  #: user code raised, or a command exited with another code than 0
    TIMED_OUT = 2
    CRASHED = 3  #: the slot's process died under it
    STOPPED = 4  #: ended on request
    UNPREPARED = 5  #: its code or its arguments could not be brought up on the node
    LOST = 6  #: node or agent vanished; whether it ran is unknown
    RECALLED = 7  #: taken back before it was entered
    NOT_ADMITTED = 8  #: Ray gave the room to others
    UNDELIVERED = 9  #: the launch never reached the agent
    OUT_OF_MEMORY = 10  #: it was killed because there was no memory left, or said so itself (MemoryError)
    DECLINED = 11  #: the agent does not handle this message: it is not available, or not up to it

    @property
    def entered(self) -> bool:
        """Whether user code may have been entered."""
        return self in _ENTERED

    @property
    def charged(self) -> bool:
        """Whether it counts against the job's retries."""
        return self in _CHARGED


_END = AttemptEnd
_CHARGED = frozenset({_END.FAILED, _END.TIMED_OUT, _END.CRASHED, _END.UNPREPARED, _END.OUT_OF_MEMORY})
_ENTERED = _CHARGED - {_END.UNPREPARED} | {_END.SUCCEEDED, _END.STOPPED, _END.LOST, _END.DECLINED}


class After(IntEnum):
    """Kinds of dependency, with Slurm's names. Stored in journals."""

    OK = 0  #: met when the parent succeeded
    ANY = 1  #: met when the parent ended, however
    NOT_OK = 2  #: met when the parent ended in any other way than success
    STARTED = 3  #: met when the parent's code was entered, or it ended without that
    CORR = 4  #: of two arrays: met when the item of the same index succeeded

    def verdict(self, parent: JobState) -> bool | None:
        """True: met. False: can never be met. None: not known yet."""
        if not parent.final:
            return None
        if self in (After.ANY, After.STARTED):
            return True
        return (parent is JobState.SUCCEEDED) == (self is not After.NOT_OK)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff between attempts; jitter is a share of the delay, drawn by hashing, never by chance."""

    first_ms: int = 1_000
    factor: float = 2.0
    max_ms: int = 300_000
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class MoreMemory:
    """What a job that ran out of memory is tried again with: so many thousandths of what it had, up to a limit."""

    thousandths: int = 2_000
    #: bytes; 0 for no limit
    most: int = 0


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed job is tried again: so often, not after these errors, for at most so long (0: no limit)."""

    times: int = 0
    not_on: tuple[str, ...] = ()
    elapsed_ms_max: int = 0
    on_oom: MoreMemory | None = None


@dataclass(frozen=True, slots=True, order=True)
class SlotKind:
    """What a slot is made for. Slots of one kind are exchangeable; processes are never shared between kinds."""

    resources: Resources
    code: str = ""  #: hash of the code bundle, "" for none
    environment: str = ""  #: hash of the prepared environment, "" for the cluster's own
    namespace: str = "default"
    #: one attempt per process: GPU jobs, and whatever asks for it
    single_use: bool = False
    #: the agent that lives in it, where it is for single use; else the one into whose process it is a lane
    agent: str = ""

    @property
    def receiver(self) -> str:
        """The agent whose messages run in it, inside of that agent's process; "" for every other kind."""
        return "" if self.single_use else self.agent

    @property
    def unchosen(self) -> bool:
        """Whether it is for messages for which nobody has been chosen: there are no such slots."""
        return self.agent.startswith(NOBODY)

    def __hash__(self) -> int:
        """Of what tells most of them apart: kinds are keys of most tables of the scheduler."""
        return hash((self.resources.amounts, self.namespace))


def kinds_of(kind: SlotKind, where: Where) -> tuple[SlotKind, ...]:
    """A kind of slot, and what would do as well, in order of preference."""
    return (
        kind,
        *(
            # a GPU's memory is only surely free again when its process is gone
            replace(kind, resources=other, single_use=kind.single_use or dict(other.amounts).get("GPU", 0) > 0)
            for other in where.alternatives
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Who is told when a job ends in one of these states: a webhook, or (of settings alone) a command on the head."""

    url: str = ""
    command: tuple[str, ...] = ()
    states: tuple[str, ...] = ("failed", "lost")
    #: a file on the head with the secret that signs, "" for the cluster's own
    secret_file: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.url or " ".join(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A job that follows the end of another one: `on` is failure, success, end, child_failure or fallback.

    `args` is JSON, `[arguments, named arguments]`. A function is called with the event in front of them, a command
    finds it in KOS_EVENT. A fallback gets what the failed job got instead.
    """

    on: str
    spec: "Spec"
    args: str = "[[],{}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the result of a job goes when it has succeeded: a file on the head, a webhook, a mailbox, or an agent.

    `file` is a template of a path. For an agent `spec` is the message's, and `args` its arguments, in which the result
    stands as the job's input at position 0.
    """

    file: str = ""
    url: str = ""
    #: a file on the head with the secret that signs, "" for the cluster's own
    secret_file: str = ""
    mailbox: str = ""
    spec: "Spec | None" = None
    args: bytes = b""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.file or self.url or (f"mailbox {self.mailbox}" if self.spec is None else self.spec.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carries:
    """Of a job whose attempts are an agent's life: what they have to know of the agent. Times are milliseconds."""

    name: str
    #: so many messages are handled at once
    concurrency: int = 1
    #: its state is saved after so many messages; 0: only before it is stopped
    snapshot_every: int = 0
    #: for each of its hooks
    hook_ms: int = 30_000
    #: whether it is started again when its process dies or it cannot start: not more than `crashes_max` times within
    #: `window_ms`; where it is not it is held, with its state, and an ephemeral one is over
    restart: bool = True
    crashes_max: int = 5
    window_ms: int = 600_000
    #: what must be there when it begins: environment variables ("" for any value), and paths
    config: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    #: its state is saved after so long, if it has handled something; 0: only as `snapshot_every` says
    interval_ms: int = 0
    #: it takes messages after so long at the latest, or its start has failed; 0: whenever it does
    start_ms: int = 0
    #: its process is ended when nothing was heard of it for so long; 0: nobody listens
    silent_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What jobs of one submission share. Times are milliseconds; `timeout_ms` 0 means none."""

    type: str = "function"  #: the user's job type; a low-cardinality label
    namespace: str = "default"
    band: int = 3
    resources: Resources = field(default_factory=Resources)
    function: bytes = b""  #: cloudpickle of the callable; empty for commands and entry points
    entry: str = ""  #: "module:function" for callables by name
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    code: str = ""
    environment: str = ""
    single_use: bool = False
    python: str = ""  #: "3.11" where the job is tied to a Python minor version
    timeout_ms: int = 0
    retries: int = 0
    backoff: Backoff = Backoff()
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    tags: tuple[str, ...] = ()
    #: how long it is said to run, 0 where nobody said; believed for backfill and critical paths, never enforced
    run_ms: int = 0
    #: when it should have ended, microseconds since the Unix epoch; 0 for no deadline
    deadline_us: int = 0
    eviction: Eviction = Eviction.REQUEUE
    #: between asking an attempt to make room and killing it; 0: the policy's
    grace_ms: int = 0
    demands: Demands = NO_DEMANDS
    children: Children = Children.ABANDON
    where: Where = ANYWHERE
    #: classes of exceptions, with or without their module, after which it is not tried again; judged in the slot
    not_on: tuple[str, ...] = ()
    #: no attempt is to start later than this after the job could first have started; 0 for no limit
    elapsed_ms_max: int = 0
    #: what is changed when it ran out of memory; None: nothing
    on_oom: MoreMemory | None = None
    #: it is to be entered so long after it could first have started, or it is over; 0 for no limit
    queue_ms: int = 0
    #: an attempt that says nothing for so long has stalled, 0: none ever has
    heartbeat_ms: int = 0
    #: jobs that follow its end, and who is told of it
    hooks: tuple[Hook, ...] = ()
    notify: tuple[Notify, ...] = ()
    #: where its result goes
    results_to: tuple[Sink, ...] = ()
    #: the agent whose life its attempts are; `function` or `entry` is then the agent's class, `command` its program
    carries: Carries | None = None
    #: the agent, of the same namespace, that handles it: `entry` is then a method's name
    receiver: str = ""
    #: what somebody has to approve before it may start
    approval: Approval | None = None
    #: or who may: one of them is chosen when it is ready
    to: To | None = None

    @property
    def message(self) -> bool:
        """Whether an agent handles it."""
        return bool(self.receiver) or self.to is not None

    @property
    def _agent(self) -> str:
        if self.carries is not None:
            return self.carries.name
        return self.receiver if self.to is None else f"{self.to.word}|{self.entry}"

    @property
    def slot_kind(self) -> SlotKind:
        """The kind of slot that its jobs run in; of a message that is for a role, until somebody was chosen."""
        return SlotKind(
            resources=self.resources,
            code=self.code,
            environment=self.environment,
            namespace=self.namespace,
            single_use=self.single_use or self.carries is not None,
            agent=self._agent,
        )
