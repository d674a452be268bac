"""Events about nodes: they come and go, and people and their agents say things of them."""

from dataclasses import dataclass

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.node import Mark, Node
from kos_ray.model.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesJoined:
    """Nodes with a node agent that answers; a known id with other resources is an update."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLost:
    """A node's death is proven, or its agent is gone: what was there is lost."""

    node: NodeId
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCondition:
    """How a node is now, as far as that decides what may start there."""

    node: NodeId
    #: percent, in steps; -1 where it has none, or is being charged
    battery: int = -1
    #: bytes that are free on each GPU
    gpu_free: tuple[int, ...] = ()
    #: its agent has not answered for two heartbeats
    silent: bool = False
    #: its agent is of another version and is to be replaced: 0, `node.RETIRES` or `node.RETIRES_NOW`
    retires: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePressed:
    """Something has been short on a node for long enough; said again once a minute while it is. See `rebalance`."""

    node: NodeId
    #: what is short, and how much of it is used: thousandths of what the node has; of a battery, what is gone
    kinds: tuple[str, ...]
    loads: tuple[int, ...]
    #: attempts that run there, and what each uses of these kinds; -1 where that is not measured
    keys: tuple[JobKey, ...] = ()
    attempts: tuple[int, ...] = ()
    uses: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCalm:
    """Nothing is short there any more; said again once a minute while something waits that was moved away from it."""

    node: NodeId
    #: how much is used, of the kinds that have a threshold
    kinds: tuple[str, ...] = ()
    loads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsChanged:
    """Somebody says when something may be used, or time has gone on and more of that is known."""

    request_id: str
    windows: Windows
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesMarked:
    """Somebody cordons, drains or labels nodes: these are the whole marks of their names from now on."""

    request_id: str
    marks: tuple[Mark, ...]
    by: str = ""


NodeEvent = NodesJoined | NodeLost | NodeCondition | NodePressed | NodeCalm | WindowsChanged | NodesMarked
NODE_EVENTS = (NodesJoined, NodeLost, NodeCondition, NodePressed, NodeCalm, WindowsChanged, NodesMarked)
