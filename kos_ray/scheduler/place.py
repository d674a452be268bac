"""Where waiting jobs go: by band, then by sequence; best fit; and a node kept free for a head that does not fit.

The order is total: `(band, key)`. A pass goes through the classes by their heads. A class whose head cannot be placed
*claims* the node on which it lacks least: jobs behind it may use that node only where they leave what it waits for.
That costs some utilisation and bounds its wait; backfill with known run times will win it back.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import JobState, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler.apply import apply_decision
from kos_ray.scheduler.ledger import first_ready, launch, set_slots, take_first
from kos_ray.scheduler.state import Job, JobClass, Lane, NodeState, State

_Rank = tuple[int, JobKey]
_Heads = list[tuple[int, JobKey, int, JobClass]]


class Pass:
    """One placement pass. It changes the state as it goes and remembers what it did as decisions."""

    def __init__(self, state: State, now_us: int) -> None:
        self.state = state
        self.now_us = now_us
        self.launched: dict[tuple[NodeId, SlotKind], list[JobKey]] = {}
        self.resized: dict[tuple[NodeId, SlotKind], Reason] = {}
        self.recalls: list[d.Recall] = []
        #: nodes kept for a head: what it lacks there, and what it needs in all
        self.claims: dict[NodeId, tuple[frozenset[str], JobClass]] = {}

    def run(self) -> list[d.Decision]:
        """Let idle slots go whose time is over; then place what can be placed, in order."""
        self._release_taken()
        self._release_idle()
        heads = self._heads()
        while heads:
            band, _, number, job_class = heads[0]
            after = _second(heads)
            while (head := first_ready(self.state, job_class)) is not None and (band, head) < after:
                if not self._place(job_class, after):
                    self._hold(job_class)
                    head = None
                    break
            if head is None:
                heappop(heads)
            else:
                heapreplace(heads, (band, head, number, job_class))
        return self._decisions()

    # --- one class

    def _place(self, job_class: JobClass, after: _Rank) -> bool:
        """Place a run of jobs from the head of a class, up to the rank `after`, in one lane; False: no room."""
        kind = job_class.kind
        for node, room in self._rooms(job_class):
            keys = self._take(job_class, after, room)
            lane = node.lanes.get(kind)
            slots, idle = (lane.slots, lane.idle) if lane else (0, 0)
            if len(keys) > idle:
                self._resize(node, kind, slots + len(keys) - idle, Reason.NONE)
            self._launch(node, kind, keys)
            return True
        return self._queue_ahead(job_class, after)

    def _rooms(self, job_class: JobClass) -> Iterable[tuple[NodeState, int]]:
        """Nodes and how many jobs they can start at once: idle slots first, then best fit, then by closing others'."""
        kind = job_class.kind
        for node in self.state.nodes.values():
            lane = node.lanes.get(kind)
            if lane and lane.idle and self._allowed(node, job_class, opens=False):
                yield node, lane.idle
        best: tuple[float, NodeId] | None = None
        for node in self.state.nodes.values():
            if self._can_open(node, kind) and kind.resources.fits(node.free) and self._allowed(node, job_class):
                rank = (_leftover(node, kind), node.node.id)
                best = min(best, rank) if best else rank
        if best:
            node = self.state.nodes[best[1]]
            yield node, self._times(node, job_class)
        for node in self.state.nodes.values():
            if self._allowed(node, job_class) and self._close_idle(node, kind):
                yield node, 1

    def _times(self, node: NodeState, job_class: JobClass) -> int:
        """How many slots of a kind may be opened on a node where one may."""
        free = dict(node.free)
        claim = self.claims.get(node.node.id)
        if claim and claim[1] is not job_class:
            add(free, claim[1].kind.resources, -1)
        bound = self._slots_left(node, job_class.kind)
        return max(1, job_class.kind.resources.times_in(free, bound))

    def _slots_left(self, node: NodeState, kind: SlotKind, *, closed: int = 0) -> int:
        """How many more processes the node may run, whatever room it has, after so many others were closed."""
        policy = self.state.policy
        left = policy.slots_per_node_max - node.slots + closed
        if not kind.resources.amounts:
            lane = node.lanes.get(kind)
            left = min(left, policy.empty_slots_max - (lane.slots if lane else 0))
        return left

    def _can_open(self, node: NodeState, kind: SlotKind, *, closed: int = 0) -> bool:
        return self._slots_left(node, kind, closed=closed) > 0 and not self._pausing(node, kind)

    def _pausing(self, node: NodeState, kind: SlotKind) -> bool:
        """Whether Ray has just given the kind's room on this node to others."""
        return node.taken.get(kind, (0, 0))[0] > self.now_us

    def _allowed(self, node: NodeState, job_class: JobClass, *, opens: bool = True) -> bool:
        """Whether a claim on the node leaves room for one more job of the class."""
        claim = self.claims.get(node.node.id)
        if claim is None or claim[1] is job_class:
            return True
        lacking, claimer = claim
        wanted = job_class.kind.resources
        if any(name in lacking for name, _ in wanted.amounts):
            return False
        if not opens:
            return True
        free = dict(node.free)
        add(free, claimer.kind.resources, -1)
        return all(free.get(name, 0) >= amount for name, amount in wanted.amounts)

    def _close_idle(self, node: NodeState, kind: SlotKind) -> bool:
        """Close idle slots of other kinds if that makes room for one slot of `kind`."""
        idle = sorted(
            (lane for lane in node.lanes.values() if lane.idle and lane.kind != kind),
            key=lambda lane: (lane.idle_since_us, lane.kind),
        )
        free = dict(node.free)
        close: dict[SlotKind, int] = {}
        closed = 0
        for lane in idle:
            for _ in range(lane.idle):
                if kind.resources.fits(free) and self._can_open(node, kind, closed=closed):
                    break
                add(free, lane.kind.resources, 1)
                close[lane.kind] = close.get(lane.kind, 0) + 1
                closed += 1
        if not kind.resources.fits(free) or not self._can_open(node, kind, closed=closed):
            return False
        for other, count in close.items():
            self._resize(node, other, node.lanes[other].slots - count, Reason.ROOM_WANTED)
        return True

    def _take(self, job_class: JobClass, after: _Rank, room: int) -> list[JobKey]:
        """Take up to `room` jobs from the head of a class, as long as they rank before `after`."""
        keys: list[JobKey] = []
        while len(keys) < room and (head := first_ready(self.state, job_class)) is not None:
            if (job_class.band, head) >= after:
                break
            take_first(self.state, job_class)
            keys.append(head)
        return keys

    # --- queueing ahead

    def _queue_ahead(self, job_class: JobClass, after: _Rank) -> bool:
        """Give one run of short jobs to the lane that will be free first, so that its slots never wait for us."""
        head = first_ready(self.state, job_class)
        assert head is not None
        kind, policy = job_class.kind, self.state.policy
        estimate_us = self.state.jobs[head].entry.mean_us
        if kind.single_use or not 0 < estimate_us <= policy.ahead_run_us_max:
            return False
        best: tuple[float, NodeId] | None = None
        for node in self.state.nodes.values():
            lane = node.lanes.get(kind)
            if lane and self._ahead_room(lane, estimate_us) and self._allowed(node, job_class, opens=False):
                rank = (lane.load_us / lane.slots, node.node.id)
                best = min(best, rank) if best else rank
        if best is None:
            return False
        node = self.state.nodes[best[1]]
        room = self._ahead_room(node.lanes[kind], estimate_us)
        share = max(1, room // 2) if len(self.state.nodes) > 1 else room
        self._launch(node, kind, self._take(job_class, after, share))
        return True

    def _ahead_room(self, lane: Lane, estimate_us: int) -> int:
        """How many more attempts of this estimate may wait in a lane; none behind attempts known to be long."""
        if lane.running >= lane.slots:
            return 0
        policy = self.state.policy
        by_time = (lane.slots * (policy.ahead_us + estimate_us) - lane.load_us) // estimate_us
        by_count = lane.slots * policy.ahead_max - len(lane.held)
        return max(0, min(by_time, by_count))

    # --- a head that does not fit

    def _hold(self, job_class: JobClass) -> None:
        """Say why a head waits, and keep the node for it on which it lacks least."""
        job_class.why = self._why(job_class)
        if job_class.why is not Reason.NO_ROOM or len(self.claims) >= self.state.policy.claims_max:
            return
        wanted = job_class.kind.resources
        best: tuple[float, NodeId] | None = None
        for node in self.state.nodes.values():
            if node.node.id not in self.claims and wanted.fits(dict(node.node.resources.amounts)):
                rank = (_deficit(node, job_class.kind), node.node.id)
                best = min(best, rank) if best else rank
        if best is None:
            return
        node = self.state.nodes[best[1]]
        self.claims[best[1]] = (frozenset(wanted.lacking(node.free)), job_class)
        self._recall_ahead(node, job_class)

    def _why(self, job_class: JobClass) -> Reason:
        nodes = self.state.nodes.values()
        if not nodes:
            return Reason.NO_NODES
        wanted, kind = job_class.kind.resources, job_class.kind
        able = [node for node in nodes if wanted.fits(dict(node.node.resources.amounts))]
        if not able:
            return Reason.NEVER_FITS
        if all(self._pausing(node, kind) for node in able):
            return Reason.TAKEN_BY_OTHERS
        return Reason.NO_ROOM

    def _recall_ahead(self, node: NodeState, job_class: JobClass) -> None:
        """Ask back what waits ahead on a claimed node and ranks behind the claimer."""
        head = first_ready(self.state, job_class)
        assert head is not None
        rank = (job_class.band, head)
        for lane in node.lanes.values():
            if len(lane.held) <= lane.slots:
                continue
            waiting = [key for key in list(lane.held)[lane.slots :] if self._ranks_behind(key, job_class, rank)]
            self._recall(node, waiting, Reason.ROOM_WANTED)

    def _ranks_behind(self, key: JobKey, claimer: JobClass, rank: _Rank) -> bool:
        job = self.state.jobs[key]
        own = job.job_class
        return own is not claimer and (own.band, key) > rank and _recallable(job)

    def recall_behind_long(self) -> None:
        """Ask back what was queued ahead on lanes whose slots are all held by attempts that turned out long."""
        long_lanes = self.state.todo.long_lanes
        for node_id, kind in long_lanes:
            node = self.state.nodes[node_id]
            lane = node.lanes.get(kind)
            if lane and lane.running >= lane.slots:
                waiting = [key for key in lane.held if _recallable(self.state.jobs[key])]
                self._recall(node, waiting, Reason.BEHIND_LONG_ATTEMPT)
        long_lanes.clear()

    # --- what was done

    def _resize(self, node: NodeState, kind: SlotKind, slots: int, reason: Reason) -> None:
        set_slots(self.state, node.node.id, kind, slots, self.now_us)
        self.resized[node.node.id, kind] = reason

    def _launch(self, node: NodeState, kind: SlotKind, keys: list[JobKey]) -> None:
        launch(self.state, node.node.id, kind, keys, self.now_us)
        self.launched.setdefault((node.node.id, kind), []).extend(keys)

    def _recall(self, node: NodeState, keys: list[JobKey], reason: Reason) -> None:
        if not keys:
            return
        attempts = tuple(self.state.jobs[key].attempt for key in keys)
        decision = d.Recall(node=node.node.id, keys=tuple(keys), attempts=attempts, reason=reason)
        apply_decision(self.state, decision, self.now_us)
        self.recalls.append(decision)

    def _release_taken(self) -> None:
        """Give reservations back that Ray did not honour: they would look like idle slots."""
        for node_id, kind in list(self.state.idle_lanes):
            node = self.state.nodes[node_id]
            if self._pausing(node, kind):
                self._resize(node, kind, len(node.lanes[kind].held), Reason.TAKEN_BY_OTHERS)

    def _release_idle(self) -> None:
        """Give reservations back that were idle long enough."""
        idle_us = self.state.policy.idle_slot_us
        for node_id, kind in list(self.state.idle_lanes):
            node = self.state.nodes[node_id]
            lane = node.lanes[kind]
            if lane.idle and lane.idle_since_us + idle_us <= self.now_us:
                self._resize(node, kind, len(lane.held), Reason.IDLE)

    def _decisions(self) -> list[d.Decision]:
        """Resizes, launches, recalls, in columns. A launch carries its lane's slots, so its resize is not repeated."""
        state = self.state
        found: list[d.Decision] = []
        for (node_id, kind), reason in self.resized.items():
            if (node_id, kind) not in self.launched:
                lane = state.nodes[node_id].lanes.get(kind)
                slots = lane.slots if lane else 0
                found.append(d.ResizeSlots(node=node_id, kind=kind, slots=slots, reason=reason))
        for (node_id, kind), keys in self.launched.items():
            found.append(
                d.Launch(
                    node=node_id,
                    kind=kind,
                    slots=state.nodes[node_id].lanes[kind].slots,
                    keys=tuple(keys),
                    attempts=tuple([state.jobs[key].attempt for key in keys]),
                )
            )
        return found + list(self.recalls)

    def _heads(self) -> _Heads:
        heads: _Heads = []
        for number, job_class in enumerate(self.state.classes.values()):
            job_class.why = Reason.NONE
            head = first_ready(self.state, job_class)
            if head is not None:
                heads.append((job_class.band, head, number, job_class))
        heapify(heads)
        return heads


def _recallable(job: Job) -> bool:
    return job.state is JobState.LAUNCHED and not job.recall_asked


def _second(heads: _Heads) -> _Rank:
    """The rank of the best head but the first: up to there the first class may go on."""
    others = [entry[:2] for entry in heads[1:3]]
    return min(others) if others else (1 << 30, JobKey(1 << 62))


def _leftover(node: NodeState, kind: SlotKind) -> float:
    """Best fit: the shares of the node that stay free after one more slot, summed over what is asked, CPU and GPU."""
    wanted = dict(kind.resources.amounts)
    return sum(
        (node.free.get(name, 0) - wanted.get(name, 0)) / amount
        for name, amount in node.node.resources.amounts
        if name in wanted or name in ("CPU", "GPU")
    )


def _deficit(node: NodeState, kind: SlotKind) -> float:
    """How much a node lacks for one more slot, as the sum over resources of the lacking share of the request.

    Idle slots of others count as free: they close for whoever has the claim, so that it stays with its node.
    """
    free = dict(node.free)
    for lane in node.lanes.values():
        add(free, lane.kind.resources, lane.idle)
    return sum(max(0, amount - free.get(name, 0)) / amount for name, amount in kind.resources.amounts)
