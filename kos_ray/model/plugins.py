"""What the engine and a plug-in's process say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kos_ray.model.ids import JobKey

#: the entry points that plug-ins are found by: those that rank each job for itself, and those that rank whole graphs
ENTRY_POINTS = "kos_ray.disciplines"
GRAPH_ENTRY_POINTS = "kos_ray.graph_disciplines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Where do these tasks stand? Each is a mapping for the plug-in (see docs/plugins.md), with its key in `keys`."""

    number: int
    keys: tuple[JobKey, ...]
    tasks: tuple[dict[str, Any], ...]
    #: `now`, seconds since the epoch, and `capacity`: what all nodes have together, by resource
    cluster: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The same as a mapping; nothing is copied."""
        return {"number": self.number, "keys": self.keys, "tasks": self.tasks, "cluster": self.cluster}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """An answer: ranks by key, the lowest goes first. Number 0 says that the process is up and has loaded the plug-in.

    `failed` is what went wrong, "" where nothing did; then it is the last one.
    """

    plugin: str
    number: int = 0
    keys: tuple[JobKey, ...] = ()
    ranks: tuple[int, ...] = ()
    failed: str = ""
