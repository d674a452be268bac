"""Snapshots of agents: every save of an agent's state is one, by its content, with the one that it came from."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.payload import BlobRef, open_payload

#: why one was taken: after so many messages, before the agent goes, by the clock, because somebody asked
STEP = "step"
SUSPEND = "suspend"
SCHEDULE = "schedule"
ASKED = "asked"
#: so many of one agent are kept, where it says nothing
SNAPSHOTS_KEPT = 20
#: digits of an id as people see it
ID_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state that an agent has saved. It can be restored as soon as it is known."""

    #: SHA-256 of the saved bytes
    hash: str
    #: the one that the agent had been restored from, or had saved last, "" where that was none
    parent: str = ""
    at_us: int
    why: str
    size: int  #: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRolledBack:
    """Somebody wants an agent to go on from a snapshot: with that its next attempt begins. One that runs is to end."""

    request_id: str
    key: str
    snapshot: str
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSaveAsked:
    """Somebody wants an agent that runs to save its state now."""

    request_id: str
    key: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsUnsaved:
    """Attempts that carry agents were asked to save their state, and could not: `texts` say why. Columns."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveAgents:
    """Ask attempts on a node that carry agents to save their state now. A decision."""

    node: NodeId
    keys: tuple[JobKey, ...]
    attempts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetSnapshots:
    """An agent has newer ones than these: nobody can go back to them any more. `key` is its carrier. A decision."""

    key: JobKey
    hashes: tuple[str, ...]


SnapshotEvent = AgentRolledBack | AgentSaveAsked | AgentsUnsaved
SNAPSHOT_EVENTS: tuple[type, ...] = (AgentRolledBack, AgentSaveAsked, AgentsUnsaved)


def contents(payload: bytes) -> tuple[str, int]:
    """SHA-256 and size of what a payload carries, inline or as a reference."""
    carried = open_payload(payload)
    if isinstance(carried, BlobRef):
        return carried.hash, carried.size
    data = carried or b""
    return hashlib.sha256(data).hexdigest(), len(data)


def short(hash_: str, others: Iterable[str]) -> str:
    """The id of a snapshot as people see it: the first digits of its hash, more where others begin like it."""
    rivals = [other for other in others if other != hash_]
    digits = ID_DIGITS
    while any(other.startswith(hash_[:digits]) for other in rivals):
        digits += 1
    return hash_[:digits]
