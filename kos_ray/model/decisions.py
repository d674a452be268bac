"""What the scheduler chose, in the imperative, with its reason. Applying a decision never decides again."""

from dataclasses import dataclass

from kos_ray.model.agent_snapshots import ForgetSnapshots, SaveAgents
from kos_ray.model.coordination import COORDINATION_DECISIONS, CoordinationDecision
from kos_ray.model.dispatch import Passed
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeReady:
    """These jobs may run: dependencies met, backoff over, or an uncharged return to the queue."""

    keys: tuple[JobKey, ...]
    reason: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """These jobs could run, and wait until they are released."""

    keys: tuple[JobKey, ...]
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """These jobs failed an attempt, or their launch did not arrive (not charged); the next one is due at `due_us`."""

    keys: tuple[JobKey, ...]
    due_us: tuple[int, ...]
    reasons: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseMemory:
    """These jobs ran out of memory: from their next attempts on they hold so much, in 1/10 000 bytes."""

    keys: tuple[JobKey, ...]
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """These jobs are over, in one final state, for one reason."""

    keys: tuple[JobKey, ...]
    state: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Send attempts to the slots of one kind on one node; the kind holds `slots` reservations there from now on."""

    node: NodeId
    kind: SlotKind
    slots: int
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeSlots:
    """Keep only `slots` reservations of a kind on a node."""

    node: NodeId
    kind: SlotKind
    slots: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Ask the node for attempts back that it has not entered; it answers `RECALLED` or too late."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End these attempts: asked first, killed after `grace_ms`."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    grace_ms: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    """End these attempts on a node, asked first and killed after `grace_ms`, so that `wanted_by` can run on `target`.

    Nothing is charged. Their jobs wait again, or are over, as each has it.
    """

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    grace_ms: int
    reason: int
    wanted_by: JobKey
    target: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """These jobs go before others from now on.

    They have waited as long as their band allows, and go before whatever becomes ready later; or, with an `order`, they
    were to start just in time, and that is now.
    """

    keys: tuple[JobKey, ...]
    #: as in `ClassKey`
    order: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkMissed:
    """Say that these jobs, which wait, cannot end by their deadlines any more. They run all the same."""

    keys: tuple[JobKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetBack:
    """These jobs, which were moved away from a node that was pressed, may start there again."""

    keys: tuple[JobKey, ...]
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGang:
    """A gang starts, with these members at once; from now on the others may join."""

    gang: str
    keys: tuple[JobKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGang:
    """A gang runs no more: its members end, and start again together unless it is `final`."""

    gang: str
    reason: int
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepForGang:
    """Others make room for a gang: its members will take so much of each of these nodes."""

    gang: str
    nodes: tuple[NodeId, ...]
    resources: tuple[Resources, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepNoRoom:
    """The room that was made for these jobs is of no use to them any more: they wait among the others again."""

    keys: tuple[JobKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """An agent is to handle a message that is for a role; without one, that message waits for a choice again.

    It had the least `delay_us`: until it has done what it has (`load` messages of `run_us` each) and this one, over its
    `skill` (thousandths: how surely it does this well), half of it for one that is preferred; of those that come to
    about the same whoever was chosen the longest ago.
    """

    key: JobKey
    agent: str = ""
    reason: int = 0
    #: which of its roles that was: 0 the first, behind it those that stand in
    stage: int = 0
    load: int = 0
    run_us: int = 0
    delay_us: int = 0
    skill: int = 0  #: 0: nobody was chosen
    #: who else came into question, the first ones, and how many did besides
    others: tuple[Passed, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """A hot standby has a role from now on; whoever had it stands by, and gets nothing of it when it comes back."""

    namespace: str
    role: str
    agent: str
    over: tuple[str, ...]
    #: counts the times that the role went over: higher than that of everybody before
    term: int


Decision = (
    MakeReady
    | Hold
    | RetryLater
    | Finish
    | Launch
    | ResizeSlots
    | Recall
    | Stop
    | Evict
    | Promote
    | MarkMissed
    | StartGang
    | StopGang
    | KeepForGang
    | KeepNoRoom
    | RaiseMemory
    | CoordinationDecision
    | Assign
    | TakeOver
    | SaveAgents
    | ForgetSnapshots
    | LetBack
)

DECISION_TYPES: tuple[type, ...] = (
    *(MakeReady, Hold, RetryLater, Finish, Launch, ResizeSlots, Recall, Stop),
    *(Evict, Promote, MarkMissed, StartGang, StopGang, KeepForGang, KeepNoRoom, RaiseMemory),
    *COORDINATION_DECISIONS,
    *(Assign, TakeOver, SaveAgents, ForgetSnapshots, LetBack),
)
