"""Machines as they really are. They play Ray: a slot is admitted when there is room beside everything that runs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kos_ray.model.ids import NodeId
from kos_ray.model.node import Node
from kos_ray.model.resources import Resources, add
from kos_ray.model.sample import MEMORY, WHOLE, Sample, Use
from kos_ray.sim.world import Violation

if TYPE_CHECKING:
    from kos_ray.sim.agent import Agent
    from kos_ray.sim.slots import Attempt

#: shares of a node's memory that attempts use, in thousandths: each so much, and up to so much more
_BASE, _OF_AGENTS, _OF_JOBS = 2, 150, 20


class Claim:
    """A wish for room: `start` is called when it is granted, unless it was withdrawn."""

    __slots__ = ("granted", "resources", "start", "withdrawn")

    def __init__(self, resources: Resources, start: Callable[[], None]) -> None:
        self.resources = resources
        self.start = start
        self.granted = False
        self.withdrawn = False


class Machine:
    """One Ray node: its capacity, who uses it, and the agent that lives on it."""

    def __init__(self, node_id: str, name: str, resources: Resources) -> None:
        self.id = NodeId(node_id)
        self.name = name
        self.resources = resources
        #: runs at all
        self.alive = True
        #: stands in Ray's list of living nodes, which lags
        self.listed = True
        #: no message gets through, in either direction
        self.cut = False
        self.agent: Agent | None = None
        self.births = 0
        #: processes that were started on it
        self.processes = 0
        #: what others have taken
        self.foreign: dict[str, int] = {}
        #: the share of its memory that others use, in thousandths
        self.hog = 0
        self._capacity = dict(resources.amounts)
        self._used: dict[str, int] = {}
        self._claims: list[Claim] = []

    def node(self, incarnation: str) -> Node:
        """The machine as its scheduler is told of it."""
        return Node(id=self.id, name=self.name, resources=self.resources, incarnation=incarnation)

    def free(self) -> dict[str, int]:
        """What nobody uses."""
        return {
            name: amount - self._used.get(name, 0) - self.foreign.get(name, 0)
            for name, amount in self._capacity.items()
        }

    def measured(self, attempts: "Sequence[Attempt]", at_us: int) -> Sample:
        """What it uses of its memory, and what these attempts use: the agents among them most of it."""
        shares = [(one, _BASE + (_OF_AGENTS if one.carries else _OF_JOBS) * (one.key % 7) // 6) for one in attempts]
        uses = tuple(Use(one.key, one.number, {MEMORY: share}, 0, 0) for one, share in shares)
        used = min(WHOLE, self.hog + sum(share for _, share in shares))
        return Sample(loads={MEMORY: used}, uses=uses, at_us=at_us)

    def ask(self, claim: Claim) -> None:
        """Wish for room; granted in the order of the wishes as far as they fit."""
        self._claims.append(claim)
        self._grant()

    def give_back(self, claim: Claim) -> None:
        """End a wish, or the use of what it was granted."""
        if claim.withdrawn:
            return
        claim.withdrawn = True
        if claim.granted:
            add(self._used, claim.resources, -1)
            self._grant()
        else:
            self._claims.remove(claim)

    def others_take(self, share: float) -> bool:
        """Other users take a share of what is free; False when nothing is."""
        taken = {name: int(amount * share) for name, amount in self.free().items()}
        for name, amount in taken.items():
            self.foreign[name] = self.foreign.get(name, 0) + amount
        return any(taken.values())

    def others_leave(self) -> None:
        """Other users are gone."""
        self.foreign = {}
        self._grant()

    def _grant(self) -> None:
        for claim in list(self._claims):
            if claim.withdrawn or not claim.resources.fits(self.free()):
                continue
            self._claims.remove(claim)
            claim.granted = True
            add(self._used, claim.resources, 1)
            if any(amount < 0 for amount in self.free().values()):
                raise Violation(f"slots exceed the machine: {self.name}")
            claim.start()
