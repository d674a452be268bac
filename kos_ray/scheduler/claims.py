"""Room that is kept: for heads that do not fit yet, and for jobs for which others were asked to make room.

What stands behind may use a claimed node only where it leaves what the claimer waits for, where it is declared to be
over before the claimer could start, or where there is room for both by then (backfill as in EASY; Lifka, JSSPP 1995):
nothing higher is delayed.

Where nothing is declared, learnt run times stand in among jobs of the same order: what runs is taken to end early, and
what is to run to end late. They are forecasts, so they let nobody pass what is more urgent, or has waited as long as
its band allows; and they are looked at anew in each pass, so that when one proves wrong, nobody else is let past.
"""

from bisect import bisect_right
from collections.abc import Hashable, Mapping
from operator import itemgetter
from typing import NamedTuple

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.resources import Resources, add
from kos_ray.scheduler.fit import deficit, near_nodes, wanted_kind
from kos_ray.scheduler.jobs import OVERDUE, Job, JobClass
from kos_ray.scheduler.models import estimate_of, expected_us
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import Ends, NodeState, State

#: no end is known
NEVER_US = 1 << 62


class Ready(NamedTuple):
    """When a job could start on a node: at the latest, as declared, and as learnt; NEVER_US where nobody knows."""

    declared_us: int
    likely_us: int


NEVER = Ready(NEVER_US, NEVER_US)


class Claim:
    """One job's claim on a node: what it needs, what of that is lacking, and when it could start."""

    __slots__ = ("account", "key", "lacking", "order", "ready", "resources")

    def __init__(self, node: NodeState, job_class: JobClass, resources: Resources, key: JobKey, ready: Ready) -> None:
        self.order = job_class.order
        self.account = job_class.account
        self.key = key
        self.resources = resources
        self.lacking = frozenset(self.resources.lacking(node.free))
        self.ready = ready

    def name(self, now_us: int) -> tuple[Hashable, ...]:
        """All of it. That there is room by now is all that counts of when there will be."""
        when = tuple(at_us if at_us > now_us else 0 for at_us in self.ready)
        return (self.key, self.order, self.account, self.resources, self.lacking, when)


class Claims:
    """All claims of one pass, by node."""

    def __init__(self, state: State, now_us: int) -> None:
        self._state = state
        self._now_us = now_us
        self.by_node: dict[NodeId, list[Claim]] = {}
        #: how often they have changed
        self.changes = 0
        self._kept: dict[NodeId, Hashable] = {}
        #: nodes of which that has changed since
        self._stale: set[NodeId] = set()

    def add(
        self, node: NodeState, job_class: JobClass, key: JobKey, ready: Ready, resources: Resources | None = None
    ) -> None:
        """Keep a node for a job, or so much of it for its gang."""
        wanted = resources or wanted_kind(self._state, job_class).resources
        self._changed(node.node.id)
        self.by_node.setdefault(node.node.id, []).append(Claim(node, job_class, wanted, key, ready))

    def drop(self, node: NodeId, key: JobKey) -> None:
        """The job has its room."""
        others = [claim for claim in self.by_node[node] if claim.key != key]
        if len(others) < len(self.by_node[node]):
            self._changed(node)
            self.by_node[node] = others
            self._state.rooms.touched[node] = self._state.nodes[node]

    def _changed(self, node: NodeId) -> None:
        self.changes += 1
        self._stale.add(node)

    def names(self) -> dict[NodeId, Hashable]:
        """What each node is claimed for: as long as that stays the same, so does what the claims let start there."""
        return {
            node_id: (frozenset(claim.name(self._now_us) for claim in claims), self._overdue(node_id, claims))
            for node_id, claims in self.by_node.items()
            if claims
        }

    def kept(self) -> Mapping[NodeId, Hashable]:
        """What is kept on each node by now, and for whom: all that a search for victims goes by."""
        if self._stale:
            self._kept = dict(self._kept)  # whoever has asked before keeps what it was told
            for node_id in self._stale:
                self._kept[node_id] = frozenset((claim.key, claim.resources) for claim in self.by_node[node_id])
                if not self.by_node[node_id]:
                    del self._kept[node_id]
            self._stale.clear()
        return self._kept

    def _overdue(self, node_id: NodeId, claims: list[Claim]) -> int:
        """How many attempts should have left a node on which claimers could have started by now: see `_left_over`."""
        if all(claim.ready.declared_us > self._now_us for claim in claims):
            return 0
        ends = _ends(self._state, self._state.nodes[node_id]).declared
        return bisect_right(ends, self._now_us, key=itemgetter(0))

    def taken(self, node: NodeState) -> bool:
        """Whether somebody claims the node."""
        return bool(self.by_node.get(node.node.id))

    def holds_off(self, node: NodeState, head: JobKey) -> bool:
        """Whether somebody who stands before a job claims the node."""
        return bool(self._before(node, head))

    def _before(self, node: NodeState, head: JobKey) -> list[Claim]:
        job = self._state.jobs[head]
        claims = self.by_node.get(node.node.id, ())
        return [claim for claim in claims if claim.key != head and self._holds_off(claim, job)]

    def times(
        self, node: NodeState, head: JobKey, wanted: Resources, *, opens: bool, gang_us: int | None = None
    ) -> int:
        """How many jobs alike to `head` the claims on a node let start there; `opens`: in slots yet to be made.

        `gang_us`: the longest that a member of its gang is expected to run, 0 where nobody knows.
        """
        others = self._before(node, head)
        if not others:
            return _MANY
        job = self._state.jobs[head]
        run_us = expected_us(self._state, job.entry) if gang_us is None else gang_us
        over = self._over_before(job, run_us, others)
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

    def _over_before(self, job: Job, run_us: int, others: list[Claim]) -> bool:
        """Whether a job that is declared to run so long (0: not declared) is over before any of these could start."""
        if not run_us:
            found = estimate_of(self._state, job)
            return found.sure and all(
                _forecast_counts(claim, job) and self._now_us + found.high_us <= claim.ready.likely_us < NEVER_US
                for claim in others
            )
        for claim in others:
            ready_us, likely_us = claim.ready
            if ready_us == NEVER_US and _forecast_counts(claim, job):
                ready_us = likely_us
            if not self._now_us + run_us <= ready_us < NEVER_US:
                return False
        return True

    def _left_over(self, node: NodeState, others: list[Claim], wanted: Resources) -> int:
        """So many leave all claims what they wait for though they run on: there is more than that when they start."""
        found = _MANY
        for at_us in {claim.ready.declared_us for claim in others}:
            if at_us == NEVER_US:
                return 0
            room = room_at(self._state, node, at_us)
            for claim in others:
                add(room, claim.resources, -1)
            found = wanted.times_in(room, found)
        return found


def room_at(state: State, node: NodeState, at_us: int) -> dict[str, int]:
    """What a node could give at an instant by declared run times, if nothing else started there."""
    room = dict(state.rooms.room(node))
    for end, resources in _ends(state, node).declared:
        if end > at_us:
            break
        add(room, resources, 1)
    return room


def length_us(state: State, job: Job, gang_us: int | None = None) -> int:
    """For how long a job is taken to run where it is to be over before a claim, 0 where nobody knows.

    `gang_us`: see `Claims.times`.
    """
    run_us = expected_us(state, job.entry) if gang_us is None else gang_us
    if run_us:
        return run_us
    found = estimate_of(state, job)
    return found.high_us if found.sure else 0


def earliest(
    state: State, claims: Claims, sites: Sites, job_class: JobClass, head: JobKey, now_us: int
) -> tuple[Ready, NodeState] | None:
    """Of the nodes that lack the least for a head and that nobody claims, the one that is ready first, and when."""
    kind = wanted_kind(state, job_class)
    best: tuple[int, float, NodeId, Ready] | None = None
    for node in near_nodes(state, kind, job_class.where, _NEAR):
        if not claims.taken(node) and sites.times(node, job_class, kind, head):
            ready = ready_at(state, node, kind.resources, now_us)
            rank = (ready.likely_us, deficit(node, kind), node.node.id, ready)
            best = min(best, rank) if best else rank
    return (best[3], state.nodes[best[2]]) if best else None


def _forecast_counts(claim: Claim, job: Job) -> bool:
    """Whether a job may pass a claim on what is learnt alone: it is no more urgent, and not overdue."""
    return claim.order == job.job_class.order != OVERDUE


def ready_at(state: State, node: NodeState, wanted: Resources, now_us: int) -> Ready:
    """When a vector fits on a node, by what is declared and learnt of what runs there."""
    free = state.rooms.room(node)
    if wanted.fits(free):
        return Ready(now_us, now_us)
    ends = _ends(state, node)
    ready_us = _fits_at(free, wanted, ends.declared, now_us)
    if ends.likely is ends.declared:
        return Ready(ready_us, ready_us)
    return Ready(ready_us, _fits_at(free, wanted, ends.likely, now_us))


def _fits_at(room: Mapping[str, int], wanted: Resources, ends: list[tuple[int, Resources]], now_us: int) -> int:
    free = dict(room)
    for end, resources in ends:
        if end == NEVER_US:
            break
        add(free, resources, 1)
        if wanted.fits(free):
            return max(now_us, end)
    return NEVER_US


def _ends(state: State, node: NodeState) -> Ends:
    """When what runs on a node is over, the first first; kept until something changes there, or in what is learnt."""
    version = state.learnt.version
    if node.ends is not None and node.ends.version == version and node.node.id not in state.rooms.touched:
        return node.ends
    held = [
        (state.jobs[key], lane.kind.resources) for lane in node.lanes.values() for key in list(lane.held)[: lane.slots]
    ]
    declared = sorted(((_end_us(job), resources) for job, resources in held), key=itemgetter(0))
    likely = declared
    if declared and declared[-1][0] == NEVER_US and state.policy.learn_run_times:
        likely = sorted(((_likely_end_us(state, job), resources) for job, resources in held), key=itemgetter(0))
    node.ends = Ends(version, declared, likely)
    return node.ends


def _end_us(job: Job) -> int:
    """When a running job is declared to be over: by its run time, or else by its timeout."""
    spec = job.entry.spec
    length_ms = spec.run_ms or spec.timeout_ms
    return job.started_us + length_ms * 1_000 if length_ms else NEVER_US


def _likely_end_us(state: State, job: Job) -> int:
    """The same, or else when it may be over by what is learnt: an early end, for whoever waits for it."""
    end_us = _end_us(job)
    if end_us < NEVER_US:
        return end_us
    found = estimate_of(state, job)
    return job.started_us + found.low_us if found.sure else NEVER_US


_MANY = 1 << 30
#: nodes that are compared for one claim: of those that lack the least
_NEAR = 8
