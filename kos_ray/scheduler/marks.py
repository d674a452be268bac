"""What people say of nodes: cordon, drain, labels. Marks belong to names, so that they outlive a node's restart."""

from collections.abc import Iterable
from dataclasses import replace

from kos_ray.model.node import RETIRES_NOW, Mark
from kos_ray.model.reasons import Reason
from kos_ray.model.windows import NODE, Windows
from kos_ray.scheduler.state import NodeState, State


def is_closed(node: NodeState) -> bool:
    """Whether nothing new starts on a node: somebody said so, something is short, or its agent is not in order."""
    return node.silent or node.retires > 0 or bool(node.pressed) or (node.mark is not None and node.mark.cordoned)


def closed_by(node: NodeState) -> Reason:
    """Why nothing new starts on a node that is closed."""
    if node.silent:
        return Reason.NODE_SILENT
    if node.retires:
        return Reason.NODE_RETIRES
    return Reason.CORDONED if node.mark is not None and node.mark.cordoned else Reason.NODE_PRESSED


def set_marks(state: State, marks: Iterable[Mark]) -> None:
    """These are the whole marks of their names from now on."""
    for mark in marks:
        if mark.says_nothing:
            state.marks.pop(mark.name, None)
        else:
            state.marks[mark.name] = mark
    for node in state.nodes.values():
        refresh(state, node)


def refresh(state: State, node: NodeState) -> None:
    """The node has joined, or what it or people say of it has changed."""
    node.mark = mark_of(state, node)
    scopes = (f"{NODE}{name}" for name in {node.node.name, node.node.host})
    node.windows = tuple(state.windows[scope] for scope in sorted(scopes) if scope in state.windows)
    labels = {**dict(node.node.labels), **dict(node.mark.labels if node.mark else ())}
    node.labels = {name: value for name, value in labels.items() if value}


def set_retires(state: State, node: NodeState, retires: int) -> None:
    """Whether a node's agent is to be replaced, and whether what runs there is to give way for it."""
    node.retires = retires
    if retires >= RETIRES_NOW:
        state.retiring_now.add(node.node.id)
    else:
        state.retiring_now.discard(node.node.id)


def set_windows(state: State, windows: Windows) -> None:
    """Use a scope at these times from now on."""
    if windows.text:
        state.windows[windows.scope] = windows
    else:
        state.windows.pop(windows.scope, None)
    for node in state.nodes.values():
        refresh(state, node)


def mark_of(state: State, node: NodeState) -> Mark | None:
    """What is said of a node, by its own name and by its host's; None where nothing is."""
    if not state.marks:
        return None
    found = [state.marks[name] for name in (node.node.host, node.node.name) if name in state.marks]
    if len(found) < 2:
        return found[0] if found else None
    host, own = found
    closed = own if own.cordoned or not host.cordoned else host
    return replace(
        closed,
        cordoned=host.cordoned or own.cordoned,
        draining=host.draining or own.draining,
        labels=(*host.labels, *own.labels),
    )
