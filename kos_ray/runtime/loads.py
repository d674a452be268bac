"""What nodes say of themselves with their heartbeats: the newest sample of each, and whether it is pressed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kos_ray.engine.engine import Engine
from kos_ray.engine.pressure import Pressures
from kos_ray.model.events import NodeCalm, NodePressed
from kos_ray.model.ids import NodeId
from kos_ray.model.sample import Sample
from kos_ray.model.views import NodeStanding


class Loads:
    """The newest samples. A thousand come in a second: they are read when somebody asks, or settings name a threshold.

    `post` is given what they mean for the scheduler.
    """

    def __init__(self, engine: Engine, post: Callable[[NodePressed | NodeCalm], None]) -> None:
        self._engine = engine
        self._post = post
        self._pressures = Pressures()
        self._said: dict[NodeId, Any] = {}

    def heard(self, node_id: NodeId, said: Any) -> None:
        """A node has measured itself; see `Sample.to_wire`."""
        self._said[node_id] = said
        state = self._engine.state
        if state.policy.rebalance.thresholds or state.pressure.used:
            found = self._pressures.heard(state, node_id, Sample.from_wire(said), self._engine.now_us())
            if found is not None:
                self._post(found)

    def gone(self, node_id: NodeId) -> None:
        """A node is lost."""
        self._said.pop(node_id, None)
        self._pressures.gone(node_id)

    def of(self, node_id: NodeId) -> Sample:
        """The newest sample of a node; an empty one where it has said nothing."""
        said = self._said.get(node_id)
        return Sample() if said is None else Sample.from_wire(said)

    def told(self, standing: NodeStanding) -> NodeStanding:
        """How a node stands, with what it measured."""
        found = self.of(NodeId(standing.id))
        return replace(
            standing,
            loads=tuple(sorted(found.loads.items())),
            rates=tuple(sorted(found.rates.items())),
            uses=tuple((use.key, use.attempt, use.cpu, use.memory) for use in found.uses),
            gpus=found.gpus,
            measured_us=found.at_us,
        )
