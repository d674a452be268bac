"""Who gives way: the fewest victims, of the least urgent bands, with the least work lost, so that a job then fits.

Three evictions, each with its own right. *Priority*: the victim's declared band is strictly lower. *Reclaim*: the
victim's namespace uses more than is guaranteed to it, the claimer's less. *Rotation*: the same band, the victim can
save its state, its slice is over. The search removes candidates in order of harm until the job fits, then puts back
whom it can (Kueue's reverse minimisation), so that no proper subset of the victims would do. Who borrows what is
guaranteed to the claimer goes before the claimer's own: those would only come back and reclaim it themselves.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Eviction, JobState, SlotKind
from kos_ray.model.policy import Against
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources, add
from kos_ray.scheduler.claims import NEVER_US, Claims
from kos_ray.scheduler.gangs import active, needed
from kos_ray.scheduler.rooms import room_of
from kos_ray.scheduler.shares import paths, step_of
from kos_ray.scheduler.state import Job, JobClass, NodeState, State
from kos_ray.scheduler.targets import Targets, may_ever, over_at_us, settings_of
from kos_ray.scheduler.victims import Cost, Plan, Used, Victim, allows, cost, count, going, leaving, once

Found = TypeVar("Found")
#: where a gang goes when these jobs have left and so much is reserved by namespace; None: it does not fit
Fits = Callable[[list[Job], Used], Found | None]
#: nodes on which victims for one gang are looked for
_NODES_MAX = 64


class Search:
    """One pass's searches for victims."""

    def __init__(self, state: State, claims: Claims, now_us: int) -> None:
        self._state = state
        self._claims = claims
        self._now_us = now_us
        #: what this pass has started itself is no victim
        self.fresh: set[JobKey] = set()
        self._left = state.policy.evictions_per_pass
        self._used: Used = {}
        #: by namespace of victims: whether it uses what is not its own, and whether the claimer may reclaim that
        self._standing: dict[str, tuple[bool, bool]] = {}
        #: whose room is free soon
        self._going: dict[NodeId, list[Job]] = {}
        #: whether the claimer's own are to make so much room that it ends within what is guaranteed to it
        self._to_end_within = False
        #: what the claimer wants, or its gang
        self._wanted = Resources()
        #: by gang: its running members, and those of them that the claimer may evict
        self._willing: dict[str, tuple[list[Job], list[Job]]] = {}
        #: when somebody on the node that is looked at may give way
        self._later_us: int | None = None
        self.targets = Targets(state, claims, now_us)

    def plan(self, job_class: JobClass, head: JobKey) -> Plan | None:
        """The least harmful plan for a job, or None: nobody may be evicted, or it would not help."""
        state = self._state
        if self._left <= 0 or not self.may_help(job_class):
            return None
        claimer = state.jobs[head]
        targets = self.targets.find(job_class, head)
        if targets is None:
            return None
        best = None
        if targets:
            self._used = self._use_to_come(head)
            if self._comes_by_itself(claimer, targets):
                return None
            best = self._search(claimer, targets)
        if best is None:
            self.targets.rest(job_class, head)
        elif self._affords(best.victims):
            job_class.rests.pop(head, None)
            return best
        return None

    def plan_together(
        self, job_class: JobClass, head: JobKey, wanted: Resources, fits: Fits[Found]
    ) -> tuple[list[Victim], Found] | None:
        """The least harmful victims for a gang that wants so much together, and what `fits` then finds for it."""
        if self._left <= 0 or not self.may_help(job_class) or not self.targets.begin(job_class, head):
            return None
        claimer = self._state.jobs[head]
        self._used = self._use_to_come(head)
        self._begin(wanted)

        def found(gone: list[Victim]) -> Found | None:
            return fits([*chain(*self._going.values()), *leaving(gone)], self._without(gone))

        if found([]):
            return None  # it comes by itself
        nodes = islice((node for node in self._state.nodes.values() if node.lanes), _NODES_MAX)
        victims = self._chosen(once(self._victims(claimer, nodes)), claimer, found)
        placement = found(victims)
        if not victims or placement is None:
            self.targets.wait(job_class, head, self._later_us)
            return None
        return (victims, placement) if self._affords(victims) else None

    def _begin(self, wanted: Resources, *, to_end_within: bool = False) -> None:
        self._wanted = wanted
        self._to_end_within = to_end_within
        self._later_us = None
        self._standing.clear()
        self._willing.clear()

    def _affords(self, victims: Iterable[Victim]) -> bool:
        """Whether one pass may ask so many; they are counted then."""
        count = len(leaving(victims))
        if count > self._left:
            return False
        self._left -= count
        return True

    def _search(self, claimer: Job, targets: list[NodeState]) -> Plan | None:
        wanted = claimer.entry.kind.resources
        self._begin(wanted)
        best = self._best(claimer, targets)
        if best is None and self._may_end_within(claimer):
            self._begin(wanted, to_end_within=True)
            best = self._best(claimer, targets)
        return best

    def _comes_by_itself(self, claimer: Job, targets: list[NodeState]) -> bool:
        """Whether the job fits once those have gone who were asked to stop for other reasons."""
        nodes = [node for node, jobs in self._going.items() if any(job.evicted_for is None for job in jobs)]
        if not nodes:
            return False
        if self._state.tree.matters:
            return any(_Trial(self, node, claimer).fits() for node in targets)
        return any(_Trial(self, self._state.nodes[node], claimer).fits() for node in nodes)

    def _best(self, claimer: Job, targets: list[NodeState]) -> Plan | None:
        """The least harmful of the plans for these nodes."""
        lacking = self._lacking(claimer.entry.kind)
        everywhere = once(self._victims(claimer, self._state.nodes.values())) if lacking else []
        best: tuple[Cost, Plan] | None = None
        for node in targets:
            self._later_us = None
            found = self._on(node, claimer, everywhere)
            if not found:
                barred_us = claimer.barred[1] if claimer.barred else NEVER_US
                self.targets.failed(node, claimer.key, self._later_us, barred_us)
            else:
                lost = cost(found)
                if best is None or lost < best[0]:
                    best = (lost, Plan(node.node.id, tuple(found)))
        return best[1] if best else None

    def _may_end_within(self, claimer: Job) -> bool:
        """Whether a claimer that borrows would not if enough of its own gave way, so that it may reclaim besides."""
        tree, kind, settings = (
            self._state.tree,
            claimer.entry.kind,
            settings_of(self._state, claimer.entry.kind.namespace),
        )
        if not tree.matters or Against.NEVER in (settings.within, settings.reclaim):
            return False
        whole = tree.borrows({}, kind.namespace, kind.resources)
        return not whole and tree.borrows(self._used, kind.namespace, kind.resources)

    def lacks_quota(self, job_class: JobClass, head: JobKey) -> bool:
        """Whether a class's namespace may not use so much now, even with all idle slots closed."""
        self._used = self._use_to_come(head)
        return bool(self._lacking(job_class.kind))

    def forbidden(self, job_class: JobClass, head: JobKey) -> bool:
        """The same where it is a matter of settings, and not of a full cluster."""
        if not self._state.tree.matters:
            return False
        kind = job_class.kind
        return self._state.tree.forbids(self._use_to_come(head), kind.namespace, kind.resources)

    def may_help(self, job_class: JobClass) -> bool:
        """Whether anything runs that could be a victim of this class at all: cheap, as most answers are no."""
        state = self._state
        lower = any(state.on_nodes[job_class.band + 1 :])
        return state.policy.preemption and (lower or state.savers > 0 or state.tree.matters)

    # --- one node

    def _on(self, node: NodeState, claimer: Job, everywhere: list[Victim]) -> list[Victim]:
        """The victims for one node; empty: it cannot be done."""
        trial = _Trial(self, node, claimer)
        if trial.fits():
            return []
        here = {victim.job.key: victim for victim in self._victims(claimer, (node,))}
        pool = sorted([*here.values(), *(v for v in everywhere if v.job.key not in here)], key=_harm_of)
        chosen: list[Victim] = []
        for victim in pool:
            if self._still_borrows(claimer, victim, trial.used):
                chosen.append(victim)
                trial.move(victim, 1)
                if trial.fits():
                    break
        else:
            return []
        for victim in sorted(chosen, key=_harm_of, reverse=True):
            trial.move(victim, -1)
            if trial.fits():
                chosen.remove(victim)
            else:
                trial.move(victim, 1)
        return chosen

    def _chosen(self, pool: list[Victim], claimer: Job, fits: Callable[[list[Victim]], object]) -> list[Victim]:
        """The victims that let a claimer fit, no proper subset of which would do; empty: none do."""
        chosen = self._enough(sorted(pool, key=_harm_of), claimer, fits)
        if not chosen:
            return []
        for victim in sorted(chosen, key=_harm_of, reverse=True):
            without = [other for other in chosen if other is not victim]
            if fits(without):
                chosen = without
        return chosen

    def _enough(self, pool: list[Victim], claimer: Job, fits: Callable[[list[Victim]], object]) -> list[Victim]:
        """The first so many victims that let a claimer fit; empty: all of them do not, or none is needed."""
        if not self._state.tree.matters:
            count = bisect_left(range(len(pool) + 1), True, key=lambda count: bool(fits(pool[:count])))
            return pool[:count] if count <= len(pool) else []
        chosen: list[Victim] = []
        for victim in pool:
            if fits(chosen):
                break
            if self._still_borrows(claimer, victim, self._without(chosen)):
                chosen.append(victim)
        return chosen if fits(chosen) else []

    def _without(self, gone: Iterable[Victim]) -> Used:
        used = {name: dict(found) for name, found in self._used.items()}
        for job in leaving(gone):
            count(used, job.kind, -1)
        return used

    def _room_to_come(self, node: NodeState, claimer: Job) -> dict[str, int]:
        """What a node has for a claimer once those asked have gone, and others have come."""
        free = room_of(node)
        for job in self._going.get(node.node.id, ()):
            add(free, job.kind.resources, 1)
        for claim in self._claims.by_node.get(node.node.id, ()):
            if claim.key != claimer.key:
                add(free, claim.resources, -1)
        return free

    def _within_quota(self, claimer: Job, used: Used) -> bool:
        """Whether a claimer's namespace may use so much more, when this is used."""
        tree, kind = self._state.tree, claimer.entry.kind
        if not tree.matters:
            return True
        if tree.lacking(used, kind.namespace, kind.resources):
            return False
        return not (self._to_end_within and tree.borrows(used, kind.namespace, kind.resources))

    def _lacking(self, kind: SlotKind) -> tuple[str, ...]:
        """What a namespace's quota lacks for a kind."""
        if not self._state.tree.matters:
            return ()
        return self._state.tree.lacking(self._used, kind.namespace, kind.resources)

    def _use_to_come(self, claimer: JobKey) -> Used:
        """What is reserved by namespace once idle slots are closed, those asked have gone, and others have come."""
        state = self._state
        leave = going(state, state.jobs[claimer]) if state.stopping else []
        self._going = {}
        for job in leave:
            assert job.node is not None
            self._going.setdefault(job.node, []).append(job)
        if not state.tree.matters:
            return {}
        used = {name: dict(found) for name, found in state.reserved.items()}
        for kind, nodes in state.idle_lanes.items():
            count(used, kind, -sum(state.nodes[node_id].lanes[kind].idle for node_id in nodes))
        for job in leave:
            count(used, job.kind, -1)
        for key in state.nominated:
            if key != claimer:
                count(used, state.jobs[key].entry.kind, 1)
        return used

    # --- who may be a victim

    def _victims(self, claimer: Job, nodes: Iterable[NodeState]) -> Iterator[Victim]:
        jobs, within = self._state.jobs, settings_of(self._state, claimer.entry.kind.namespace).within
        for node in nodes:
            for lane in node.lanes.values():
                held = list(lane.held)[: lane.slots]
                self.targets.looked(len(held))
                for key in held:
                    job = jobs[key]
                    reason = self._right(claimer, job, within)
                    if reason is Reason.NONE or not self._now_is_the_time(job, reason):
                        continue
                    victim: Victim | None = Victim(job, reason, self._harm(claimer, job))
                    if key in self._state.gang_of:
                        victim = self._of_gang(claimer, job, reason, within)
                    if victim is not None:
                        yield victim

    def _of_gang(self, claimer: Job, job: Job, reason: Reason, within: Against) -> Victim | None:
        """A member of a gang: alone where enough others stay, else all of them or nobody.

        Those stay first that may not be evicted, then those of the lowest ranks.
        """
        gang = self._state.gang_of[job.key]
        if gang.name not in self._willing:
            members = active(self._state, gang)
            rights = [(other, self._right(claimer, other, within)) for other in members]
            willing = [other for other, right in rights if right and self._now_is_the_time(other, right)]
            self._willing[gang.name] = members, willing
        together, willing = self._willing[gang.name]
        spare = len(together) - needed(gang)
        if spare and job in willing[-spare:]:
            return Victim(job, reason, self._harm(claimer, job))
        if len(willing) < len(together):
            return None
        first, *others = together
        harms = [self._harm(claimer, other) for other in together]
        own, band = max(harm[0] for harm in harms), max(harm[1] for harm in harms)
        harm = (own, band, sum(harm[2] for harm in harms), min(harm[3] for harm in harms))
        return Victim(first, reason, harm, tuple(others))

    def _right(self, claimer: Job, job: Job, within: Against) -> Reason:
        """By which right the claimer may take the job's room; NONE: by none. `within`: what its namespace says."""
        if self._state.tree.matters and claimer.entry.kind.namespace != job.kind.namespace:
            right = self._right_across(claimer, job)
        elif allows(within, claimer, job):
            right = Reason.PREEMPTED
        elif job.entry.saves and job.job_class.band == claimer.job_class.band:
            right = Reason.ROTATED
        else:
            return Reason.NONE
        if not self._can_give_way(job) or claimer.barred_from(job, self._now_us):
            return Reason.NONE
        gang = self._state.gang_of.get(claimer.key)
        return Reason.NONE if gang is not None and gang is self._state.gang_of.get(job.key) else right

    def _right_across(self, claimer: Job, job: Job) -> Reason:
        """The same between two namespaces where quotas are set: what is guaranteed is safe from others."""
        borrows, entitled = self._stands(claimer, job)
        if not borrows:
            return Reason.NONE
        settings = settings_of(self._state, claimer.entry.kind.namespace)
        if entitled:
            if settings.reclaim is Against.ANY:
                return Reason.RECLAIMED
            return Reason.PREEMPTED if allows(settings.reclaim, claimer, job) else Reason.NONE
        if job.job_class.band >= settings.borrowing_band and allows(settings.borrowing, claimer, job):
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
        wanted, tree = self._wanted, self._state.tree
        mine = _apart(claimer.entry.kind.namespace, job.kind.namespace)
        return any(not tree.borrows(self._used, part, wanted) for part in mine)

    def _still_borrows(self, claimer: Job, victim: Victim, used: Used) -> bool:
        """Whether a victim in another namespace uses what is not guaranteed to it, when this is used."""
        if not self._state.tree.matters or victim.job.kind.namespace == claimer.entry.kind.namespace:
            return True
        return self._borrows(used, claimer, victim.job)

    def _borrows(self, used: Used, claimer: Job, job: Job) -> bool:
        """Whether a job's namespace, and all above it that are not above the claimer, use more than they have.

        One that does not keeps all below it safe: they borrow of each other, and not of the claimer.
        """
        names = [name for name, _ in claimer.entry.kind.resources.amounts]
        theirs = _apart(job.kind.namespace, claimer.entry.kind.namespace)
        return all(self._state.tree.borrows_already(used, part, names) for part in theirs)

    def _can_give_way(self, job: Job) -> bool:
        """Whether the job may be asked at all, and not only in a moment."""
        if job.state not in (JobState.LAUNCHED, JobState.RUNNING) or job.recall_asked or job.key in self.fresh:
            return False
        policy = self._state.policy
        return may_ever(job, policy) and not 0 < job.entry.mean_us <= policy.patience_us

    def _now_is_the_time(self, job: Job, reason: Reason) -> bool:
        """Whether its exempt time, or its slice, is over; if not, when it will be is noted."""
        over_us = over_at_us(job, self._state.policy, rotated=reason is Reason.ROTATED)
        if over_us <= self._now_us:
            return True
        if over_us < NEVER_US:
            self._later_us = over_us if self._later_us is None else min(self._later_us, over_us)
        return False

    def _harm(self, claimer: Job, job: Job) -> tuple[int, int, int, int]:
        across = self._state.tree.matters and claimer.entry.kind.namespace != job.kind.namespace
        own = 0 if across and self._stands(claimer, job)[1] else 1
        saves = job.entry.spec.eviction is Eviction.CHECKPOINT
        lost_us = 0 if saves else self._now_us - max(job.started_us, job.saved_us)
        lost = lost_us * max(1, step_of(self._state, job.kind.resources))
        return (own, -job.job_class.band, lost, -job.started_us)


class _Trial:
    """What a node would have for a claimer, and namespaces would use, as victims go and come back."""

    __slots__ = ("_claimer", "_free", "_gone", "_node", "_search", "used")

    def __init__(self, search: Search, node: NodeState, claimer: Job) -> None:
        self._search = search
        self._claimer = claimer
        self._node = node.node.id
        self._gone: Counter[JobKey] = Counter()
        self._free = search._room_to_come(node, claimer)  # noqa: SLF001 - a part of the search
        self.used: Used = {name: dict(found) for name, found in search._used.items()}  # noqa: SLF001

    def move(self, victim: Victim, times: int) -> None:
        """A victim goes (1) or comes back (-1), and with it the rest of its gang."""
        for job in (victim.job, *victim.others):
            before = self._gone[job.key]
            self._gone[job.key] += times
            if before and before + times:
                continue  # another victim takes it along as well
            if job.node == self._node:
                add(self._free, job.kind.resources, times)
            if self.used:
                count(self.used, job.kind, -times)

    def fits(self) -> bool:
        """Whether the claimer fits now."""
        if not self._claimer.entry.kind.resources.fits(self._free):
            return False
        return self._search._within_quota(self._claimer, self.used)  # noqa: SLF001


def _harm_of(victim: Victim) -> tuple[int, int, int, int]:
    return victim.harm


def _apart(name: str, other: str) -> tuple[str, ...]:
    """A namespace and those above it that are not above another; of one above the other, itself."""
    above = paths(other)
    return tuple(part for part in paths(name) if part not in above) or (name,)
