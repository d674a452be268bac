"""What waits and runs: jobs, the classes in which they wait, and what several of them have in common."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kos_ray.model.dependency import Ended, Rule
from kos_ray.model.events import JobDependency
from kos_ray.model.gang import GangMode, OnFailure
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import NO_DEMANDS, Demands, Eviction, JobState, SlotKind, Spec, kinds_of
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.model.where import ANYWHERE, Where
from kos_ray.scheduler.learnt import UNKNOWN, Estimate
from kos_ray.scheduler.rooms import shelf_of

if TYPE_CHECKING:
    from kos_ray.scheduler.state import Lane

#: the order of jobs that have waited as long as their band allows: before all bands
OVERDUE = -1
#: the order of jobs that are to start just in time, until then: behind all bands
LATER = 6


@dataclass(frozen=True, slots=True, order=True)
class ClassKey:
    """What jobs that are alike for order and placement have in common.

    `band` is what was declared; `order` is where they stand: the same, or 3 where the discipline is blind to bands,
    one lower in a burst, LATER until they must start just in time, OVERDUE when they have waited too long. `user` is
    set where users share fairly.
    """

    band: int
    order: int
    kind: SlotKind
    demands: Demands = NO_DEMANDS
    user: str = ""
    #: declared run time, to four significant bits: what fits before a claim is found among those of one length
    length: int = 0
    #: None: anywhere; names are hashed for each submission, and this costs nothing then
    where: Where | None = None
    #: by which others' rules know these jobs; see `sites.py`
    words: tuple[str, ...] = ()
    #: 1 to 3 where tiers have slots of time, 0 where not; see `tiers.py`
    tier: int = 0
    #: whose jobs stand for gangs that start as a whole: how many members of which shapes, "" for all others
    gang: str = ""


@dataclass(frozen=True, slots=True)
class Rest:
    """No victims were found for a head anywhere: only nodes that change are looked at, for a while."""

    until_us: int
    #: when time may have changed the outcome
    hint_us: int | None
    #: changes of nodes before this one are known
    position: int
    #: what was kept for others then, by node: where it is no longer, that node counts as changed
    kept: Mapping[NodeId, Hashable]


@dataclass(slots=True)
class Parked:
    """A head that had no room, and what that depended on; see `parking.py`."""

    head: JobKey
    #: changes of nodes before this one are known
    position: int
    #: for how long it was expected to run
    run_us: int
    #: whether it may have victims, and its search for them that was in vain; None: that is to be done
    searches: bool
    rest: Rest | None


class JobClass:
    """Waiting jobs that are alike for placement. `ready` is a heap.

    Its entries are keys, or `(rank, key)` where `ranked`. Those whose job is no longer READY, queued elsewhere, or
    ranked anew are skipped when they come up.
    """

    __slots__ = (
        *("account", "agent", "band", "demanding", "demands", "kind", "kinds", "name", "order", "parked", "plugin"),
        *("ranked", "ready", "rests", "rotates", "size", "special", "where", "why"),
    )

    def __init__(self, name: ClassKey, account: str, *, ranked: bool, plugin: str = "", rotates: bool = False) -> None:
        self.name = name
        self.band = name.band
        self.order = name.order
        self.kind = name.kind
        #: on which shelf a node stands that has just as much room as its jobs need
        self.size = shelf_of(name.kind.resources)
        self.demands = name.demands
        self.demanding = name.demands != NO_DEMANDS
        #: the agent that handles its jobs, "" where they are no messages
        self.agent = name.kind.receiver
        self.where = name.where or ANYWHERE
        #: in order of preference
        self.kinds = kinds_of(name.kind, self.where)
        #: whether more than room decides where its jobs may start
        self.special = self.where != ANYWHERE or bool(name.words)
        #: who shares fairly with others: the namespace, or namespace, NUL, user
        self.account = account
        self.ranked = ranked
        #: which plug-in ranks it, "" for none
        self.plugin = plugin
        #: whether its jobs go round among the nodes
        self.rotates = rotates
        self.ready: list[Any] = []
        #: why its head was not placed in the last pass
        self.why = Reason.NONE
        #: heads whose last searches for victims were in vain; derived
        self.rests: dict[JobKey, Rest] = {}
        #: its head, where that is passed over until something changes; derived
        self.parked: Parked | None = None


class SpecEntry:
    """A spec in use: its live jobs, and its measured run time (0 until one attempt has succeeded)."""

    __slots__ = ("estimate", "kind", "live", "mean_us", "saves", "shrinks", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.kind = spec.slot_kind
        self.saves = spec.eviction is Eviction.CHECKPOINT
        self.shrinks = spec.eviction is Eviction.SHRINK
        self.live = 0
        self.mean_us = 0
        #: how long its jobs with small arguments run, as far as that was known in a version of `Learnt`; derived
        self.estimate: tuple[int, Estimate] = (-1, UNKNOWN)


class Waiting:
    """What a blocked job's parents did; see `dependencies.py`.

    `counts` is by `Ended` (where kinds count: met under SUCCEEDED, else under FAILED), behind those of setups alone.
    """

    __slots__ = ("counts", "in_line", "pending", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        #: parents of which it is not known yet
        self.pending = 0
        self.counts = [0] * (2 * len(Ended))
        #: others of its singleton's key stand before it
        self.in_line = False


class Group:
    """The items of an array that has limits for all of them; see `groups.py`."""

    __slots__ = ("failed", "given_up", "live", "max_failures")

    def __init__(self, max_failures: int) -> None:
        self.max_failures = max_failures
        self.failed = 0
        self.given_up = False
        self.live: dict[JobKey, None] = {}


class Gang:
    """Jobs that start together, by rank; see `gangs.py`."""

    __slots__ = (
        *("going", "leader", "least", "live", "losses", "members", "mode", "name"),
        *("on_failure", "over", "room", "round", "succeeded", "version"),
    )

    def __init__(self, name: str, members: tuple[JobKey, ...], least: int, mode: GangMode, on_failure: OnFailure):
        self.name = name
        self.members = members
        #: so many are needed at once; where it is 0, whoever fits starts
        self.least = least
        self.mode = mode
        self.on_failure = on_failure
        self.live: dict[JobKey, None] = dict.fromkeys(members)
        self.succeeded = 0
        #: members run, or may start each on its own
        self.going = not least
        #: counts its starts
        self.round = 0
        #: who stands in the queue for all of them while it waits; JobKey(0): it is not complete
        self.leader = JobKey(0)
        #: counts the times that something changed for its members since it was read in; no part of what is kept
        self.version = 0
        #: why it is over and its members end, NONE while it is not
        self.over = Reason.NONE
        #: ranks whose share others have taken over, and who did; of live ones, until they run again. Nobody takes over
        #: who stands here already, so that a share is followed from the first to the last
        self.losses: list[tuple[int, tuple[int, ...]]] = []
        #: where room is being made for it, and how much
        self.room: dict[NodeId, Resources] = {}

    def away(self) -> set[int]:
        """The ranks whose share others have taken over."""
        return {rank for rank, _ in self.losses}

    def back(self, key: JobKey) -> None:
        """Nobody need do a member's share any more."""
        if self.losses:
            rank = self.members.index(key)
            self.losses = [loss for loss in self.losses if loss[0] != rank]


class Job:
    """A live job. `attempt` counts launches; `failures` those that are charged; `losses` nodes lost under it."""

    __slots__ = (
        "attempt",
        "barred",
        "cancelled",
        "dependency",
        "due_us",
        "entered",
        "entry",
        "estimate_us",
        "evicted_for",
        "evictions",
        "failures",
        "held",
        "job_class",
        "key",
        "kind",
        "lane",
        "losses",
        "node",
        "path_us",
        "queued",
        "recall_asked",
        "saved_us",
        "since_us",
        "spec",
        "started_us",
        "state",
        "stopped_by",
        "undelivered",
        "waiting",
    )

    def __init__(self, key: JobKey, spec: SpecKey, entry: SpecEntry, job_class: JobClass, state: JobState) -> None:
        self.key = key
        self.spec = spec
        self.entry = entry
        #: its submission's, until it ages or somebody gives it another band
        self.job_class = job_class
        #: the kind of slot its attempt has: its spec's, or an alternative
        self.kind = entry.kind
        #: where its attempt is
        self.lane: Lane | None = None
        #: in whose heap it stands; entries of other heaps are stale
        self.queued: JobClass | None = None
        self.state = state
        self.attempt = 0
        self.failures = 0
        self.losses = 0
        #: launches in a row that did not arrive
        self.undelivered = 0
        self.node: NodeId | None = None
        self.dependency: JobDependency | None = None
        #: what it waits for while it is BLOCKED
        self.waiting: Waiting | None = None
        #: its code was entered in some attempt, of which was heard before that ended well
        self.entered = False
        self.due_us = 0
        #: what its run was estimated at when it was launched, so that the lane's load is taken back exactly
        self.estimate_us = 0
        self.recall_asked = False
        #: somebody wants it to wait
        self.held = False
        #: it was asked to stop for good; a paused or evicted one is asked to stop as well and goes back
        self.cancelled = False
        #: when it could first have started, -1 before that
        self.since_us = -1
        #: when its attempt was launched, and when that last saved its state
        self.started_us = 0
        self.saved_us = 0
        #: declared run times from its start to the end of the longest chain behind it
        self.path_us = 0
        #: why its attempt was asked to stop
        self.stopped_by = Reason.NONE
        #: for which job it makes room, and how often it did
        self.evicted_for: JobKey | None = None
        self.evictions = 0
        #: evicted by this account, it takes nothing back from it until then
        self.barred: tuple[str, int] | None = None

    def barred_from(self, other: Job, now_us: int) -> bool:
        """Whether the other's account evicted this job so recently that it may not do the same."""
        return self.barred is not None and self.barred[0] == other.job_class.account and now_us < self.barred[1]
