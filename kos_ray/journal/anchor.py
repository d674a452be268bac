"""Anchors: a place in the chain of frames, written down elsewhere.

The chain proves that no frame was changed or left out between two others. That the newest ones were cut off, or all of
them written anew, only somebody can tell who has kept a hash: the anchor.
"""

import re
import sqlite3
from dataclasses import dataclass

from kos_ray.journal import chain
from kos_ray.journal.base import anchored
from kos_ray.journal.codec import genesis
from kos_ray.model.errors import InvalidSpec

_FORM = re.compile(r"([0-9a-f]{64})@(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The hash (in hexadecimal) of the frame that ends with the sequence number `seq`; as text `HASH@SEQ`."""

    hash: str
    seq: int

    def __str__(self) -> str:
        return f"{self.hash}@{self.seq}"


def parse_anchor(text: str) -> Anchor:
    """The anchor that a text stands for.

    Raises:
        InvalidSpec: it has another form.

    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise InvalidSpec(f"anchor: expected HASH@SEQ as `kos audit anchor` prints it, found {text!r}")
    return Anchor(found[1], int(found[2]))


def newest_anchor(connection: sqlite3.Connection) -> Anchor:
    """The anchor of the newest frame; of an empty journal, what its first frame will name as the hash before it."""
    newest = chain.last(connection)
    if newest is None:
        return Anchor(genesis(chain.first_id(connection)).hex(), 0)
    return Anchor(newest.hash.hex(), newest.last_seq)


def missing(connection: sqlite3.Connection, anchor: Anchor) -> str:
    """Why a journal does not hold an anchor, "" where it does. The chain itself is for `verify` to prove."""
    if anchor.seq == 0:
        found = genesis(chain.first_id(connection)).hex()
        return "" if found == anchor.hash else f"anchor {anchor}: this journal begins with {found}: it is another one"
    stored = chain.holding(connection, anchor.seq)
    begin = anchored(connection)
    if begin is not None and anchor.seq <= begin.seq and stored is None:
        if (anchor.seq, anchor.hash) == (begin.seq, begin.hash):
            return ""
        return f"anchor {anchor}: retention removed what was before {begin.hash}@{begin.seq}: take that one, or a newer"
    if stored is None:
        end = newest_anchor(connection).seq
        return f"anchor {anchor}: the journal ends with {end}: frames that it had were cut off"
    if stored.last_seq != anchor.seq:
        return f"anchor {anchor}: no frame ends there, {stored.place} does not: it is another history"
    same = stored.hash.hex() == anchor.hash
    return "" if same else f"anchor {anchor}: {stored.place} has hash {stored.hash.hex()}: it is another history"
