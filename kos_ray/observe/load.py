"""What of each node is held, and by what: the picture of `kos nodes` and `kos top`."""

from collections.abc import Mapping, Sequence

from kos_ray.model.views import ClusterStatus, JobView, NodeView
from kos_ray.observe.measured import loads_text
from kos_ray.observe.tables import Table, format_bytes, format_resources, short_node

#: states in which a job holds its resources on a node
HOLDING_STATES = ("running", "stopping")
_BAR = 10


def held(views: Sequence[JobView]) -> dict[str, dict[str, int]]:
    """What running jobs hold of each node, in 1/10 000."""
    found: dict[str, dict[str, int]] = {}
    for view in views:
        if view.node and view.state in HOLDING_STATES:
            amounts = found.setdefault(view.node, {})
            for name, amount in view.resources:
                amounts[name] = amounts.get(name, 0) + amount
    return found


def load_table(nodes: Sequence[NodeView], running: Sequence[JobView]) -> Table:
    """One row a node, the head first: what running jobs hold of it, and what it measured that is used."""
    holding = held(running)
    jobs: dict[str, int] = {}
    for view in running:
        jobs[view.node] = jobs.get(view.node, 0) + 1
    return Table(
        columns=("node", "name", "state", "jobs", "CPU", "GPU", "memory", "other", "used"),
        rows=tuple(_row(node, jobs.get(node.id, 0), holding.get(node.id, {})) for node in _ordered(nodes)),
        numbers=frozenset({"jobs"}),
    )


def _ordered(nodes: Sequence[NodeView]) -> list[NodeView]:
    return sorted(nodes, key=lambda node: (not node.alive, not node.head, node.id))


def _row(node: NodeView, jobs: int, holding: Mapping[str, int]) -> tuple[str, ...]:
    total = dict(node.resources)
    other = [(name, amount) for name, amount in node.resources if name not in ("CPU", "GPU", "memory")]
    state = "alive" if node.alive else f"lost: {node.cause}" if node.cause else "lost"
    return (
        short_node(node.id),
        f"{node.name} (head)" if node.head else node.name,
        state,
        str(jobs),
        *(share(name, holding.get(name, 0), total.get(name, 0)) for name in ("CPU", "GPU", "memory")),
        format_resources([one for one in other if not _of_ray(one[0])]),
        loads_text(node.loads),
    )


def _of_ray(name: str) -> bool:
    """Whether Ray made the resource for itself."""
    return name.startswith(("node:", "object_store_memory", "accelerator_type:"))


def share(name: str, used: int, total: int) -> str:
    """`███░░░░░░░ 1.5/4`, nothing where there is none."""
    if not total:
        return ""
    filled = min(round(used / total * _BAR), _BAR)
    bar = "█" * filled + "░" * (_BAR - filled)
    if name == "memory":
        return f"{bar} {format_bytes(used // 10_000)}/{format_bytes(total // 10_000)}"
    return f"{bar} {used / 10_000:g}/{total / 10_000:g}"


def summary(status: ClusterStatus) -> list[tuple[str, str]]:
    """The head lines of `kos top`."""
    jobs = ", ".join(f"{count} {state}" for state, count in sorted(status.jobs.items()) if count)
    alive = sum(node.alive for node in status.nodes)
    return [
        ("jobs", jobs or "none yet"),
        ("nodes", f"{alive} alive, {len(status.nodes) - alive} lost"),
        ("journal", f"event {status.seq}, {format_bytes(status.journal_bytes)} + {format_bytes(status.wal_bytes)} WAL"),
    ]
