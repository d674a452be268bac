"""Jobs and their dependencies as a graph, and the graph as text: dot (Graphviz), mermaid, ascii."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from kos_ray.model.ids import split_item_id
from kos_ray.model.views import JobView
from kos_ray.observe.tables import label

#: fill colours of states, for paper and screens alike
FILLS = {
    "blocked": "#e5e7eb",
    "ready": "#fef9c3",
    "backoff": "#fed7aa",
    "held": "#ddd6fe",
    "launched": "#bfdbfe",
    "running": "#93c5fd",
    "stopping": "#fed7aa",
    "succeeded": "#bbf7d0",
    "failed": "#fca5a5",
    "cancelled": "#d1d5db",
    "skipped": "#f3f4f6",
    "lost": "#f87171",
}
_OTHER = "#ffffff"
#: the state that stands for an array is the first of these that one of its jobs is in
_RANK = (
    "failed",
    "lost",
    "running",
    "stopping",
    "launched",
    "backoff",
    "ready",
    "held",
    "blocked",
    "cancelled",
    "skipped",
)


#: signs that mean something to Mermaid inside of quotes
_ENTITIES = {"#": "#35;", "&": "#38;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\n": " "}


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A job, or an array as one: `state` is what stands for it, `text` says how many are in which state."""

    id: str
    label: str
    state: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes by id, and edges `(parent, child, kind)`: ok, any or not_ok; `submits` to what a job submitted itself."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[str, str, str], ...]


def job_graph(views: Iterable[JobView]) -> Graph:
    """The graph of jobs; items of an array are one node, and parents that are not among the views are left out."""
    groups: dict[str, list[JobView]] = {}
    for view in sorted(views, key=lambda view: view.key):
        groups.setdefault(split_item_id(view.id)[0], []).append(view)
    edges: dict[tuple[str, str, str], None] = {}
    for group, members in groups.items():
        for view in members:
            for parent, kind in (*view.after, *([(view.parent, "submits")] if view.parent else [])):
                above = split_item_id(parent)[0]
                if above in groups and above != group:
                    edges[above, group, kind] = None
    return Graph(nodes=tuple(_node(group, members) for group, members in groups.items()), edges=tuple(edges))


def connected(views: Sequence[JobView], ref: str) -> list[JobView]:
    """The jobs that the job `ref` (a public id) depends on or that depend on it, at any distance, with itself."""
    graph = job_graph(views)
    ups: dict[str, set[str]] = {}
    downs: dict[str, set[str]] = {}
    for parent, child, _ in graph.edges:
        ups.setdefault(child, set()).add(parent)
        downs.setdefault(parent, set()).add(child)
    start = split_item_id(ref)[0]
    wanted = _reach(start, ups) | _reach(start, downs)
    return [view for view in views if split_item_id(view.id)[0] in wanted]


def _reach(start: str, steps: Mapping[str, set[str]]) -> set[str]:
    seen, stack = {start}, [start]
    while stack:
        for other in steps.get(stack.pop(), set()) - seen:
            seen.add(other)
            stack.append(other)
    return seen


def _node(group: str, members: Sequence[JobView]) -> GraphNode:
    first = members[0]
    if split_item_id(first.id)[1] is None:
        return GraphNode(id=group, label=label(first), state=first.state, text=first.state)
    counts: dict[str, int] = {}
    for view in members:
        counts[view.state] = counts.get(view.state, 0) + 1
    return GraphNode(
        id=group,
        label=f"{first.name or group} x{len(members)}",
        state=next((state for state in _RANK if state in counts), first.state),
        text=", ".join(f"{count} {state}" for state, count in sorted(counts.items())),
    )


def to_dot(graph: Graph) -> str:
    """The graph in Graphviz's language."""
    names = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["digraph jobs {", "  rankdir=LR;", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for node in graph.nodes:
        text = f"{_dot(node.label)}\\n{_dot(node.text)}"
        lines.append(f'  {names[node.id]} [label="{text}", fillcolor="{FILLS.get(node.state, _OTHER)}"];')
    for parent, child, kind in graph.edges:
        how = "" if kind == "ok" else f' [style=dashed, label="{_dot(kind)}"]'
        lines.append(f"  {names[parent]} -> {names[child]}{how};")
    return "\n".join([*lines, "}"]) + "\n"


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def to_mermaid(graph: Graph) -> str:
    """The graph in Mermaid's language; states are classes."""
    names = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [
        f'  {names[node.id]}["{_mermaid(node.label)}<br/>{_mermaid(node.text)}"]:::{_class(node.state)}'
        for node in graph.nodes
    ]
    for parent, child, kind in graph.edges:
        arrow = "-->" if kind == "ok" else f"-. {_mermaid(kind)} .->"
        lines.append(f"  {names[parent]} {arrow} {names[child]}")
    lines += [
        f"  classDef {_class(state)} fill:{FILLS.get(state, _OTHER)},stroke:#374151,color:#111827"
        for state in sorted({node.state for node in graph.nodes})
    ]
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    """A text between quotes: what Mermaid, or the HTML that it makes, would read as its own is written as entities."""
    return "".join(_ENTITIES.get(sign, sign) for sign in text)


def _class(state: str) -> str:
    return f"{state}Jobs"  # a bare state could be a word of Mermaid's own


def to_ascii(graph: Graph) -> str:
    """The graph as an indented list: every node once, under the parent that is farthest from a root."""
    above: dict[str, list[tuple[str, str]]] = {node.id: [] for node in graph.nodes}
    for parent, child, kind in graph.edges:
        above[child].append((parent, kind))
    depth = _depths({child: [parent for parent, _ in parents] for child, parents in above.items()})
    home = {
        child: max(parents, key=lambda parent: depth[parent[0]])[0] if parents else ""
        for child, parents in above.items()
    }
    under: dict[str, list[GraphNode]] = {}
    for node in graph.nodes:
        under.setdefault(home[node.id], []).append(node)
    labels = {node.id: node.label for node in graph.nodes}
    lines: list[str] = []
    # a stack, not recursion: chains are longer than Python's
    stack = [(node, "", "") for node in reversed(under.get("", ()))]
    while stack:
        node, indent, branch = stack.pop()
        lines.append(f"{indent}{branch}{node.label}  {node.text}{_notes(above[node.id], home[node.id], labels)}")
        inner = indent + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        children = under.get(node.id, [])
        branches = ["├─ "] * (len(children) - 1) + ["└─ "] * bool(children)
        stack += [(child, inner, mark) for child, mark in zip(reversed(children), reversed(branches), strict=True)]
    return "\n".join(lines) + ("\n" if lines else "")


def _notes(parents: Sequence[tuple[str, str]], home: str, labels: Mapping[str, str]) -> str:
    """What the place in the list does not say: further parents, and kinds other than ok."""
    words = [
        labels[parent] if kind == "ok" else f"{labels[parent]} ({kind})"
        for parent, kind in parents
        if parent != home or kind != "ok"
    ]
    return f"  ← {', '.join(words)}" if words else ""


def _depths(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The length of the longest way from a root to each node."""
    found: dict[str, int] = {}
    try:
        for node in TopologicalSorter(parents).static_order():
            found[node] = max((found[parent] + 1 for parent in parents[node]), default=0)
    except CycleError as error:
        raise ValueError(f"jobs depend on each other in a circle: {' -> '.join(error.args[1])}") from None
    return found


FORMATS = {"dot": to_dot, "mermaid": to_mermaid, "ascii": to_ascii}
