"""The one aggregate. It is changed by `apply.py` alone; everybody else reads it."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kos_ray.model.dependency import Ended
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import AttemptEnd, JobState, SlotKind
from kos_ray.model.node import Mark, Node
from kos_ray.model.policy import Discipline, Model, Namespace, Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.model.where import Where
from kos_ray.model.windows import Windows
from kos_ray.scheduler.agents import Agents
from kos_ray.scheduler.coordination import Coordination
from kos_ray.scheduler.desk import Desk
from kos_ray.scheduler.fragments import Fragments
from kos_ray.scheduler.jobs import ClassKey, Gang, Group, Job, JobClass, Parked, SpecEntry
from kos_ray.scheduler.learnt import Learnt
from kos_ray.scheduler.pressure import Pressure
from kos_ray.scheduler.quota import Tree
from kos_ray.scheduler.rooms import Rooms
from kos_ray.scheduler.schedules import Schedules


class Lane:
    """The slots of one kind on one node: `slots` reservations, and the attempts sent there, `held` by job."""

    __slots__ = ("held", "idle_since_us", "kind", "load_us", "noted", "running", "slots")

    def __init__(self, kind: SlotKind) -> None:
        self.kind = kind
        self.slots = 0
        self.held: dict[JobKey, int] = {}
        #: sum of the estimates of what is held
        self.load_us = 0
        #: how many of the held ones were reported as entered: they are long
        self.running = 0
        #: whether it stands among the lanes with idle slots
        self.noted = False
        #: when the number of slots last exceeded the number of attempts
        self.idle_since_us = 0

    @property
    def idle(self) -> int:
        """Reservations that nothing runs in."""
        return max(0, self.slots - len(self.held))


class NodeState:
    """A node with our ledger of it. `free` = its resources less all slots; never negative."""

    __slots__ = (
        *("battery", "ends", "free", "gains", "gives", "gpu_free", "labels", "lanes", "mark", "node", "slots"),
        *("pressed", "retires", "room", "silent", "taken", "tried", "wake_us", "windows"),
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.free: dict[str, int] = dict(node.resources.amounts)
        self.lanes: dict[SlotKind, Lane] = {}
        #: slots of all lanes
        self.slots = 0
        #: kinds that Ray did not admit: no slot is opened before `until`, which came after `times` refusals
        self.taken: dict[SlotKind, tuple[int, int]] = {}
        #: its own labels with those of its mark
        self.labels: dict[str, str] = dict(node.labels)
        #: what people say of it; see `marks.py`
        self.mark: Mark | None = None
        #: when it may be used, by its own name and by its host's
        self.windows: tuple[Windows, ...] = ()
        #: see `NodeCondition`
        self.battery = -1
        self.gpu_free: tuple[int, ...] = ()
        self.silent = False
        self.retires = 0
        #: kinds that are short here, with their shares in thousandths; see `pressure.py`
        self.pressed: tuple[tuple[str, int], ...] = ()
        #: by when which room will be free; derived, see `claims.py`
        self.ends: Ends | None = None
        #: what those that can give way hold, by declared band, and of that the savers'; derived, see `evict.gives`
        self.gives: tuple[list[dict[str, int]], list[dict[str, int]]] | None = None
        #: what it could give at once: `rooms.room_of`; and if others gave way, by who asks: `targets.py`; derived
        self.room: dict[str, int] | None = None
        self.gains: dict[tuple[int, int], dict[str, int]] = {}
        #: heads for which nobody here could give way, until when that holds, and when somebody may; derived
        self.tried: dict[JobKey, tuple[int, int | None]] = {}
        #: when it will have changed though nothing happens; 0: not noted
        self.wake_us = 0

    def forget(self) -> None:
        """What runs here has changed: nothing that was derived from it holds."""
        self.ends = self.gives = self.room = None
        self.gains.clear()
        self.tried.clear()


class Ends(NamedTuple):
    """When what runs on a node is over, the first first: as declared, and as learnt where nothing is."""

    #: of `Learnt`
    version: int
    declared: list[tuple[int, Resources]]
    likely: list[tuple[int, Resources]]


class Account:
    """What a namespace (or a user in one) had of late.

    `share` is the weighted dominant share in millionths, decayed at `at_us`; see `shares.py`.
    """

    __slots__ = ("at_us", "burst", "share")

    def __init__(self) -> None:
        self.share = 0
        self.at_us = 0
        #: start of the present window of submissions, and how many jobs came in it
        self.burst: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Todo:
    """What events left to be decided. Empty between passes."""

    ended: dict[JobKey, AttemptEnd] = field(default_factory=dict)
    #: of these, those whose code said when it is to be tried again: milliseconds, -1 never
    asked_ms: dict[JobKey, int] = field(default_factory=dict)
    unblocked: dict[JobKey, None] = field(default_factory=dict)
    #: jobs that can never run, and why
    unmeetable: dict[JobKey, Reason] = field(default_factory=dict)
    #: items that have not started of arrays that were given up
    given_up: dict[JobKey, None] = field(default_factory=dict)
    #: jobs that end with the one that submitted them
    orphaned: dict[JobKey, None] = field(default_factory=dict)
    #: of these, on which host they were that was lost
    lost_on: dict[JobKey, str] = field(default_factory=dict)
    cancelled: dict[JobKey, None] = field(default_factory=dict)
    held: dict[JobKey, None] = field(default_factory=dict)
    paused: dict[JobKey, None] = field(default_factory=dict)
    #: lanes in which an attempt was reported as long
    long_lanes: dict[tuple[NodeId, SlotKind], None] = field(default_factory=dict)
    #: gangs that are to start anew or to end
    gangs: dict[str, None] = field(default_factory=dict)
    #: gangs of which members may have gone away, or come back
    shares: dict[str, None] = field(default_factory=dict)

    def ends(self, key: JobKey) -> bool:
        """Whether a job is to end that has not."""
        return key in self.cancelled or key in self.given_up or key in self.orphaned

    @property
    def unsettled(self) -> bool:
        """Whether jobs wait for a decision of `settle`."""
        decided = self.ended or self.unblocked or self.unmeetable or self.cancelled or self.held or self.paused
        return bool(decided or self.given_up or self.orphaned or self.gangs)


@dataclass(slots=True)
class State:
    """Everything that the scheduler knows."""

    policy: Policy = field(default_factory=Policy)
    epoch: int = 0
    next_key: JobKey = JobKey(1)
    jobs: dict[JobKey, Job] = field(default_factory=dict)
    #: processes that died under jobs, for jobs under which any did
    crashes: dict[JobKey, int] = field(default_factory=dict)
    specs: dict[SpecKey, SpecEntry] = field(default_factory=dict)
    #: specs without live jobs, the longest idle first
    idle_specs: OrderedDict[SpecKey, None] = field(default_factory=OrderedDict)
    classes: dict[ClassKey, JobClass] = field(default_factory=dict)
    #: how many of them were in use when the others were forgotten the last time
    classes_left: int = 0
    nodes: dict[NodeId, NodeState] = field(default_factory=dict)
    #: what all nodes have together
    capacity: dict[str, int] = field(default_factory=dict)
    #: by namespace, and by namespace, NUL, user
    accounts: dict[str, Account] = field(default_factory=dict)
    #: what is reserved by namespace, those below included; "" is all together
    reserved: dict[str, dict[str, int]] = field(default_factory=dict)
    #: who waits for a job's end: `(child, After)`
    dependents: dict[JobKey, list[tuple[JobKey, int]]] = field(default_factory=dict)
    #: and who waits for its start
    starters: dict[JobKey, list[JobKey]] = field(default_factory=dict)
    #: live jobs with a singleton's key, in the order in which they came; see `dependencies.line_of`
    lines: dict[str, dict[JobKey, None]] = field(default_factory=dict)
    #: arrays with limits, by namespace, NUL, name; and the group of each of their live items
    groups: dict[str, Group] = field(default_factory=dict)
    group_of: dict[JobKey, str] = field(default_factory=dict)
    #: gangs by name, the gang of each of their live members, and those of which something has just changed
    gangs: dict[str, Gang] = field(default_factory=dict)
    gang_of: dict[JobKey, Gang] = field(default_factory=dict)
    touched: dict[str, None] = field(default_factory=dict)
    #: live children of jobs that do not abandon them, and their parent; see `family.py`
    children: dict[JobKey, dict[JobKey, None]] = field(default_factory=dict)
    parent_of: dict[JobKey, JobKey] = field(default_factory=dict)
    #: parents that are over, and for whose children those wait that wait for them: how they ended
    closing: dict[JobKey, tuple[JobState, Ended]] = field(default_factory=dict)
    #: heap of `(due_us, key)` of jobs in BACKOFF; stale entries are skipped
    due: list[tuple[int, JobKey]] = field(default_factory=list)
    #: heap of `(due_us, keys)` of jobs that became ready together: those that still wait then are overdue
    aging: list[tuple[int, tuple[JobKey, ...]]] = field(default_factory=list)
    #: nodes whose lanes of a kind have idle slots, the longest idle first
    idle_lanes: dict[SlotKind, dict[NodeId, None]] = field(default_factory=dict)
    #: nodes on which Ray gave some room to others
    taken_nodes: dict[NodeId, None] = field(default_factory=dict)
    #: what one more reservation of a vector adds to a share, and what namespaces have of it; forgotten with `able`
    steps: dict[Resources, int] = field(default_factory=dict)
    shares_now: dict[str, int] = field(default_factory=dict)
    #: lanes by kind, as they came; derived
    lanes: dict[SlotKind, dict[NodeId, Lane]] = field(default_factory=dict)
    #: how often shares may have changed, for whoever keeps what it made of them
    share_changes: int = 0
    #: jobs for which others make room, and on which node
    nominated: dict[JobKey, NodeId] = field(default_factory=dict)
    #: licences and concurrency keys in use
    used: dict[tuple[str, str], int] = field(default_factory=dict)
    #: rate limits: units left at an instant
    buckets: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: ranks that plug-ins gave, by plug-in and job
    advice: dict[str, dict[JobKey, int]] = field(default_factory=dict)
    #: those of the jobs that wait of which a plug-in has said nothing; some more may stand there
    unadvised: dict[str, dict[JobKey, None]] = field(default_factory=dict)
    #: plug-ins that are disabled, and why
    plugins_off: dict[str, str] = field(default_factory=dict)
    #: heap of `(instant, keys)` of jobs with deadlines: when those that wait must start, or cannot meet them any more
    deadlines: list[tuple[int, tuple[JobKey, ...]]] = field(default_factory=list)
    #: heap of `(instant, keys)` of jobs with a `queue_timeout` that have not been entered; and whether any spec has one
    queue_ends: list[tuple[int, tuple[JobKey, ...]]] = field(default_factory=list)
    queue_limits: bool = False
    #: running attempts that promised to say how far they are: when they were heard last; whether any spec promises it;
    #: and a heap of when they are to have said something, derived, with stale entries. See `hearing.py`
    heard: dict[JobKey, int] = field(default_factory=dict)
    heartbeats: bool = False
    silences: list[tuple[int, JobKey]] = field(default_factory=list)
    #: those of them whose time is over while they are on their way to a node
    queue_over: dict[JobKey, None] = field(default_factory=dict)
    #: before leases were made shorter they were so long, and the last of those is over at that instant
    longer_lease: tuple[int, int] = (0, 0)
    #: jobs that could not meet their deadlines any more while they waited
    missed: dict[JobKey, None] = field(default_factory=dict)
    #: how long jobs have run, and of what size the arguments of live jobs are that are not small; see `learnt.py`
    learnt: Learnt = field(default_factory=Learnt)
    sizes: dict[JobKey, int] = field(default_factory=dict)
    #: how many jobs of classes that rotate were started on each node
    starts: dict[NodeId, int] = field(default_factory=dict)
    todo: Todo = field(default_factory=Todo)
    #: how many attempts still have to make room for a job
    making: dict[JobKey, int] = field(default_factory=dict)
    #: attempts that were asked to stop, for whatever reason, and are still there
    stopping: dict[JobKey, None] = field(default_factory=dict)
    #: attempts on nodes by declared band, and those of jobs that can save their state
    on_nodes: list[int] = field(default_factory=lambda: [0] * 6)
    savers: int = 0
    #: when the last pass could have done more though nothing had happened
    retry_us: int | None = None
    #: nodes by the room they have; derived
    rooms: Rooms = field(default_factory=Rooms)
    #: how often shapes fit on nodes; derived
    fragments: Fragments = field(default_factory=Fragments)
    #: jobs for which room is being made, and who had none elsewhere meanwhile; derived, see `parking.py`
    aside: dict[JobKey, Parked] = field(default_factory=dict)
    #: nodes that could hold a slot of a kind when empty, and lists of nodes by what they have in all; forgotten when
    #: nodes or policy change
    able: dict[tuple[SlotKind, Where], list[NodeState]] = field(default_factory=dict)
    of_shapes: dict[frozenset[Resources], list[NodeState]] = field(default_factory=dict)
    #: why gangs alike could never start; forgotten with them
    never: dict[tuple[object, ...], Reason] = field(default_factory=dict)
    #: what people say of nodes, by name of a node or of its host; see `marks.py`
    marks: dict[str, Mark] = field(default_factory=dict)
    #: nodes where what runs is to give way, for their agents are to be replaced; derived
    retiring_now: set[NodeId] = field(default_factory=set)
    #: when nodes and namespaces may be used, by scope
    windows: dict[str, Windows] = field(default_factory=dict)
    pressure: Pressure = field(default_factory=Pressure)
    schedules: Schedules = field(default_factory=Schedules)
    agents: Agents = field(default_factory=Agents)
    coordination: Coordination = field(default_factory=Coordination)
    dispatch: Desk = field(default_factory=Desk)
    #: words that rules of known specs name, and how many do; see `sites.py`
    watched: dict[str, int] = field(default_factory=dict)
    #: attempts on nodes by such a word, and by what those there keep away: `(word, label)`
    present: dict[str, dict[NodeId, int]] = field(default_factory=dict)
    shunned: dict[tuple[str, str], dict[NodeId, int]] = field(default_factory=dict)
    #: nodes where jobs with such a word have run
    left: dict[str, dict[NodeId, None]] = field(default_factory=dict)
    #: the policy's namespaces with the cluster's capacity; made anew when either changes
    tree: Tree = field(default_factory=lambda: Tree((), {}))

    def discipline(self, namespace: str) -> Discipline:
        """How a namespace orders its jobs: as it says, or the nearest one above it, or the policy."""
        return self.ordering(namespace)[0]

    def ordering(self, namespace: str) -> tuple[Discipline, str]:
        """The same, with the plug-in that does it; by priority where that is disabled."""
        found = self.policy.discipline, self.policy.plugin
        for settings in self._settings_of(namespace):
            if settings.discipline is not None:
                found = settings.discipline, settings.plugin
                break
        if found[0] is not Discipline.PLUGIN:
            return found[0], ""
        usable = found[1] and found[1] not in self.plugins_off
        return found if usable else (Discipline.PRIORITY, "")

    def model(self, namespace: str) -> Model:
        """The scheduling model of a namespace, found in the same way."""
        for settings in self._settings_of(namespace):
            if settings.model is not None:
                return settings.model
        return self.policy.model

    def _settings_of(self, namespace: str) -> Iterator[Namespace]:
        """Of a namespace and those above it, the nearest first."""
        while namespace:
            found = self.tree.settings.get(namespace)
            if found is not None:
                yield found
            namespace = namespace.rpartition("/")[0]
