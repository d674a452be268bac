"""How nodes stand: the picture of `kos node ls`."""

from collections.abc import Sequence

from kos_ray.model.views import NodeStanding
from kos_ray.observe.tables import Table, format_resources

#: labels that say nothing that another column does not
_PLAIN = ("host", "kos/name")


def standings_table(nodes: Sequence[NodeStanding]) -> Table:
    """One row a node, those first on which something may start."""
    return Table(
        columns=("node", "state", "attempts", "free", "labels", "note"),
        rows=tuple(
            _row(node) for node in sorted(nodes, key=lambda node: (not node.id, node.state != "open", node.name))
        ),
        numbers=frozenset({"attempts"}),
    )


def _row(node: NodeStanding) -> tuple[str, ...]:
    labels = ", ".join(f"{name}={value}" for name, value in node.labels if name not in _PLAIN)
    free = [(name, amount) for name, amount in node.free if name in ("CPU", "GPU", "memory")]
    said = " ".join(
        part for part in (node.note, f"({node.by})" if node.by and (node.note or node.cordoned) else "") if part
    )
    return (node.name, node.state, str(node.attempts), format_resources(free), labels, said)
