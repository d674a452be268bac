"""What a member of a gang knows of the others."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from kos_ray.model.gang import Membership, owner_of
from kos_ray.model.wire import from_plain

T = TypeVar("T")


class Gang:
    """The gang of the attempt that runs here, as it is now. Ask `context().gang` again to see what has changed."""

    def __init__(self, found: Membership) -> None:
        self.name = found.name
        #: this member's number, from 0, and how many members there are
        self.rank = found.rank
        self.size = found.size
        #: counts the starts of the gang, from 1: all members that run are of one round
        self.round = found.round
        #: the node of each member by rank, "" of those that do not run
        self.nodes = found.nodes or ("",) * found.size
        #: ranks of members whose share others have taken over: they were lost, or their gang has shrunk
        self.lost = tuple(rank for rank, _ in found.losses)
        self._losses = found.losses

    def owns(self, item: int) -> bool:
        """Whether item number `item` (from 0) of the gang's work belongs to this member.

        Items are dealt out in turn by rank. A lost member's are dealt out in turn among those that were left; nothing
        else moves then. They are its own again when it comes back to a gang that had shrunk.
        """
        return owner_of(item, self.size, self._losses) == self.rank

    def share(self, items: Iterable[T]) -> list[T]:
        """Those of the gang's items that belong to this member; every member has to be given the same items."""
        return [item for number, item in enumerate(items) if self.owns(number)]

    def __repr__(self) -> str:
        return f"<Gang {self.name} rank {self.rank} of {self.size}, round {self.round}>"


def read_gang(path: Path) -> Gang | None:
    """The gang that the node agent wrote down for an attempt; None where it belongs to none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    plain = json.loads(text)
    plain["losses"] = tuple((rank, tuple(heirs)) for rank, heirs in plain.get("losses", ()))
    plain["nodes"] = tuple(plain.get("nodes", ()))
    return Gang(from_plain(Membership, plain))
