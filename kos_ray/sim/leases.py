"""The lease of a fake agent: until when exclusive work may go on there, by a clock that runs as fast as it likes.

What is drawn here comes from a stream of its own (`World.aside`), so that worlds without exclusive work keep their
histories.
"""

from collections.abc import Callable

from kos_ray.model.protocol import Renew, Renewed
from kos_ray.sim.machine import Machine
from kos_ray.sim.network import Network
from kos_ray.sim.world import MS_US, World

#: a slot that has no lease yet asks again after so long
AGAIN_US = 100 * MS_US
#: a kernel's timer fires late by no more
_LATE_US = 10 * MS_US
#: how far clocks may run apart, in thousandths: a lease and a tenth more must do
_RATES = (915, 1_000, 1_085)


class NodeLease:
    """As `runtime.agent.leases`: asks when a third of what it has is over, and counts from before it asked."""

    def __init__(
        self, world: World, network: Network, machine: Machine, incarnation: str, epoch: Callable[[], int]
    ) -> None:
        self._renew = Renew(node=machine.id, incarnation=incarnation)
        self._world = world
        self._network = network
        self._epoch = epoch
        #: thousandths of a second of the scheduler's in one of this machine's
        self._rate = world.aside.choice(_RATES)
        self._asking = False
        self._until_us = 0
        self._length_us = 0

    def left_us(self) -> int:
        """How long work may go on from now; asks for more where it is time."""
        left_us = self._until_us - self._world.now_us
        if left_us <= self._length_us * 2 // 3 and not self._asking:
            self._ask()
        return left_us

    def late_us(self) -> int:
        """By how much the end of a process comes later than the end of its lease."""
        return self._world.aside.randint(0, _LATE_US)

    def _ask(self) -> None:
        self._asking = True
        asked_us = self._world.now_us
        self._network.renew(self._renew, lambda answer: self._answered(asked_us, answer))
        self._world.after(AGAIN_US * 10, self._gives_up)

    def _gives_up(self) -> None:
        self._asking = False

    def _answered(self, asked_us: int, answer: Renewed) -> None:
        if answer.epoch >= self._epoch() and answer.lease_ms:
            self._length_us = answer.lease_ms * MS_US * self._rate // 1_000
            self._until_us = max(self._until_us, asked_us + self._length_us)
        self._asking = False
