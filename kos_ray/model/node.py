"""Nodes as the scheduler sees them."""

from dataclasses import dataclass, field

from kos_ray.model.ids import NodeId
from kos_ray.model.resources import Resources

#: the label that every node gets: its machine's name, which it keeps when Ray gives it another id
HOST = "host"
#: labels of nodes with GPUs: their type, and bytes of memory of each
GPU_TYPE, GPU_MEMORY = "gpu", "gpu-memory"
#: and the one by which whoever starts a node names it: `ray start --labels kos/name=gpu-7`
NAME = "kos/name"
#: a node whose agent is to be replaced: nothing new starts there; and what runs is asked to give way
RETIRES, RETIRES_NOW = 1, 2


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

    @property
    def host(self) -> str:
        """The machine it is on, as far as it is known."""
        return dict(self.labels).get(HOST, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What people say of the node with a name, or of all nodes of the host with that name. It outlives them."""

    name: str
    #: nothing new starts there
    cordoned: bool = False
    #: and what runs there is asked to give way
    draining: bool = False
    #: why, and who said so
    note: str = ""
    by: str = ""
    #: labels besides the node's own, which they replace; "" takes one away
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def says_nothing(self) -> bool:
        """Whether it can be forgotten."""
        return self == Mark(name=self.name, note=self.note, by=self.by)
