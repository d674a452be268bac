"""What nodes measured of themselves, for people."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from kos_ray.model.sample import BATTERY, KINDS, WHOLE, share
from kos_ray.model.views import NodeStanding, NodeView


def with_loads(nodes: Iterable[NodeView], standings: Iterable[NodeStanding]) -> list[NodeView]:
    """Nodes with what they measured last."""
    said = {standing.id: standing for standing in standings if standing.id}
    return [replace(node, **_measured(said[node.id])) if node.id in said else node for node in nodes]


def _measured(standing: NodeStanding) -> dict[str, Any]:
    return {"loads": standing.loads, "rates": standing.rates, "gpus": standing.gpus}


def percent(kind: str, load: int) -> str:
    """`memory 62 %`; of a battery what is left."""
    return share(kind, WHOLE - load if kind == BATTERY else load)


def loads_text(loads: Sequence[tuple[str, int]]) -> str:
    """`cpu 45 %, memory 62 %`, in the order of the kinds."""
    known = dict(loads)
    return ", ".join(percent(kind, known[kind]) for kind in KINDS if kind in known)
