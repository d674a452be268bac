"""Nodes as the scheduler sees them."""

from dataclasses import dataclass, field

from kos_ray.model.ids import NodeId
from kos_ray.model.resources import Resources


@dataclass(frozen=True, slots=True)
class Node:
    """A Ray node: what it has in all, and what people call it."""

    id: NodeId
    name: str
    resources: Resources
    labels: tuple[tuple[str, str], ...] = field(default=())
    head: bool = False
    #: which life of its node agent: attempts sent to an earlier one are lost
    incarnation: str = ""
    #: of what its agent runs: `(name, version)` of kos_ray, Python and Ray
    versions: tuple[tuple[str, str], ...] = ()
