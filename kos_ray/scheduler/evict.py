"""Who gives way: the fewest victims, of the least urgent bands, with the least work lost, so that a job then fits.

Three evictions, each with its own right. *Priority*: the victim's declared band is strictly lower. *Reclaim*: the
victim's namespace uses more than is guaranteed to it, the claimer's less. *Rotation*: the same band, the victim can
save its state, its slice is over. The search removes candidates in order of harm until the job fits, then puts back
whom it can (Kueue's reverse minimisation), so that no proper subset of the victims would do. Who borrows what is
guaranteed to the claimer goes before the claimer's own: those would only come back and reclaim it themselves. By each
right, members go first by which gangs shrink, and of a band all of such a gang last. Who can be spared takes nothing
from others but what is guaranteed to it: it would only move the loss on to them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import TypeVar

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.policy import Against
from kos_ray.model.resources import Resources, add, total
from kos_ray.scheduler.claims import NEVER_US, Claims
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.rights import Rights
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import NodeState, State
from kos_ray.scheduler.targets import Targets, settings_of
from kos_ray.scheduler.victims import Cost, Harm, Plan, Used, Victim, cost, count, going, leaving, once

Found = TypeVar("Found")
#: where a gang goes when these jobs have left and so much is reserved by namespace; None: it does not fit
Fits = Callable[[list[Job], Used], Found | None]
#: nodes on which victims for one gang are looked for
_NODES_MAX = 64


class Search:
    """One pass's searches for victims."""

    def __init__(self, state: State, claims: Claims, sites: Sites, now_us: int) -> None:
        self._state = state
        self._claims = claims
        self._now_us = now_us
        self._left = state.policy.evictions_per_pass
        #: whose room is free soon
        self._going: dict[NodeId, list[Job]] = {}
        self.targets = Targets(state, claims, sites, now_us)
        self.rights = Rights(state, now_us, self.targets.looked)

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
            self.rights.used = self._use_to_come(head)
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
        self, job_class: JobClass, head: JobKey, members: Iterable[Resources], fits: Fits[Found]
    ) -> tuple[list[Victim], Found] | None:
        """The least harmful victims for so many members of a gang, and what `fits` then finds for it."""
        if self._left <= 0 or not self.may_help(job_class) or not self.targets.begin(job_class, head):
            return None
        claimer = self._state.jobs[head]
        wanted = list(members)
        self.rights.used = self._use_to_come(head)
        self.rights.begin(Resources.from_amounts(total(wanted)))

        def found(gone: list[Victim]) -> Found | None:
            return fits([*chain(*self._going.values()), *leaving(gone)], self._without(gone))

        if found([]):
            return None  # it comes by itself
        nodes = islice(self.targets.together(job_class, set(wanted)), _NODES_MAX)
        victims = self._chosen(once(self.rights.victims(claimer, nodes)), claimer, found)
        placement = found(victims)
        if not victims or placement is None:
            self.targets.wait(job_class, head, self.rights.later_us)
            return None
        return (victims, placement) if self._affords(victims) else None

    def _affords(self, victims: Iterable[Victim]) -> bool:
        """Whether one pass may ask so many; they are counted then."""
        count = len(leaving(victims))
        if count > self._left:
            return False
        self._left -= count
        return True

    def _search(self, claimer: Job, targets: list[NodeState]) -> Plan | None:
        wanted = self._kind(claimer).resources
        self.rights.begin(wanted)
        best = self._best(claimer, targets)
        if best is None and self._may_end_within(claimer):
            self.rights.begin(wanted, to_end_within=True)
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
        lacking = self._lacking(self._kind(claimer))
        everywhere = once(self.rights.victims(claimer, self._state.nodes.values())) if lacking else []
        best: tuple[Cost, Plan] | None = None
        for node in targets:
            self.rights.later_us = None
            found = self._on(node, claimer, everywhere)
            if not found:
                barred_us = claimer.barred[1] if claimer.barred else NEVER_US
                self.targets.failed(node, claimer.key, self.rights.later_us, barred_us)
            else:
                lost = cost(found)
                if best is None or lost < best[0]:
                    best = (lost, Plan(node.node.id, tuple(found)))
        return best[1] if best else None

    def _may_end_within(self, claimer: Job) -> bool:
        """Whether a claimer that borrows would not if enough of its own gave way, so that it may reclaim besides."""
        tree, kind = self._state.tree, self._kind(claimer)
        settings = settings_of(self._state, kind.namespace)
        if not tree.matters or Against.NEVER in (settings.within, settings.reclaim):
            return False
        whole = tree.borrows({}, kind.namespace, kind.resources)
        return not whole and tree.borrows(self.rights.used, kind.namespace, kind.resources)

    def lacks_quota(self, kind: SlotKind, head: JobKey) -> bool:
        """Whether a kind's namespace may not use so much now, even with all idle slots closed."""
        self.rights.used = self._use_to_come(head)
        return bool(self._lacking(kind))

    def forbidden(self, kind: SlotKind, head: JobKey) -> bool:
        """The same where it is a matter of settings, and not of a full cluster."""
        if not self._state.tree.matters:
            return False
        return self._state.tree.forbids(self._use_to_come(head), kind.namespace, kind.resources)

    def _kind(self, claimer: Job) -> SlotKind:
        return wanted_kind(self._state, claimer.job_class)

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
        here = {victim.job.key: victim for victim in self.rights.victims(claimer, (node,))}
        pool = sorted([*here.values(), *(v for v in everywhere if v.job.key not in here)], key=_harm_of)
        chosen: list[Victim] = []
        for victim in pool:
            if self.rights.still_borrows(claimer, victim, trial.used):
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
        return _spared(sorted(chosen, key=_harm_of, reverse=True), [], fits)

    def _enough(self, pool: list[Victim], claimer: Job, fits: Callable[[list[Victim]], object]) -> list[Victim]:
        """The first so many victims that let a claimer fit; empty: all of them do not, or none is needed."""
        if not self._state.tree.matters:
            count = bisect_left(range(len(pool) + 1), True, key=lambda count: bool(fits(pool[:count])))
            return pool[:count] if count <= len(pool) else []
        chosen: list[Victim] = []
        for victim in pool:
            if fits(chosen):
                break
            if self.rights.still_borrows(claimer, victim, self._without(chosen)):
                chosen.append(victim)
        return chosen if fits(chosen) else []

    def _without(self, gone: Iterable[Victim]) -> Used:
        if not self._state.tree.matters:
            return self.rights.used
        used = {name: dict(found) for name, found in self.rights.used.items()}
        for job in leaving(gone):
            count(used, job.kind, -1)
        return used

    def _room_to_come(self, node: NodeState, claimer: Job) -> dict[str, int]:
        """What a node has for a claimer once those asked have gone, and others have come."""
        free = dict(self._state.rooms.room(node))
        for job in self._going.get(node.node.id, ()):
            add(free, job.kind.resources, 1)
        for claim in self._claims.by_node.get(node.node.id, ()):
            if claim.key != claimer.key:
                add(free, claim.resources, -1)
        return free

    def _within_quota(self, claimer: Job, used: Used) -> bool:
        """Whether a claimer's namespace may use so much more, when this is used."""
        tree, kind = self._state.tree, self._kind(claimer)
        if not tree.matters:
            return True
        if tree.lacking(used, kind.namespace, kind.resources):
            return False
        return not (self.rights.to_end_within and tree.borrows(used, kind.namespace, kind.resources))

    def _lacking(self, kind: SlotKind) -> tuple[str, ...]:
        """What a namespace's quota lacks for a kind."""
        if not self._state.tree.matters:
            return ()
        return self._state.tree.lacking(self.rights.used, kind.namespace, kind.resources)

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
                count(used, self._kind(state.jobs[key]), 1)
        return used


class _Trial:
    """What a node would have for a claimer, and namespaces would use, as victims go and come back."""

    __slots__ = ("_claimer", "_free", "_gone", "_node", "_search", "_wanted", "used")

    def __init__(self, search: Search, node: NodeState, claimer: Job) -> None:
        self._search = search
        self._claimer = claimer
        self._wanted = wanted_kind(search._state, claimer.job_class).resources  # noqa: SLF001
        self._node = node.node.id
        self._gone: Counter[JobKey] = Counter()
        self._free = search._room_to_come(node, claimer)  # noqa: SLF001 - a part of the search
        self.used: Used = {name: dict(found) for name, found in search.rights.used.items()}

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
        if not self._wanted.fits(self._free):
            return False
        return self._search._within_quota(self._claimer, self.used)  # noqa: SLF001


def _spared(chosen: list[Victim], beside: list[Victim], fits: Callable[[list[Victim]], object]) -> list[Victim]:
    """Which of some victims are needed beside others, the first ones put back first.

    Whoever can be put back one after another can be put back together, and most can: halves are tried at once.
    """
    if not chosen or fits(beside):
        return []
    if len(chosen) == 1:
        return chosen
    half = len(chosen) // 2
    first, second = chosen[:half], chosen[half:]
    needed = _spared(first, [*second, *beside], fits)
    return [*needed, *_spared(second, [*needed, *beside], fits)]


def _harm_of(victim: Victim) -> Harm:
    return victim.harm
