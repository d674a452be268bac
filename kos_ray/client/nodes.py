"""Which node somebody means."""

from collections.abc import Sequence

from kos_ray.model.errors import NotFound, Refused
from kos_ray.model.views import NodeStanding

#: of an id, so many characters are enough
_ID_CHARS = 6


def named_node(text: str, known: Sequence[NodeStanding]) -> str:
    """The name under which something is said of a node: one that it keeps when Ray gives it another id, if it can.

    `text` is its name, its host, or the beginning of its id.

    Raises:
        NotFound: there is no such node.
        Refused: several begin like that.

    """
    if any(text == node.host or (text == node.name and not node.id) for node in known):
        return text
    found = [node for node in known if node.id and text in (node.name, node.id)]
    if not found and len(text) >= _ID_CHARS:
        found = [node for node in known if node.id.startswith(text)]
    if not found:
        names = ", ".join(sorted({node.name for node in known})) or "none"
        raise NotFound(f"there is no node {text!r}; expected a name, a host, or the beginning of an id: {names}")
    if len(found) > 1:
        raise Refused(f"{len(found)} nodes begin with {text!r}: {', '.join(node.id for node in found)}")
    (node,) = found
    alone = sum(other.host == node.host for other in known) == 1
    passing = node.name == f"{node.host}-{node.id[:_ID_CHARS]}"
    return node.host if passing and node.host and alone else node.name
