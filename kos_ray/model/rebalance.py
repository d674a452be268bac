"""Settings of rebalancing: from which share on a node is pressed, and what may be moved away from it then."""

from dataclasses import dataclass

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A node is pressed from `high` on, calm again at `low`: thousandths that are used, of a battery that are gone."""

    kind: str
    high: int
    low: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalance:
    """Without a threshold nothing is ever pressed, and nothing moved."""

    thresholds: tuple[Threshold, ...] = ()
    #: so many measurements in a row, one a heartbeat, say it before it counts
    after: int = 2
    #: attempts that are moved within a minute, in the whole cluster
    moves_per_minute: int = 4
    #: what was moved is not moved again, nor starts where it was, for so long
    rest_us: int = 10 * _MINUTE_US
    #: whether jobs that save their state are moved as well, and agents that save nothing; not only agents that save it
    jobs: bool = False
