"""Room that is kept: for heads that do not fit yet, and for jobs for which others were asked to make room.

What stands behind may use a claimed node only where it leaves what the claimer waits for, or where it is declared to
be over before the claimer could start (backfill as in EASY; Lifka, JSSPP 1995): nothing higher is delayed.
"""

from collections.abc import Hashable

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.resources import Resources, add
from kos_ray.scheduler.fit import deficit, near_nodes, wanted_kind
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.models import expected_us
from kos_ray.scheduler.rooms import room_of
from kos_ray.scheduler.sites import Sites
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

    def name(self, now_us: int) -> tuple[Hashable, ...]:
        """All of it. That there is room by now is all that counts of when there will be."""
        return (
            self.key,
            self.order,
            self.account,
            self.resources,
            self.lacking,
            max(0, self.ready_us - now_us) and self.ready_us,
        )


class Claims:
    """All claims of one pass, by node."""

    def __init__(self, state: State, now_us: int) -> None:
        self._state = state
        self._now_us = now_us
        self.by_node: dict[NodeId, list[Claim]] = {}
        #: how often they have changed
        self.changes = 0

    def add(
        self, node: NodeState, job_class: JobClass, key: JobKey, ready_us: int, resources: Resources | None = None
    ) -> None:
        """Keep a node for a job, or so much of it for its gang.

        `ready_us` is NEVER_US where nobody knows when there will be room.
        """
        wanted = resources or wanted_kind(self._state, job_class).resources
        self.changes += 1
        self.by_node.setdefault(node.node.id, []).append(Claim(node, job_class, wanted, key, ready_us))

    def drop(self, node: NodeId, key: JobKey) -> None:
        """The job has its room."""
        others = [claim for claim in self.by_node[node] if claim.key != key]
        if len(others) < len(self.by_node[node]):
            self.changes += 1
            self.by_node[node] = others
            self._state.rooms.touched[node] = self._state.nodes[node]

    def names(self) -> dict[NodeId, Hashable]:
        """What each node is claimed for: as long as that stays the same, so does what the claims let start there."""
        return {
            node_id: frozenset(claim.name(self._now_us) for claim in claims)
            for node_id, claims in self.by_node.items()
            if claims
        }

    def taken(self, node: NodeState) -> bool:
        """Whether somebody claims the node."""
        return bool(self.by_node.get(node.node.id))

    def times(self, node: NodeState, head: JobKey, wanted: Resources, *, opens: bool) -> int:
        """How many jobs alike to `head` the claims on a node let start there; `opens`: in slots yet to be made."""
        claims = self.by_node.get(node.node.id)
        if not claims:
            return _MANY
        job = self._state.jobs[head]
        others = [claim for claim in claims if claim.key != head and self._holds_off(claim, job)]
        if not others:
            return _MANY
        found = self._beside(node, others, wanted, opens=opens)
        return found or int(self._over_before(self._state.jobs[head], others))

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

    def _over_before(self, job: Job, others: list[Claim]) -> bool:
        run_us = expected_us(self._state, job.entry)
        return bool(run_us) and all(self._now_us + run_us <= claim.ready_us < NEVER_US for claim in others)


def earliest(
    state: State, claims: Claims, sites: Sites, job_class: JobClass, head: JobKey, now_us: int
) -> tuple[int, NodeState] | None:
    """Of the nodes that lack the least for a head and that nobody claims, the one that is ready first, and when."""
    kind = wanted_kind(state, job_class)
    best: tuple[int, float, NodeId] | None = None
    for node in near_nodes(state, kind, job_class.where, _NEAR):
        if not claims.taken(node) and sites.times(node, job_class, kind, head):
            rank = (ready_us(state, node, kind.resources, now_us), deficit(node, kind), node.node.id)
            best = min(best, rank) if best else rank
    return (best[0], state.nodes[best[2]]) if best else None


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
#: nodes that are compared for one claim: of those that lack the least
_NEAR = 16
