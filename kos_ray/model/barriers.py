"""Barriers: parties that wait for one another, round after round."""

from dataclasses import dataclass
from enum import IntEnum

from kos_ray.model.locks import Party

#: parties of one barrier, and of all of them
PARTIES_MAX = 10_000
ALL_PARTIES_MAX = 100_000


class OnLoss(IntEnum):
    """What becomes of a barrier when a party is lost. Stored in journals."""

    BREAK = 0  #: those who wait are told who it was
    GO_ON = 1  #: the others go on without it


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierJoined:
    """A party takes part from now on."""

    ticket: str
    #: namespace, NUL, name
    barrier: str
    party: Party
    #: so many take part; in batches: so many go on together, whoever they are
    parties: int
    batch: bool = False
    on_loss: int = OnLoss.BREAK
    ttl_ms: int = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierReached:
    """A party waits for the others, for the `number`th time, counted from 1."""

    ticket: str
    number: int
    until_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierLeft:
    """Parties take part no more: they are done, or else they failed."""

    tickets: tuple[str, ...]
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBarrier:
    """These go on together: the round of that number is over."""

    barrier: str
    round: int
    tickets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakBarrier:
    """Nobody goes on any more: a party was lost, or one had waited long enough; `told` names it."""

    barrier: str
    reason: int
    told: str = ""


BarrierEvent = BarrierJoined | BarrierReached | BarrierLeft
BarrierDecision = OpenBarrier | BreakBarrier
BARRIER_EVENTS: tuple[type, ...] = (BarrierJoined, BarrierReached, BarrierLeft)
BARRIER_DECISIONS: tuple[type, ...] = (OpenBarrier, BreakBarrier)
