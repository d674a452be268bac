"""The one aggregate. It is changed by `apply.py` alone; everybody else reads it."""

from dataclasses import dataclass, field

from kos_ray.model.events import JobDependency
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, JobState, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.reasons import Reason


class JobClass:
    """Waiting jobs that are alike for placement: one band, one kind of slot. `ready` is a heap of keys.

    Entries of `ready` whose job is no longer READY, or queued elsewhere, are skipped when they come up.
    """

    __slots__ = ("band", "kind", "ready", "why")

    def __init__(self, band: int, kind: SlotKind) -> None:
        self.band = band
        self.kind = kind
        self.ready: list[JobKey] = []
        #: why its head was not placed in the last pass
        self.why = Reason.NONE


class SpecEntry:
    """A spec in use: its class, its live jobs, and its measured run time (0 until one attempt has succeeded)."""

    __slots__ = ("job_class", "live", "mean_us", "spec")

    def __init__(self, spec: Spec, job_class: JobClass) -> None:
        self.spec = spec
        self.job_class = job_class
        self.live = 0
        self.mean_us = 0


class Job:
    """A live job. `attempt` counts launches; `failures` those that are charged; `losses` nodes lost under it."""

    __slots__ = (
        "attempt",
        "cancelled",
        "dependency",
        "due_us",
        "entry",
        "estimate_us",
        "failures",
        "held",
        "job_class",
        "key",
        "losses",
        "node",
        "queued",
        "recall_asked",
        "spec",
        "state",
        "unmet",
    )

    def __init__(self, key: JobKey, spec: SpecKey, entry: SpecEntry, state: JobState) -> None:
        self.key = key
        self.spec = spec
        self.entry = entry
        #: its spec's, until somebody gives the job another band
        self.job_class = entry.job_class
        #: in whose heap it stands; entries of other heaps are stale
        self.queued: JobClass | None = None
        self.state = state
        self.attempt = 0
        self.failures = 0
        self.losses = 0
        self.node: NodeId | None = None
        self.dependency: JobDependency | None = None
        self.unmet = 0
        self.due_us = 0
        #: what its run was estimated at when it was launched, so that the lane's load is taken back exactly
        self.estimate_us = 0
        self.recall_asked = False
        #: somebody wants it to wait
        self.held = False
        #: it was asked to stop for good; a paused one is asked to stop as well and goes back
        self.cancelled = False


class Lane:
    """The slots of one kind on one node: `slots` reservations, and the attempts sent there, `held` by job."""

    __slots__ = ("held", "idle_since_us", "kind", "load_us", "running", "slots")

    def __init__(self, kind: SlotKind) -> None:
        self.kind = kind
        self.slots = 0
        self.held: dict[JobKey, int] = {}
        #: sum of the estimates of what is held
        self.load_us = 0
        #: how many of the held ones were reported as entered: they are long
        self.running = 0
        #: when the number of slots last exceeded the number of attempts
        self.idle_since_us = 0

    @property
    def idle(self) -> int:
        """Reservations that nothing runs in."""
        return max(0, self.slots - len(self.held))


class NodeState:
    """A node with our ledger of it. `free` = its resources less all slots; never negative."""

    __slots__ = ("free", "lanes", "node", "slots", "taken")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.free: dict[str, int] = dict(node.resources.amounts)
        self.lanes: dict[SlotKind, Lane] = {}
        #: slots of all lanes
        self.slots = 0
        #: kinds that Ray did not admit: no slot is opened before `until`, which came after `times` refusals
        self.taken: dict[SlotKind, tuple[int, int]] = {}


@dataclass(slots=True)
class Todo:
    """What events left to be decided. Empty between passes."""

    ended: dict[JobKey, AttemptEnd] = field(default_factory=dict)
    unblocked: dict[JobKey, None] = field(default_factory=dict)
    unmeetable: dict[JobKey, None] = field(default_factory=dict)
    cancelled: dict[JobKey, None] = field(default_factory=dict)
    held: dict[JobKey, None] = field(default_factory=dict)
    paused: dict[JobKey, None] = field(default_factory=dict)
    #: lanes in which an attempt was reported as long
    long_lanes: dict[tuple[NodeId, SlotKind], None] = field(default_factory=dict)

    @property
    def unsettled(self) -> bool:
        """Whether jobs wait for a decision of `settle`."""
        return bool(self.ended or self.unblocked or self.unmeetable or self.cancelled or self.held or self.paused)


@dataclass(slots=True)
class State:
    """Everything that the scheduler knows."""

    policy: Policy = field(default_factory=Policy)
    epoch: int = 0
    next_key: JobKey = JobKey(1)
    jobs: dict[JobKey, Job] = field(default_factory=dict)
    specs: dict[SpecKey, SpecEntry] = field(default_factory=dict)
    #: specs without live jobs, the longest idle first
    idle_specs: dict[SpecKey, None] = field(default_factory=dict)
    classes: dict[tuple[int, SlotKind], JobClass] = field(default_factory=dict)
    nodes: dict[NodeId, NodeState] = field(default_factory=dict)
    #: who waits for a job's end: `(child, After)`
    dependents: dict[JobKey, list[tuple[JobKey, int]]] = field(default_factory=dict)
    #: heap of `(due_us, key)` of jobs in BACKOFF; stale entries are skipped
    due: list[tuple[int, JobKey]] = field(default_factory=list)
    #: lanes with idle slots
    idle_lanes: dict[tuple[NodeId, SlotKind], None] = field(default_factory=dict)
    todo: Todo = field(default_factory=Todo)
