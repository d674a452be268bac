"""Which nodes are pressed, by what they say with their heartbeats: only what changes is an event.

A kind presses from its `high` on and is calm at its `low`, each when so many measurements in a row have said so. A
measurement may come with several heartbeats, and counts once; a node that has no new one for long is calm, since nobody
knows. What is counted is in memory: another scheduler counts anew.
"""

from typing import NamedTuple

from kos_ray.model.events import NodeCalm, NodePressed
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.rebalance import Rebalance, Threshold
from kos_ray.model.sample import Sample
from kos_ray.scheduler.pressure import MINUTE_US, UNKNOWN
from kos_ray.scheduler.state import NodeState, State

#: a node without a new measurement for so many heartbeats does not know how it stands
OLD_AFTER = 10


class _Told(NamedTuple):
    #: when it was said last how a node stands
    at_us: int
    #: measurements in a row that say otherwise, by kind
    counts: dict[str, int]
    #: when the newest measurement was made, by the node's clock, and when it came, by the scheduler's
    measured_us: int = 0
    came_us: int = 0


class Pressures:
    """All nodes."""

    def __init__(self) -> None:
        self._told: dict[NodeId, _Told] = {}

    def gone(self, node_id: NodeId) -> None:
        """A node is lost."""
        self._told.pop(node_id, None)

    def heard(self, state: State, node_id: NodeId, sample: Sample, now_us: int) -> NodePressed | NodeCalm | None:
        """A heartbeat, and the event that it is; mostly there is none."""
        node = state.nodes.get(node_id)
        settings = state.policy.rebalance
        if node is None or not (settings.thresholds or node.pressed):
            return None
        told = self._told.get(node_id, _Told(now_us, {}))
        before = {kind for kind, _ in node.pressed}
        # one that does not say when it was made counts as new
        if sample.at_us and sample.at_us == told.measured_us:
            if now_us - told.came_us < OLD_AFTER * state.policy.heartbeat_us:
                return None
            self._told[node_id] = told._replace(counts={})
            return _calm(node, sample, settings) if before else None
        told = self._told[node_id] = told._replace(measured_us=sample.at_us, came_us=now_us)
        pressed = {one.kind for one in settings.thresholds if self._presses(one, before, sample, told, settings)}
        again = now_us - told.at_us >= MINUTE_US and (pressed or state.pressure.awaited(node_id))
        if pressed == before and not again:
            return None
        self._told[node_id] = told._replace(at_us=now_us)
        return _pressed(node, pressed, sample) if pressed else _calm(node, sample, settings)

    def _presses(self, one: Threshold, before: set[str], sample: Sample, told: _Told, settings: Rebalance) -> bool:
        """Whether a kind is short now; what cannot be measured any more is not."""
        was, load = one.kind in before, sample.loads.get(one.kind, 0)
        differs = load <= one.low if was else load >= one.high
        told.counts[one.kind] = told.counts.get(one.kind, 0) + 1 if differs else 0
        if told.counts[one.kind] < settings.after:
            return was
        told.counts[one.kind] = 0
        return not was


def _pressed(node: NodeState, pressed: set[str], sample: Sample) -> NodePressed:
    kinds = tuple(sorted(pressed))
    return NodePressed(
        node=node.node.id,
        kinds=kinds,
        loads=tuple(sample.loads.get(kind, 0) for kind in kinds),
        keys=tuple(JobKey(use.key) for use in sample.uses),
        attempts=tuple(use.attempt for use in sample.uses),
        uses=tuple(tuple(use.loads.get(kind, UNKNOWN) for kind in kinds) for use in sample.uses),
    )


def _calm(node: NodeState, sample: Sample, settings: Rebalance) -> NodeCalm:
    kinds = tuple(one.kind for one in settings.thresholds)
    return NodeCalm(node=node.node.id, kinds=kinds, loads=tuple(sample.loads.get(kind, 0) for kind in kinds))
