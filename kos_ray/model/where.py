"""Where a job may run, and where it would rather: what its submission says about nodes. Stored in journals."""

from dataclasses import dataclass
from enum import IntEnum

from kos_ray.model.resources import Resources


class Strategy(IntEnum):
    """How a node is chosen among those that fit. Stored in journals."""

    DEFAULT = 0  #: the namespace's, or the cluster's
    PACK = 1  #: best fit: the node on which the least stays free
    SPREAD = 2  #: the node on which the most stays free, one job at a time
    FGD = 3  #: the node that is fragmented the least by it, measured by what waits and runs


@dataclass(frozen=True, slots=True, order=True)
class Selector:
    """A condition on one label of a node, as in Ray's label selectors.

    With values: the label has one of them. Without: the label is there. `negated`: the opposite; a node without the
    label meets that. A weight other than 0 makes it a preference.
    """

    label: str
    values: tuple[str, ...] = ()
    negated: bool = False
    weight: int = 0

    def met(self, value: str | None) -> bool:
        """Whether a label with this value (None: it is not there) is what is asked for."""
        there = value is not None and (not self.values or value in self.values)
        return there is not self.negated


@dataclass(frozen=True, slots=True, order=True)
class Neighbours:
    """A condition on what else runs where the job is to run.

    `words` name jobs: `job:NAME`, `tag:TAG`, `type:TYPE` of its own namespace, or `namespace:NAME`. It holds for each
    of them that runs: near one of them, or apart from all.
    """

    words: tuple[str, ...]
    #: "on the same node", or on nodes with the same value of this label
    by: str = ""
    apart: bool = False
    #: 0: it must be so
    weight: int = 0
    #: not where they run now, but where they have run: there is what they left
    past: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """All of it. The default asks for nothing."""

    labels: tuple[Selector, ...] = ()
    #: names of nodes (or of their hosts): one of these, and none of those
    nodes: tuple[str, ...] = ()
    not_nodes: tuple[str, ...] = ()
    jobs: tuple[Neighbours, ...] = ()
    strategy: Strategy = Strategy.DEFAULT
    #: other resources that would do as well, in order of preference
    alternatives: tuple[Resources, ...] = ()
    #: nodes that run on battery must have more than this, in percent
    battery: int = 0
    #: bytes that must be free on each GPU it is given
    gpu_memory: int = 0


ANYWHERE = Where()
