"""On which nodes a search for victims is worth its while: where enough may give way, and nothing was found lately.

A job that waits for room searches in every pass. On a large cluster that costs more than everything else, so what was
found in vain is remembered: by node until something changes there, and by class when all nodes were looked at in vain.
Nothing of it is in a snapshot: a search that is done again finds the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from kos_ray.model.ids import JobKey
from kos_ray.model.job import BANDS, Eviction, Guarantee, JobState, SlotKind
from kos_ray.model.policy import Against, Namespace, Policy
from kos_ray.model.resources import Resources, add
from kos_ray.scheduler.claims import NEVER_US, Claims
from kos_ray.scheduler.fit import wanted_kind
from kos_ray.scheduler.jobs import Job, JobClass, Rest
from kos_ray.scheduler.quota import ROOT
from kos_ray.scheduler.rooms import Index
from kos_ray.scheduler.shares import paths
from kos_ray.scheduler.sites import Sites
from kos_ray.scheduler.state import NodeState, State

#: nodes that one search looks at, of those where enough could give way
_NODES_MAX = 16
#: a search that found nothing is not done again for this long, unless something changes there; and for up to as long
#: again, so that the searches of one pass are not all done again in one
_REST_US = 2_000_000
#: heads that follow each other rest for times that are far apart: a share of the time that is no simple fraction
_STEP_US = 618_034
#: a search for a gang that cost too much to be done in every pass is not done again for this long, whatever changes
_LONG_REST_US = 1_000_000
#: attempts that the searches of one pass may look at, and when the next pass goes on with it
_LOOKS_MAX = 1_024
_NEXT_US = 1_000
#: attempts that a search for a gang looks at before it costs too much to be done in every pass
_LONG_SEARCH = 256
#: behind all changes: none of them counts
_ANY_POSITION = 1 << 62
_NO_BAND = -1
_NO_SETTINGS = Namespace(name="")
_NOT_TRIED: tuple[int, int | None] = (0, None)
#: heads that a class, and a node, remember as searched for in vain
_HEADS_MAX = 64


class Targets:
    """The nodes that the searches of one pass look at. `retry_us` is when one that failed might succeed by itself."""

    def __init__(self, state: State, claims: Claims, sites: Sites, now_us: int) -> None:
        self._state = state
        self._claims = claims
        self._sites = sites
        #: of the class that is looked at: from which band on others give way, and the band whose savers do
        self._rights = (0, _NO_BAND)
        self._now_us = now_us
        self._looks = 0
        self._began = 0
        #: by namespace and band
        self._measures: dict[tuple[str, int], tuple[tuple[int, int], Callable[[NodeState], Mapping[str, int]]]] = {}
        self.retry_us: int | None = None
        #: of the present search: until when what it knows holds, when time may change it, whether it looks at all
        self._until_us = NEVER_US
        self._hint_us: int | None = None
        self._complete = False

    def find(self, job_class: JobClass, head: JobKey) -> list[NodeState] | None:
        """The nodes to look at for the head of a class, the tightest first; None: enough was done in this pass."""
        wanted = wanted_kind(self._state, job_class).resources
        if self.exhausted():
            return None
        index = self.index(job_class)
        rest = job_class.rests.get(head)
        self._until_us, self._hint_us = NEVER_US, None
        if rest is not None and self._now_us < rest.until_us:
            changed = self._changed_since(rest)
            if changed is not None:
                self._until_us, self._hint_us = rest.until_us, rest.hint_us
                return self._choose(job_class, head, index.tightest(changed, wanted))
        return self._choose(job_class, head, index.large_enough(wanted))

    def _changed_since(self, rest: Rest) -> Sequence[NodeState] | None:
        """The nodes on which a search may find more than it did; None: all."""
        changed = self._state.rooms.changed_since(rest.position)
        kept = self._claims.kept()
        if changed is None or kept == rest.kept:
            return changed
        nodes = self._state.nodes
        found = {node.node.id: node for node in changed}
        for node_id, what in rest.kept.items():
            if node_id in nodes and kept.get(node_id) != what:
                found[node_id] = nodes[node_id]
        return list(found.values())

    def exhausted(self) -> bool:
        """Whether enough was looked at in this pass; then another one goes on with it."""
        if self._looks < _LOOKS_MAX:
            return False
        self.hint(self._now_us + _NEXT_US)
        return True

    def begin(self, job_class: JobClass, head: JobKey) -> bool:
        """Whether victims for a gang are to be looked for: not where that was in vain a moment ago."""
        if self.exhausted():
            return False
        rest = job_class.rests.get(head)
        if rest is not None and self._now_us < rest.until_us:
            index, rooms = self.index(job_class), self._state.rooms
            changed = self._changed_since(rest) if rest.position <= rooms.position else ()
            if changed is not None and not index.holding(changed, job_class.size):
                self.hint(rest.hint_us)
                return False
        self._began = self._looks
        return True

    def together(self, job_class: JobClass, members: Iterable[Resources]) -> Iterable[NodeState]:
        """The nodes where enough may give way for a member of a gang; with quotas all that run anything."""
        if self._state.tree.matters:
            return (node for node in self._state.nodes.values() if node.lanes)
        index = self.index(job_class)
        found = chain.from_iterable(index.large_enough(wanted) for wanted in sorted(members))
        return {node.node.id: node for node in found if node.lanes}.values()

    def wait(self, job_class: JobClass, head: JobKey, hint_us: int | None) -> None:
        """A search for a gang was in vain: it rests until something changes, and after a long one for a while."""
        self.hint(hint_us)
        until_us = self._rest_until_us(head)
        if self._looks - self._began >= _LONG_SEARCH:
            until_us = self._now_us + _LONG_REST_US
            self.hint(until_us)
            _remember(job_class, head, Rest(until_us, until_us, _ANY_POSITION, {}))
        elif not self._state.tree.matters:  # else what a namespace uses elsewhere counts as well
            until_us = until_us if hint_us is None else min(hint_us, until_us)
            _remember(job_class, head, Rest(until_us, hint_us, self._state.rooms.position, self._claims.kept()))

    def _choose(self, job_class: JobClass, head: JobKey, nodes: Iterable[NodeState]) -> list[NodeState]:
        kind = wanted_kind(self._state, job_class)
        found: list[NodeState] = []
        self._complete = True
        for node in nodes:
            self._looks += 1
            until_us, hint_us = node.tried.get(head, _NOT_TRIED)
            if self._now_us < until_us:
                self._in_vain(until_us, hint_us)
            elif not self._may_be_target(node, job_class, kind, head):
                continue
            elif len(found) == _NODES_MAX:
                self._complete = False
                break
            else:
                found.append(node)
        return found

    def _may_be_target(self, node: NodeState, job_class: JobClass, kind: SlotKind, head: JobKey) -> bool:
        return self.may_gain(node, head, kind.resources) and bool(self._sites.times(node, job_class, kind, head))

    def may_gain(self, node: NodeState, head: JobKey, wanted: Resources) -> bool:
        """Whether a head of the class `index` was asked for would fit on a node if all gave way, beside others' claims.

        Where it fits anyway it is held off by a claim or a quota; victims on the node help against quotas only.
        """
        if not node.lanes:
            return False
        most, least = self._gain(node), self._state.rooms.room(node)
        others = [claim.resources for claim in self._claims.by_node.get(node.node.id, ()) if claim.key != head]
        if others:
            most, least = dict(most), dict(least)
            for resources in others:
                add(most, resources, -1)
                add(least, resources, -1)
        return wanted.fits(most) and (self._state.tree.matters or not wanted.fits(least))

    def _gain(self, node: NodeState) -> Mapping[str, int]:
        """What a node has if all gave way, kept until something changes there."""
        if node.node.id in self._state.rooms.touched:
            return _with_gifts(self._state, node, *self._rights)
        found = node.gains.get(self._rights)
        if found is None:
            found = node.gains[self._rights] = _with_gifts(self._state, node, *self._rights)
        return found

    def looked(self, attempts: int) -> None:
        """A search has looked at so many attempts."""
        self._looks += attempts

    def hint(self, at_us: int | None) -> None:
        """A search that failed might succeed then."""
        if at_us is not None:
            self.retry_us = at_us if self.retry_us is None else min(self.retry_us, at_us)

    def failed(self, node: NodeState, head: JobKey, hint_us: int | None, barred_us: int) -> None:
        """Nobody on a node could give way; `hint_us`: somebody may then; `barred_us`: until then nobody had to."""
        self.hint(hint_us)
        if self._state.tree.matters:
            return  # what a namespace uses elsewhere counts as well
        if self._claims.taken(node):
            return  # it is looked at in every pass
        until_us = min(NEVER_US if hint_us is None else hint_us, barred_us, self._rest_until_us(head))
        if len(node.tried) >= _HEADS_MAX:
            node.tried.clear()
        node.tried[head] = (until_us, hint_us)
        self._in_vain(until_us, hint_us)

    def _in_vain(self, until_us: int, hint_us: int | None) -> None:
        self._until_us = min(self._until_us, until_us)
        if hint_us is not None:
            self._hint_us = hint_us if self._hint_us is None else min(self._hint_us, hint_us)

    def rest(self, job_class: JobClass, head: JobKey) -> None:
        """A search is over and found nothing: where it has looked at all nodes, its class may rest."""
        self.hint(self._hint_us)
        self.hint(self._state.rooms.next_wake_us)
        if self._state.tree.matters:
            return
        if not self._complete:
            job_class.rests.pop(head, None)
            self.hint(self._now_us + _NEXT_US)
            return
        until_us = min(self._until_us, self._rest_until_us(head))
        _remember(job_class, head, Rest(until_us, self._hint_us, self._state.rooms.position, self._claims.kept()))

    def _rest_until_us(self, head: JobKey) -> int:
        return self._now_us + _REST_US + head * _STEP_US % _REST_US

    def index(self, job_class: JobClass) -> Index:
        """Nodes by what they would have if everybody gave way who may be asked by jobs of a class."""
        name = job_class.kind.namespace, job_class.band
        found = self._measures.get(name)
        if found is None:
            found = self._measures[name] = self._measure(*name)
        self._rights, measure = found
        return self._state.rooms.index(self._rights, measure)

    def _measure(self, namespace: str, band: int) -> tuple[tuple[int, int], Callable[[NodeState], Mapping[str, int]]]:
        """From which band on others give way to jobs of a band, and the band whose savers do; what a node then has."""
        state, within = self._state, settings_of(self._state, namespace).within
        if state.tree.matters or within is Against.ANY:
            lowest, savers = 0, _NO_BAND
        elif within is Against.LOWER_OR_NEWER:
            lowest, savers = band, _NO_BAND
        else:
            lowest, savers = (len(BANDS) if within is Against.NEVER else band + 1), band
        return (lowest, savers), lambda node: _with_gifts(state, node, lowest, savers)


def _remember(job_class: JobClass, head: JobKey, rest: Rest) -> None:
    """Heads come and go: of a class only so many are remembered."""
    if len(job_class.rests) >= _HEADS_MAX:
        job_class.rests.clear()
    job_class.rests[head] = rest


def settings_of(state: State, namespace: str) -> Namespace:
    """What a namespace says about evictions, or the nearest one above it that says anything at all."""
    found = None
    for part in paths(namespace):
        found = state.tree.settings.get(part, found)
    return found or state.tree.settings.get(ROOT, _NO_SETTINGS)


def _with_gifts(state: State, node: NodeState, lowest: int, savers: int) -> dict[str, int]:
    """A node's room with what attempts of bands from `lowest` on, and the savers of one band, could give."""
    free = dict(state.rooms.room(node))
    everybody, saving = node.gives or _gives(state, node)
    for found in (*everybody[lowest:], *(saving[savers : savers + 1] if savers != _NO_BAND else ())):
        for name, amount in found.items():
            free[name] = free.get(name, 0) + amount
    return free


def _gives(state: State, node: NodeState) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """What attempts on a node hold that may be asked by now, by declared band, and what of it savers hold.

    What was asked to stop is given to all: it stands behind the last band.
    """
    everybody: list[dict[str, int]] = [{} for _ in BANDS]
    saving: list[dict[str, int]] = [{} for _ in BANDS]
    going: dict[str, int] = {}
    rooms, later_us = state.rooms, NEVER_US
    ways = ((False, everybody), (True, saving))
    for lane in node.lanes.values():
        for key in list(lane.held)[: lane.slots]:
            job = state.jobs[key]
            if job.state is JobState.STOPPING:
                add(going, lane.kind.resources, 1)
                continue
            if not may_ever(job, state.policy):
                continue
            for rotated, found in ways if job.entry.saves else ways[:1]:
                over_us = over_at_us(job, state.policy, rotated=rotated)
                if over_us <= rooms.now_us:
                    add(found[job.job_class.band], lane.kind.resources, 1)
                else:
                    later_us = min(later_us, over_us)
    if later_us < NEVER_US:
        rooms.wake(node, later_us)
    everybody.append(going)
    node.gives = everybody, saving
    return node.gives


def may_ever(job: Job, policy: Policy) -> bool:
    """Whether a job's own wishes and guarantee let it give way, and it was not asked often enough."""
    spec = job.entry.spec
    if job.job_class.demands.agent and not policy.agents_give_way:
        return False
    if spec.eviction is Eviction.NEVER or job.evictions >= policy.evictions_max:
        return False
    return spec.guarantee is not Guarantee.AT_MOST_ONCE or spec.eviction is Eviction.CANCEL


def over_at_us(job: Job, policy: Policy, *, rotated: bool) -> int:
    """When its exempt time, or for an equal its slice, is over; NEVER_US where an equal never may."""
    wait_us = policy.exempt_us
    if rotated:
        slice_us = policy.slice_us[job.job_class.band]
        if not slice_us or not job.entry.saves:
            return NEVER_US
        wait_us = max(wait_us, slice_us)
    return job.started_us + wait_us
