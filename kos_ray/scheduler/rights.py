"""Who may be asked to give way to a job, and by which right; see `evict.py` for the three rights."""

from collections.abc import Callable, Iterable, Iterator

from kos_ray.model.ids import JobKey
from kos_ray.model.job import Eviction, JobState
from kos_ray.model.policy import Against
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources
from kos_ray.scheduler.claims import NEVER_US
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.gangs import active, is_spare, needed
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.shares import paths, step_of
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.targets import may_ever, over_at_us, settings_of
from kos_ray.scheduler.victims import Harm, Used, Victim, allows


class Rights:
    """The rights of one claimer after another, in one pass."""

    def __init__(self, state: State, now_us: int, looked: Callable[[int], None]) -> None:
        """`looked` is told how many attempts were looked at."""
        self._state = state
        self._now_us = now_us
        self._looked = looked
        #: what this pass has started itself is no victim
        self.fresh: set[JobKey] = set()
        #: what is reserved by namespace for the present claimer
        self.used: Used = {}
        #: whether the claimer's own are to make so much room that it ends within what is guaranteed to it
        self.to_end_within = False
        #: when somebody who was looked at may give way
        self.later_us: int | None = None
        #: what the claimer wants, or its gang
        self._wanted = Resources()
        #: by namespace of victims: whether it uses what is not its own, and whether the claimer may reclaim that
        self._standing: dict[str, tuple[bool, bool]] = {}
        #: by gang: its running members, and those of them that the claimer may evict
        self._willing: dict[str, tuple[list[Job], list[Job]]] = {}

    def begin(self, wanted: Resources, *, to_end_within: bool = False) -> None:
        """Another claimer, or another way to look at its rights."""
        self._wanted = wanted
        self.to_end_within = to_end_within
        self.later_us = None
        self._standing.clear()
        self._willing.clear()

    def victims(self, claimer: Job, nodes: Iterable[NodeState]) -> Iterator[Victim]:
        """Who on these nodes may be asked now."""
        jobs, within = self._state.jobs, settings_of(self._state, claimer.entry.kind.namespace).within
        for node in nodes:
            for lane in node.lanes.values():
                held = list(lane.held)[: lane.slots]
                self._looked(len(held))
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

        Those stay first that may not be evicted, then those that do not shrink, then those of the lowest ranks.
        """
        gang = self._state.gang_of[job.key]
        if gang.name not in self._willing:
            members = active(self._state, gang)
            rights = [(other, self._right(claimer, other, within)) for other in members]
            willing = [other for other, right in rights if right and self._now_is_the_time(other, right)]
            willing.sort(key=lambda other: other.entry.shrinks)
            self._willing[gang.name] = members, willing
        together, willing = self._willing[gang.name]
        spare = len(together) - needed(gang)
        if spare and job in willing[-spare:]:
            return Victim(job, reason, self._harm(claimer, job, spare=job.entry.shrinks))
        if len(willing) < len(together):
            return None
        first, *others = together
        harms = [self._harm(claimer, other) for other in together]
        own, band = max(harm[0] for harm in harms), max(harm[2] for harm in harms)
        shrinks = int(any(other.entry.shrinks for other in together))
        harm = (own, 1, band, shrinks, sum(harm[4] for harm in harms), min(harm[5] for harm in harms))
        return Victim(first, reason, harm, tuple(others))

    def _right(self, claimer: Job, job: Job, within: Against) -> Reason:
        """By which right the claimer may take the job's room; NONE: by none. `within`: what its namespace says."""
        if self._state.tree.matters and claimer.entry.kind.namespace != job.kind.namespace:
            right = self._right_across(claimer, job)
        elif is_spare(self._state, claimer):
            return Reason.NONE
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
        if is_spare(self._state, claimer):
            return Reason.NONE
        if job.job_class.band >= settings.borrowing_band and allows(settings.borrowing, claimer, job):
            return Reason.PREEMPTED
        return Reason.NONE

    def _stands(self, claimer: Job, job: Job) -> tuple[bool, bool]:
        """Whether a job's namespace borrows, and whether the claimer is entitled to that: the same for all its jobs."""
        name = job.kind.namespace
        if name not in self._standing:
            self._standing[name] = self._borrows(self.used, claimer, job), self._entitled(claimer, job)
        return self._standing[name]

    def _entitled(self, claimer: Job, job: Job) -> bool:
        """Whether the claimer, or one above it that is not above the job, uses no more than is guaranteed to it."""
        if self.to_end_within:
            return True
        wanted, tree = self._wanted, self._state.tree
        mine = _apart(claimer.entry.kind.namespace, job.kind.namespace)
        return any(not tree.borrows(self.used, part, wanted) for part in mine)

    def still_borrows(self, claimer: Job, victim: Victim, used: Used) -> bool:
        """Whether a victim in another namespace uses what is not guaranteed to it, when this is used."""
        if not self._state.tree.matters or victim.job.kind.namespace == claimer.entry.kind.namespace:
            return True
        return self._borrows(used, claimer, victim.job)

    def _borrows(self, used: Used, claimer: Job, job: Job) -> bool:
        """Whether a job's namespace, and all above it that are not above the claimer, use more than they have.

        One that does not keeps all below it safe: they borrow of each other, and not of the claimer.
        """
        names = [name for name, _ in wanted_kind(self._state, claimer.job_class).resources.amounts]
        theirs = _apart(job.kind.namespace, claimer.entry.kind.namespace)
        return all(self._state.tree.borrows_already(used, part, names) for part in theirs)

    def _can_give_way(self, job: Job) -> bool:
        """Whether the job may be asked at all, and not only in a moment."""
        if job.state not in (JobState.LAUNCHED, JobState.RUNNING) or job.recall_asked:
            return False
        policy = self._state.policy
        return may_ever(job, policy) and not 0 < job.entry.mean_us <= policy.patience_us

    def _now_is_the_time(self, job: Job, reason: Reason) -> bool:
        """Whether its exempt time, or its slice, is over, and another pass has started it; if not, when is noted."""
        over_us = over_at_us(job, self._state.policy, rotated=reason is Reason.ROTATED)
        if over_us <= self._now_us and job.key not in self.fresh:
            return True
        if over_us < NEVER_US:
            over_us = max(over_us, self._now_us)
            self.later_us = over_us if self.later_us is None else min(self.later_us, over_us)
        return False

    def _harm(self, claimer: Job, job: Job, *, spare: bool = False) -> Harm:
        across = self._state.tree.matters and claimer.entry.kind.namespace != job.kind.namespace
        own = 0 if across and self._stands(claimer, job)[1] else 1
        saves = job.entry.spec.eviction is Eviction.CHECKPOINT
        lost_us = 0 if saves else self._now_us - max(job.started_us, job.saved_us)
        lost = lost_us * max(1, step_of(self._state, job.kind.resources))
        return (own, 0 if spare else 1, -job.job_class.band, 0, lost, -job.started_us)


def _apart(name: str, other: str) -> tuple[str, ...]:
    """A namespace and those above it that are not above another; of one above the other, itself."""
    above = paths(other)
    return tuple(part for part in paths(name) if part not in above) or (name,)
