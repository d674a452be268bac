"""Nodes on which something is short, and what was moved away from them: what is known of it. See `on_pressure.py`."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.reasons import Reason

#: attempts that are stopped for these reasons leave a node that is pressed
AWAY = (Reason.MOVED, Reason.SUSPENDED)
MINUTE_US = 60_000_000
#: a use that was not measured
UNKNOWN = -1
Shares = dict[str, int]


class Pressed(NamedTuple):
    """What a node said when it was pressed: shares in thousandths by kind, and of them those of each attempt."""

    loads: Shares
    uses: dict[JobKey, tuple[int, Shares]]
    #: attempts that were asked to leave since
    asked: int = 0


class Moved(NamedTuple):
    """An attempt's job that was moved: from where, until when it rests, and what it used there."""

    node: NodeId
    until_us: int
    used: Shares
    #: it may start there again
    back: bool = False


@dataclass(slots=True)
class Pressure:
    """See the module."""

    nodes: dict[NodeId, Pressed] = field(default_factory=dict)
    #: what calm nodes use to which some that were moved may come back, with those that have
    calm: dict[NodeId, Shares] = field(default_factory=dict)
    moved: dict[JobKey, Moved] = field(default_factory=dict)
    #: when attempts were moved in the last minute, the first first
    lately: list[int] = field(default_factory=list)

    @property
    def used(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.nodes or self.moved)

    def forget(self, node: NodeId) -> None:
        """A node is lost."""
        self.nodes.pop(node, None)
        self.calm.pop(node, None)

    def awaited(self, node: NodeId) -> bool:
        """Whether something that was there waits until it may come back."""
        return any(moved.node == node and not moved.back for moved in self.moved.values())

    def within_minute(self, now_us: int) -> list[int]:
        """When attempts were moved within the last minute."""
        return [at_us for at_us in self.lately if at_us > now_us - MINUTE_US]


# --- snapshots


def to_snapshot(pressure: Pressure) -> Any:
    """Plain data."""
    return {
        "nodes": [
            (node, dict(one.loads), [(key, *said) for key, said in one.uses.items()], one.asked)
            for node, one in pressure.nodes.items()
        ],
        "calm": [(node, dict(loads)) for node, loads in pressure.calm.items()],
        "moved": [(key, one.node, one.until_us, dict(one.used), one.back) for key, one in pressure.moved.items()],
        "lately": list(pressure.lately),
    }


def from_snapshot(plain: Any) -> Pressure:
    """The inverse; snapshots of before have nothing of it."""
    if not plain:
        return Pressure()
    return Pressure(
        nodes={
            NodeId(node): Pressed(
                dict(loads), {JobKey(key): (attempt, dict(shares)) for key, attempt, shares in uses}, asked
            )
            for node, loads, uses, asked in plain["nodes"]
        },
        calm={NodeId(node): dict(loads) for node, loads in plain["calm"]},
        moved={
            JobKey(key): Moved(NodeId(node), until_us, dict(used), back)
            for key, node, until_us, used, back in plain["moved"]
        },
        lately=list(plain["lately"]),
    )
