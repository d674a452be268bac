"""What a node measures of itself with each heartbeat. It is no event: only what crosses a threshold is one.

A kind that a node cannot measure is not there. Shares are thousandths: of what the node has, how much is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from kos_ray.model.gpu import GpuReading
from kos_ray.model.wire import from_plain, to_plain

#: kinds of shares, as settings and people call them; of a battery it is what is gone, and only while nothing charges it
CPU, MEMORY, GPU, GPU_MEMORY = "cpu", "memory", "gpu", "gpu_memory"
NETWORK, DISK, BATTERY = "network", "disk", "battery"
KINDS = (CPU, MEMORY, GPU, GPU_MEMORY, NETWORK, DISK, BATTERY)
WHOLE = 1_000


def share(kind: str, thousandths: int) -> str:
    """`memory 62 %`."""
    return f"{kind.replace('_', ' ')} {thousandths / 10:.0f} %"


class Use(NamedTuple):
    """What one attempt's processes use: shares of the node by kind, thousandths of a core, and bytes."""

    key: int
    attempt: int
    loads: Mapping[str, int]
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a node."""

    #: shares by kind
    loads: Mapping[str, int] = field(default_factory=dict)
    #: bytes a second: received, sent, read, written
    rates: Mapping[str, int] = field(default_factory=dict)
    uses: tuple[Use, ...] = ()
    gpus: tuple[GpuReading, ...] = ()
    #: when, by the node's own clock: two with the same instant are one measurement; 0 where that is not known
    at_us: int = 0

    def to_wire(self) -> tuple[Any, ...]:
        """What travels with a heartbeat."""
        return (
            dict(self.loads),
            dict(self.rates),
            tuple(map(tuple, self.uses)),
            tuple(map(to_plain, self.gpus)),
            self.at_us,
        )

    @classmethod
    def from_wire(cls, said: Any) -> "Sample":
        """The inverse; what a later version says besides is passed over."""
        loads, rates, uses, *more = said
        found = cls(loads=loads, rates=rates, uses=tuple(Use(*use[:5]) for use in uses))
        if len(more) < 2:
            return found
        return replace(found, gpus=tuple(from_plain(GpuReading, one) for one in more[0]), at_us=more[1])
