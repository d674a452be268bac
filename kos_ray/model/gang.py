"""Gangs: jobs that start together or not at all, and what becomes of them when one of them is lost.

A cooperative bundle is a gang of jobs of different shapes. Members are numbered by *rank*, in the order in which they
were submitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

#: members of one gang
GANG_MAX = 1_024
#: what has to be said with `preemption: shrink`, for errors
SHRINK_NEEDS = "gang: {min: ...}"


class GangMode(IntEnum):
    """How many members have to fit at once before any of them starts. Stored in journals."""

    ALL = 0
    QUORUM = 1  #: so many as are said; the others join when they fit
    BEST_EFFORT = 2  #: whoever fits starts


class OnFailure(IntEnum):
    """What happens when a member fails or is lost. Stored in journals."""

    REPLACE = 0  #: it runs again as its `retry` allows; when too few are left, all of them start again together
    ABORT = 1  #: the whole gang is over
    COMPENSATE = 2  #: it is over, and the others take its share of the work over


@dataclass(frozen=True, slots=True, kw_only=True)
class GangSpec:
    """A gang as a client asks for it, on each array that belongs to it."""

    #: members of each gang that an array is cut into; 0: all of its items are one
    size: int = 0
    #: so many have to fit at once; counts with QUORUM only
    least: int = 0
    mode: GangMode = GangMode.ALL
    on_failure: OnFailure = OnFailure.REPLACE
    #: arrays of one submission with the same name are one gang, "" for an array of its own
    bundle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a member is told of its gang, when it starts and whenever that changes."""

    name: str
    rank: int
    size: int
    #: counts the starts of the gang, from 1: members of different rounds never run together
    round: int = 1
    #: the nodes by rank, "" where a member does not run
    nodes: tuple[str, ...] = ()
    #: members whose share others have taken over, in that order: `(rank, ranks of those who took it over)`; of those
    #: that shrank away, until they are back
    losses: tuple[tuple[int, tuple[int, ...]], ...] = ()


def owner_of(item: int, size: int, losses: Sequence[tuple[int, Sequence[int]]]) -> int:
    """The rank that item number `item` of a gang's work belongs to: dealt out in turn, a lost member's share as well.

    A further loss moves nothing but the share of who was lost.
    """
    rank, turn = item % size, item // size
    for lost, heirs in losses:
        if rank == lost and heirs:
            rank = heirs[turn % len(heirs)]
    return rank
