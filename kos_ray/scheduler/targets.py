"""On which nodes a search for victims is worth its while: where enough could give way, and nothing was found lately.

A job that waits for room searches in every pass. On a large cluster that costs more than everything else, so what was
found in vain is remembered: by node until something changes there, and by class when all nodes were looked at in vain.
Nothing of it is in a snapshot: a search that is done again finds the same.
"""

from collections.abc import Iterable, Mapping

from kos_ray.model.ids import JobKey
from kos_ray.model.job import BANDS, Eviction, JobState
from kos_ray.model.policy import Against
from kos_ray.model.resources import add
from kos_ray.scheduler.claims import NEVER_US
from kos_ray.scheduler.rooms import Index, room_of
from kos_ray.scheduler.state import JobClass, NodeState, Rest, State

#: nodes that one search looks at, of those where enough could give way
_NODES_MAX = 16
#: a search that found nothing is not done again for this long, unless something changes there
_REST_US = 1_000_000
#: attempts that the searches of one pass may look at, and when the next pass goes on with it
_LOOKS_MAX = 2_048
_NEXT_US = 1_000
_NO_BAND = -1
_NOT_TRIED: tuple[int, int, int | None] = (0, 0, None)


class Targets:
    """The nodes that the searches of one pass look at. `retry_us` is when one that failed might succeed by itself."""

    def __init__(self, state: State, now_us: int) -> None:
        self._state = state
        self._now_us = now_us
        self._looks = 0
        self.retry_us: int | None = None
        #: of the present search: until when what it knows holds, when time may change it, whether it looks at all
        self._until_us = NEVER_US
        self._hint_us: int | None = None
        self._complete = False

    def find(self, job_class: JobClass, head: JobKey, within: Against) -> list[NodeState] | None:
        """The nodes to look at for the head of a class, the tightest first; None: enough was done in this pass."""
        state, wanted = self._state, job_class.kind.resources
        if self._looks >= _LOOKS_MAX:
            self.hint(self._now_us + _NEXT_US)
            return None
        index = self._index(job_class, within)
        rest = job_class.rest
        self._until_us, self._hint_us = NEVER_US, None
        if rest is not None and rest.head == head and self._now_us < rest.until_us:
            changed = state.rooms.changed_since(rest.position)
            if changed is not None:
                self._until_us, self._hint_us = rest.until_us, rest.hint_us
                near = [node for node in changed if index.holds(node, wanted)]
                return self._choose(job_class, head, near)
        return self._choose(job_class, head, index.large_enough(wanted))

    def _choose(self, job_class: JobClass, head: JobKey, nodes: Iterable[NodeState]) -> list[NodeState]:
        wanted = job_class.kind.resources
        found: list[NodeState] = []
        self._complete = True
        for node in nodes:
            self._looks += 1
            if not node.lanes or not wanted.fits(dict(node.node.resources.amounts)):
                continue
            tried, until_us, hint_us = node.tried.get(job_class, _NOT_TRIED)
            if tried == head and self._now_us < until_us:
                self._in_vain(until_us, hint_us)
            elif len(found) == _NODES_MAX:
                self._complete = False
                break
            else:
                found.append(node)
        return found

    def looked(self, attempts: int) -> None:
        """A search has looked at so many attempts."""
        self._looks += attempts

    def hint(self, at_us: int | None) -> None:
        """A search that failed might succeed then."""
        if at_us is not None:
            self.retry_us = at_us if self.retry_us is None else min(self.retry_us, at_us)

    def failed(self, node: NodeState, job_class: JobClass, head: JobKey, hint_us: int | None, barred_us: int) -> None:
        """Nobody on a node could give way; `hint_us`: somebody may then; `barred_us`: until then nobody had to."""
        self.hint(hint_us)
        if self._state.tree.matters:
            return  # what a namespace uses elsewhere counts as well
        until_us = min(NEVER_US if hint_us is None else hint_us, barred_us, self._now_us + _REST_US)
        node.tried[job_class] = (head, until_us, hint_us)
        self._in_vain(until_us, hint_us)

    def _in_vain(self, until_us: int, hint_us: int | None) -> None:
        self._until_us = min(self._until_us, until_us)
        if hint_us is not None:
            self._hint_us = hint_us if self._hint_us is None else min(self._hint_us, hint_us)

    def rest(self, job_class: JobClass, head: JobKey) -> None:
        """A search is over and found nothing: where it has looked at all nodes, its class may rest."""
        self.hint(self._hint_us)
        if self._state.tree.matters:
            return
        if not self._complete:
            job_class.rest = None
            self.hint(self._now_us + _NEXT_US)
            return
        until_us = min(self._until_us, self._now_us + _REST_US) if job_class.rest is None else self._until_us
        job_class.rest = Rest(head, until_us, self._hint_us, self._state.rooms.position)

    def _index(self, job_class: JobClass, within: Against) -> Index:
        """Nodes by what they would have if everybody gave way who may be asked by jobs of a class."""
        state, band = self._state, job_class.band
        if state.tree.matters or within is Against.ANY:
            lowest, savers = 0, _NO_BAND
        elif within is Against.LOWER_OR_NEWER:
            lowest, savers = band, _NO_BAND
        else:
            lowest, savers = (len(BANDS) if within is Against.NEVER else band + 1), band
        return state.rooms.index((lowest, savers), lambda node: _with_gifts(state, node, lowest, savers))


def _with_gifts(state: State, node: NodeState, lowest: int, savers: int) -> Mapping[str, int]:
    """A node's room with what attempts of bands from `lowest` on, and the savers of one band, could give."""
    free = room_of(node)
    everybody, saving = node.gives or _gives(state, node)
    for found in (*everybody[lowest:], *(saving[savers : savers + 1] if savers != _NO_BAND else ())):
        for name, amount in found.items():
            free[name] = free.get(name, 0) + amount
    return free


def _gives(state: State, node: NodeState) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """What attempts on a node hold that may ever be asked, by declared band, and what of it savers hold.

    What was asked to stop is given to all: it stands behind the last band.
    """
    everybody: list[dict[str, int]] = [{} for _ in BANDS]
    saving: list[dict[str, int]] = [{} for _ in BANDS]
    going: dict[str, int] = {}
    for lane in node.lanes.values():
        for key in list(lane.held)[: lane.slots]:
            job = state.jobs[key]
            if job.state is JobState.STOPPING:
                add(going, lane.kind.resources, 1)
            elif job.entry.spec.eviction is not Eviction.NEVER:
                add(everybody[job.job_class.band], lane.kind.resources, 1)
                if job.entry.saves:
                    add(saving[job.job_class.band], lane.kind.resources, 1)
    everybody.append(going)
    node.gives = everybody, saving
    return node.gives
