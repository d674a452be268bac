"""Who gives way: the fewest victims, of the least urgent bands, with the least work lost, so that a job then fits.

Three evictions, each with its own right. *Priority*: the victim's declared band is strictly lower. *Reclaim*: the
victim's namespace uses more than is guaranteed to it, the claimer's less. *Rotation*: the same band, the victim can
save its state, its slice is over. The search removes candidates in order of harm until the job fits, then puts back
whom it can (Kueue's reverse minimisation), so that no proper subset of the victims would do. Who borrows what is
guaranteed to the claimer goes before the claimer's own: those would only come back and reclaim it themselves.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Eviction, Guarantee, JobState, SlotKind
from kos_ray.model.policy import Against, Namespace
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler.claims import Claims
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.queues import count_ready
from kos_ray.scheduler.quota import ROOT
from kos_ray.scheduler.shares import paths, step_of
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import Job, JobClass, NodeState, State

#: nodes that one search looks at
_NODES_MAX = 64
_NO_SETTINGS = Namespace(name="")
_Used = dict[str, dict[str, int]]
_Cost = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Victim:
    """An attempt that may be taken back, and by which right."""

    job: Job
    reason: Reason
    #: how much is lost: 0 where it borrows what is the claimer's, its declared band (lower bands first), work in share
    #: times microseconds, then the newest
    harm: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to ask so that a job can run on a node."""

    node: NodeId
    victims: tuple[Victim, ...]


class Search:
    """One pass's searches for victims. `retry_us` is when one that failed might succeed though nothing happens."""

    def __init__(
        self, state: State, claims: Claims, sites: Sites, now_us: int, launched: Mapping[Any, Iterable[JobKey]]
    ) -> None:
        self._state = state
        self._launched = launched
        #: what this pass has started itself is no victim
        self._fresh: set[JobKey] = set()
        self._claims = claims
        self._sites = sites
        self._now_us = now_us
        self._left = state.policy.evictions_per_pass
        self._used: _Used = {}
        #: by namespace of victims: whether it uses what is not its own, and whether the claimer may reclaim that
        self._standing: dict[str, tuple[bool, bool]] = {}
        #: whose room is free soon
        self._going: list[Job] = []
        #: whether the claimer's own are to make so much room that it ends within what is guaranteed to it
        self._to_end_within = False
        self.retry_us: int | None = None

    def plan(self, job_class: JobClass, head: JobKey) -> Plan | None:
        """The least harmful plan for a job, or None: nobody may be evicted, or it would not help."""
        state = self._state
        if not state.policy.preemption or self._left <= 0 or not self._may_help(job_class):
            return None
        claimer = state.jobs[head]
        self._used = self._use_to_come(head)
        self._fresh = {key for keys in self._launched.values() for key in keys}
        self._to_end_within = False
        self._standing.clear()
        if self._comes_by_itself(job_class, claimer):
            return None
        best = self._best(job_class, claimer)
        if best is None and self._may_end_within(claimer):
            self._to_end_within = True
            self._standing.clear()
            best = self._best(job_class, claimer)
        if best is None or len(best.victims) > self._left:
            return None
        self._left -= len(best.victims)
        return best

    def _comes_by_itself(self, job_class: JobClass, claimer: Job) -> bool:
        """Whether the job fits once those have gone who were asked to stop for other reasons."""
        nodes = {job.node for job in self._going if job.evicted_for is None}
        if not nodes:
            return False
        near = (
            node for node in self._targets(job_class, claimer.key) if node.node.id in nodes or self._state.tree.matters
        )
        return any(self._fits(node, claimer, []) for node in near)

    def _best(self, job_class: JobClass, claimer: Job) -> Plan | None:
        """The least harmful of the plans for all nodes."""
        lacking = self._lacking(self._kind(claimer), ())
        everywhere = list(self._victims(claimer, self._state.nodes.values())) if lacking else []
        best: tuple[_Cost, Plan] | None = None
        for node in self._targets(job_class, claimer.key):
            found = self._on(node, claimer, everywhere)
            if found:
                cost = _cost(found)
                if best is None or cost < best[0]:
                    best = (cost, Plan(node.node.id, tuple(found)))
        return best[1] if best else None

    def _may_end_within(self, claimer: Job) -> bool:
        """Whether a claimer that borrows would not if enough of its own gave way, so that it may reclaim besides."""
        tree, kind, settings = self._state.tree, self._kind(claimer), self._settings(claimer)
        if not tree.matters or Against.NEVER in (settings.within, settings.reclaim):
            return False
        whole = tree.borrows({}, kind.namespace, kind.resources)
        return not whole and tree.borrows(self._used, kind.namespace, kind.resources)

    def lacks_quota(self, kind: SlotKind, head: JobKey) -> bool:
        """Whether a kind's namespace may not use so much now, even with all idle slots closed."""
        self._used = self._use_to_come(head)
        return bool(self._lacking(kind, ()))

    def forbidden(self, kind: SlotKind, head: JobKey) -> bool:
        """The same where it is a matter of settings, and not of a full cluster."""
        if not self._state.tree.matters:
            return False
        return self._state.tree.forbids(self._use_to_come(head), kind.namespace, kind.resources)

    def _may_help(self, job_class: JobClass) -> bool:
        """Whether anything runs that could be a victim of this class at all: cheap, as most answers are no."""
        state = self._state
        lower = any(state.on_nodes[job_class.band + 1 :])
        return lower or (state.savers > 0) or state.tree.matters

    def _targets(self, job_class: JobClass, head: JobKey) -> Iterator[NodeState]:
        """Nodes that could hold the job if enough gave way."""
        kind, count = wanted_kind(self._state, job_class), 0
        for node in self._state.nodes.values():
            large = node.lanes and kind.resources.fits(dict(node.node.resources.amounts))
            if large and self._sites.times(node, job_class, kind, head):
                yield node
                count += 1
                if count >= _NODES_MAX:
                    return

    def _kind(self, claimer: Job) -> SlotKind:
        return wanted_kind(self._state, claimer.job_class)

    # --- one node

    def _on(self, node: NodeState, claimer: Job, everywhere: list[Victim]) -> list[Victim]:
        """The victims for one node; empty: it cannot be done."""
        here = {victim.job.key: victim for victim in self._victims(claimer, (node,))}
        pool = sorted([*here.values(), *(v for v in everywhere if v.job.key not in here)], key=lambda v: v.harm)
        chosen: list[Victim] = []
        for victim in pool:
            if self._fits(node, claimer, chosen):
                break
            if self._still_borrows(claimer, victim, chosen):
                chosen.append(victim)
        if not chosen or not self._fits(node, claimer, chosen):
            return []
        for victim in sorted(chosen, key=lambda v: v.harm, reverse=True):
            without = [other for other in chosen if other is not victim]
            if self._fits(node, claimer, without):
                chosen = without
        return chosen

    def _fits(self, node: NodeState, claimer: Job, gone: list[Victim]) -> bool:
        wanted = self._kind(claimer).resources
        free = dict(node.free)
        for lane in node.lanes.values():
            add(free, lane.kind.resources, lane.idle)
        for job in self._going:
            if job.node == node.node.id:
                add(free, job.kind.resources, 1)
        for victim in gone:
            if victim.job.node == node.node.id:
                add(free, victim.job.kind.resources, 1)
        for claim in self._claims.by_node.get(node.node.id, ()):
            if claim.key != claimer.key:
                add(free, claim.resources, -1)
        if not wanted.fits(free) or self._lacking(self._kind(claimer), gone):
            return False
        namespace = claimer.entry.kind.namespace
        return not (self._to_end_within and self._state.tree.borrows(self._without(gone), namespace, wanted))

    def _lacking(self, kind: SlotKind, gone: Iterable[Victim]) -> tuple[str, ...]:
        """What a namespace's quota lacks for a kind when these are gone."""
        if not self._state.tree.matters:
            return ()
        return self._state.tree.lacking(self._without(gone), kind.namespace, kind.resources)

    def _without(self, gone: Iterable[Victim]) -> _Used:
        used = {name: dict(found) for name, found in self._used.items()}
        for victim in gone:
            _count(used, victim.job.kind, -1)
        return used

    def _use_to_come(self, claimer: JobKey) -> _Used:
        """What is reserved by namespace once idle slots are closed, those asked have gone, and others have come."""
        state = self._state
        self._going = _leaving(state, state.jobs[claimer])
        if not state.tree.matters:
            return {}
        used = {name: dict(found) for name, found in state.reserved.items()}
        for node_id, idle in state.idle_lanes:
            _count(used, idle, -state.nodes[node_id].lanes[idle].idle)
        for job in self._going:
            _count(used, job.kind, -1)
        for key in state.nominated:
            if key != claimer:
                _count(used, self._kind(state.jobs[key]), 1)
        return used

    # --- who may be a victim

    def _victims(self, claimer: Job, nodes: Iterable[NodeState]) -> Iterator[Victim]:
        jobs = self._state.jobs
        for node in nodes:
            for lane in node.lanes.values():
                for key in list(lane.held)[: lane.slots]:
                    job = jobs[key]
                    reason = self._right(claimer, job)
                    if reason is not Reason.NONE and self._now_is_the_time(job, reason):
                        yield Victim(job, reason, self._harm(claimer, job))

    def _right(self, claimer: Job, job: Job) -> Reason:
        """By which right the claimer may take the job's room; NONE: by none."""
        if not self._can_give_way(job) or claimer.barred_from(job, self._now_us):
            return Reason.NONE
        rotates = job.entry.spec.eviction is Eviction.CHECKPOINT and job.job_class.band == claimer.job_class.band
        if claimer.entry.kind.namespace == job.kind.namespace or not self._state.tree.matters:
            within = self._settings(claimer).within
            if _allows(within, claimer, job):
                return Reason.PREEMPTED
            return Reason.ROTATED if rotates else Reason.NONE
        return self._right_across(claimer, job)

    def _right_across(self, claimer: Job, job: Job) -> Reason:
        """The same between two namespaces where quotas are set: what is guaranteed is safe from others."""
        borrows, entitled = self._stands(claimer, job)
        if not borrows:
            return Reason.NONE
        settings = self._settings(claimer)
        if entitled:
            if settings.reclaim is Against.ANY:
                return Reason.RECLAIMED
            return Reason.PREEMPTED if _allows(settings.reclaim, claimer, job) else Reason.NONE
        if job.job_class.band >= settings.borrowing_band and _allows(settings.borrowing, claimer, job):
            return Reason.PREEMPTED
        return Reason.NONE

    def _stands(self, claimer: Job, job: Job) -> tuple[bool, bool]:
        """Whether a job's namespace borrows, and whether the claimer is entitled to that: the same for all its jobs."""
        name = job.kind.namespace
        if name not in self._standing:
            self._standing[name] = self._borrows(self._used, claimer, job), self._entitled(claimer, job)
        return self._standing[name]

    def _entitled(self, claimer: Job, job: Job) -> bool:
        """Whether the claimer, or one above it that is not above the job, uses no more than is guaranteed to it."""
        if self._to_end_within:
            return True
        wanted, tree = self._kind(claimer).resources, self._state.tree
        mine = _apart(claimer.entry.kind.namespace, job.kind.namespace)
        return any(not tree.borrows(self._used, part, wanted) for part in mine)

    def _still_borrows(self, claimer: Job, victim: Victim, gone: list[Victim]) -> bool:
        """Whether a victim in another namespace uses what is not guaranteed to it, when these are gone."""
        if not self._state.tree.matters or victim.job.kind.namespace == claimer.entry.kind.namespace:
            return True
        return self._borrows(self._without(gone), claimer, victim.job)

    def _borrows(self, used: _Used, claimer: Job, job: Job) -> bool:
        """Whether a job's namespace, and all above it that are not above the claimer, use more than they have.

        One that does not keeps all below it safe: they borrow of each other, and not of the claimer.
        """
        names = [name for name, _ in self._kind(claimer).resources.amounts]
        theirs = _apart(job.kind.namespace, claimer.entry.kind.namespace)
        return all(self._state.tree.borrows_already(used, part, names) for part in theirs)

    def _settings(self, claimer: Job) -> Namespace:
        found = None
        for part in paths(claimer.entry.kind.namespace):
            found = self._state.tree.settings.get(part, found)
        return found or self._state.tree.settings.get(ROOT, _NO_SETTINGS)

    def _can_give_way(self, job: Job) -> bool:
        """Whether the job's own wishes and guarantee allow it, and it was not asked often enough."""
        spec, policy = job.entry.spec, self._state.policy
        if job.state not in (JobState.LAUNCHED, JobState.RUNNING) or job.recall_asked:
            return False
        if job.key in self._fresh:
            return False
        if job.job_class.demands.agent and not policy.agents_give_way:
            return False
        if spec.eviction is Eviction.NEVER or job.evictions >= policy.evictions_max:
            return False
        if spec.guarantee is Guarantee.AT_MOST_ONCE and spec.eviction is not Eviction.CANCEL:
            return False
        return not 0 < job.entry.mean_us <= policy.patience_us

    def _now_is_the_time(self, job: Job, reason: Reason) -> bool:
        """Whether its exempt time, or its slice, is over; if not, when it will be is noted."""
        policy = self._state.policy
        wait_us = policy.exempt_us
        if reason is Reason.ROTATED:
            slice_us = policy.slice_us[job.job_class.band]
            if not slice_us:
                return False
            wait_us = max(wait_us, slice_us)
        over_us = job.started_us + wait_us
        if over_us <= self._now_us:
            return True
        self.retry_us = over_us if self.retry_us is None else min(self.retry_us, over_us)
        return False

    def _harm(self, claimer: Job, job: Job) -> tuple[int, int, int, int]:
        across = self._state.tree.matters and claimer.entry.kind.namespace != job.kind.namespace
        own = 0 if across and self._stands(claimer, job)[1] else 1
        saves = job.entry.spec.eviction is Eviction.CHECKPOINT
        lost_us = 0 if saves else self._now_us - max(job.started_us, job.saved_us)
        lost = lost_us * max(1, step_of(self._state, job.kind.resources))
        return (own, -job.job_class.band, lost, -job.started_us)


def _allows(against: Against, claimer: Job, job: Job) -> bool:
    if against is Against.ANY:
        return True
    lower = job.job_class.band > claimer.job_class.band
    if against is Against.LOWER_OR_NEWER:
        return lower or (job.job_class.band == claimer.job_class.band and job.since_us > claimer.since_us)
    return lower and against is Against.LOWER


def _count(used: _Used, kind: SlotKind, times: int) -> None:
    for name in (ROOT, *paths(kind.namespace)):
        add(used.setdefault(name, {}), kind.resources, times)


def _apart(name: str, other: str) -> tuple[str, ...]:
    """A namespace and those above it that are not above another; of one above the other, itself."""
    above = paths(other)
    return tuple(part for part in paths(name) if part not in above) or (name,)


def _leaving(state: State, claimer: Job) -> list[Job]:
    """Those who were asked to make room and have not done so yet; and others who were asked to stop, if enough.

    Enough is as many as wait in the claimer's class: of that only the head is looked at, and it would hold up the rest.
    """
    asked: list[Job] = []
    others: list[Job] = []
    for key in state.stopping:
        job = state.jobs[key]
        if job.evicted_for is not None:
            asked.append(job)
        elif job.lane is not None and len(job.lane.held) <= job.lane.slots:
            # nothing waits ahead that would take its place
            others.append(job)
    enough = count_ready(claimer.job_class, state.jobs, len(others) + 1) <= len(others)
    return asked + others if enough else asked


def _cost(victims: list[Victim]) -> _Cost:
    """Plans compared: the worst victim's right and band, then work lost, then how many, and how recently they began."""
    return (
        *max(victim.harm[:2] for victim in victims),
        sum(victim.harm[2] for victim in victims),
        len(victims),
        min(victim.harm[3] for victim in victims),
    )
