"""Node agents of another version of kos_ray than the scheduler: drained and replaced, some at a time.

Protocol N and N-1 understand each other, so an agent of the version before goes on, and is used. One after another they
*retire*: a node that retires gets nothing new, what runs there goes on to its end, and is asked to give way when
`GRACE_S` are over; then the agent is ended, and the next one is of the version that is installed on its node.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import kos_ray
from kos_ray.model.events import NodeCondition
from kos_ray.model.ids import NodeId
from kos_ray.model.node import RETIRES, RETIRES_NOW
from kos_ray.model.protocol import PROTOCOL, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Holding
from kos_ray.scheduler.state import NodeState

#: seconds that what runs on a node may go on before it is asked to give way
GRACE_S = 600.0
#: one node of so many retires at a time, and at least one
_ONE_OF = 4


def installed() -> str:
    """The version of kos_ray that a process which is started here now would run."""
    try:
        return version("kos_ray")
    except PackageNotFoundError:  # a copy of the source
        return kos_ray.__version__


def misfit(holding: Holding, ours: str) -> str:
    """Why a scheduler of this version cannot serve an agent, "" where it can."""
    if PROTOCOL_OLDEST <= holding.protocol <= PROTOCOL_NEWEST:
        return ""
    theirs = dict(holding.versions).get("kos_ray", "unknown")
    return (
        f"its agent (kos_ray {theirs}) speaks protocol {holding.protocol}, this scheduler (kos_ray {ours}) speaks "
        f"{PROTOCOL} and understands {PROTOCOL_OLDEST} to {PROTOCOL_NEWEST}: install the same kos_ray on all nodes, "
        "then kos doctor --fix has the agent replaced"
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now: nodes that are said to retire (or not), and nodes whose agents are to be ended."""

    said: tuple[NodeCondition, ...] = ()
    over: tuple[NodeId, ...] = ()


class Replacements:
    """Which agents are replaced when. Each is replaced once: its node may have nothing newer installed."""

    def __init__(self, ours: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._version = ours
        self._clock = clock
        self._done: set[NodeId] = set()
        self._since: dict[NodeId, float] = {}

    def look(self, nodes: Iterable[NodeState]) -> Step:
        """What is due, of nodes that the scheduler has links to."""
        known = list(nodes)
        said: list[NodeCondition] = []
        over: list[NodeId] = []
        for node in known:
            if not node.retires:
                continue
            if not self._wanted(node):
                said.append(condition(node, retires=0))
            elif not any(lane.held for lane in node.lanes.values()):
                self._done.add(node.node.id)
                over.append(node.node.id)
            elif node.retires < RETIRES_NOW and self._waited_s(node) >= GRACE_S:
                said.append(condition(node, retires=RETIRES_NOW))
        retiring = sum(bool(node.retires) for node in known)
        room = max(1, len(known) // _ONE_OF) - retiring
        waiting = sorted((node for node in known if not node.retires and self._wanted(node)), key=_load)
        said += [condition(node, retires=RETIRES) for node in waiting[: max(0, room)]]
        return Step(tuple(said), tuple(over))

    def _wanted(self, node: NodeState) -> bool:
        return dict(node.node.versions).get("kos_ray") != self._version and node.node.id not in self._done

    def _waited_s(self, node: NodeState) -> float:
        now = self._clock()
        return now - self._since.setdefault(node.node.id, now)


def condition(node: NodeState, *, silent: bool | None = None, retires: int | None = None) -> NodeCondition:
    """How a node is now, with what is new."""
    return NodeCondition(
        node=node.node.id,
        battery=node.battery,
        gpu_free=node.gpu_free,
        silent=node.silent if silent is None else silent,
        retires=node.retires if retires is None else retires,
    )


def _load(node: NodeState) -> tuple[int, str]:
    return sum(len(lane.held) for lane in node.lanes.values()), node.node.id
