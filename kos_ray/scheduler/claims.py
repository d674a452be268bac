"""Room that is kept: for heads that do not fit yet, and for jobs for which others were asked to make room.

What stands behind may use a claimed node only where it leaves what the claimer waits for, where it is declared to be
over before the claimer could start, or where there is room for both by then (backfill as in EASY; Lifka, JSSPP 1995):
nothing higher is delayed.
"""

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.resources import Resources, add
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.models import expected_us
from kos_ray.scheduler.rooms import room_of
from kos_ray.scheduler.state import NodeState, State

#: no end is known
NEVER_US = 1 << 62


class Claim:
    """One job's claim on a node: what it needs, what of that is lacking, and when it could start at the latest."""

    __slots__ = ("account", "key", "lacking", "order", "ready_us", "resources")

    def __init__(self, node: NodeState, job_class: JobClass, resources: Resources, key: JobKey, ready_us: int) -> None:
        self.order = job_class.order
        self.account = job_class.account
        self.key = key
        self.resources = resources
        self.lacking = frozenset(self.resources.lacking(node.free))
        self.ready_us = ready_us


class Claims:
    """All claims of one pass, by node."""

    def __init__(self, state: State, now_us: int) -> None:
        self._state = state
        self._now_us = now_us
        self.by_node: dict[NodeId, list[Claim]] = {}

    def add(
        self, node: NodeState, job_class: JobClass, key: JobKey, ready_us: int, resources: Resources | None = None
    ) -> None:
        """Keep a node for a job, or so much of it for its gang.

        `ready_us` is NEVER_US where nobody knows when there will be room.
        """
        wanted = resources or wanted_kind(self._state, job_class).resources
        self.by_node.setdefault(node.node.id, []).append(Claim(node, job_class, wanted, key, ready_us))

    def drop(self, node: NodeId, key: JobKey) -> None:
        """The job has its room."""
        self.by_node[node] = [claim for claim in self.by_node[node] if claim.key != key]

    def nodes(self) -> list[NodeState]:
        """The nodes that somebody claims."""
        return [self._state.nodes[node_id] for node_id, claims in self.by_node.items() if claims]

    def taken(self, node: NodeState) -> bool:
        """Whether somebody claims the node."""
        return bool(self.by_node.get(node.node.id))

    def times(
        self, node: NodeState, head: JobKey, wanted: Resources, *, opens: bool, gang_us: int | None = None
    ) -> int:
        """How many jobs alike to `head` the claims on a node let start there; `opens`: in slots yet to be made.

        `gang_us`: the longest that a member of its gang is expected to run, 0 where nobody knows.
        """
        claims = self.by_node.get(node.node.id)
        if not claims:
            return _MANY
        job = self._state.jobs[head]
        others = [claim for claim in claims if claim.key != head and self._holds_off(claim, job)]
        if not others:
            return _MANY
        run_us = expected_us(self._state, job.entry) if gang_us is None else gang_us
        over = self._over_before(run_us, others)
        if over and gang_us is not None:
            return _MANY
        # those behind the head may run longer: where it is over in time, each is looked at for itself
        return self._beside(node, others, wanted, opens=opens) or int(over) or self._left_over(node, others, wanted)

    def _holds_off(self, claim: Claim, job: Job) -> bool:
        """Whether a claim stands before a job: of the same order, or more urgent, or what the job made room for."""
        if job.key in self._state.nominated:
            return (claim.order, claim.key) < (job.job_class.order, job.key)
        evicted = job.barred is not None and job.barred[0] == claim.account and claim.key in self._state.nominated
        return evicted or claim.order <= job.job_class.order

    def _beside(self, node: NodeState, others: list[Claim], wanted: Resources, *, opens: bool) -> int:
        """So many leave all claims what they wait for."""
        lacking = frozenset().union(*(claim.lacking for claim in others))
        if any(name in lacking for name, _ in wanted.amounts):
            return 0
        if not opens:
            return _MANY
        free = dict(node.free)
        for claim in others:
            add(free, claim.resources, -1)
        return wanted.times_in(free, _MANY)

    def _over_before(self, run_us: int, others: list[Claim]) -> bool:
        return bool(run_us) and all(self._now_us + run_us <= claim.ready_us < NEVER_US for claim in others)

    def _left_over(self, node: NodeState, others: list[Claim], wanted: Resources) -> int:
        """So many leave all claims what they wait for though they run on: there is more than that when they start."""
        found = _MANY
        for at_us in {claim.ready_us for claim in others}:
            if at_us == NEVER_US:
                return 0
            room = room_at(self._state, node, at_us)
            for claim in others:
                add(room, claim.resources, -1)
            found = wanted.times_in(room, found)
        return found


def room_at(state: State, node: NodeState, at_us: int) -> dict[str, int]:
    """What a node could give at an instant by declared run times, if nothing else started there."""
    room = room_of(node)
    for end, resources in _ends(state, node):
        if end > at_us:
            break
        add(room, resources, 1)
    return room


def ready_us(state: State, node: NodeState, wanted: Resources, now_us: int) -> int:
    """When declared run times let a vector fit on a node at the latest; NEVER_US where they do not say."""
    free = room_of(node)
    if wanted.fits(free):
        return now_us
    for end, resources in _ends(state, node):
        if end == NEVER_US:
            break
        add(free, resources, 1)
        if wanted.fits(free):
            return max(now_us, end)
    return NEVER_US


def _ends(state: State, node: NodeState) -> list[tuple[int, Resources]]:
    """When what runs on a node is declared to be over, the first first; kept until something changes there."""
    if node.ends is not None and node.node.id not in state.rooms.touched:
        return node.ends
    found = [
        (end_us(state.jobs[key]), lane.kind.resources)
        for lane in node.lanes.values()
        for key in list(lane.held)[: lane.slots]
    ]
    node.ends = sorted(found, key=lambda entry: entry[0])
    return node.ends


def end_us(job: Job) -> int:
    """When a running job is declared to be over: by its run time, or else by its timeout."""
    spec = job.entry.spec
    length_ms = spec.run_ms or spec.timeout_ms
    return job.started_us + length_ms * 1_000 if length_ms else NEVER_US


_MANY = 1 << 30
