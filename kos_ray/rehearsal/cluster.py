"""Virtual clusters as people write them: `100x64cpu8gpu`, or a file with kinds of nodes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.ids import NodeId
from kos_ray.model.node import HOST, Node
from kos_ray.model.resources import UNIT, Resources
from kos_ray.rehearsal.journal import is_journal, read_nodes
from kos_ray.rehearsal.openb import read_nodes as read_openb
from kos_ray.spec.parse import parse_integer, parse_mapping, parse_text
from kos_ray.spec.places import Source, read_text
from kos_ray.spec.units import describe, parse_amount, parse_bytes

#: more would not fit into the memory of the machine that rehearses
NODES_MAX = 1_000_000
_NAMES = {"cpu": "CPU", "gpu": "GPU"}
_IN_BYTES = ("memory", "disk")
_SHORT = re.compile(r"(\d+)x((?:\d+(?:\.\d+)?[A-Za-z]+)+)")
_PART = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]+)")
_FORM = "nodes such as 100x64cpu8gpu or 4x16cpu64GiB,2x8cpu, a file with `nodes:`, or the directory of a journal"
_OF_KIND = ("count", "labels")


def read_cluster(text: str) -> tuple[Node, ...]:
    """The nodes of a file (also of openb, .csv or .csv.gz), of a journal, or of the short form.

    Raises:
        InvalidSpec: it is neither, with the place.

    """
    if is_journal(text):
        return read_nodes(Path(text))
    if text.removesuffix(".gz").endswith(".csv"):
        return read_openb(Path(text))
    if Path(text).suffix in (".yaml", ".yml", ".json"):
        return _from_file(Source(text, read_text(text)))
    kinds: list[tuple[int, Resources, tuple[tuple[str, str], ...]]] = []
    for part in text.split(","):
        match = _SHORT.fullmatch(part.strip())
        if match is None:
            raise InvalidSpec(f"--cluster: expected {_FORM}, found {part!r}")
        try:
            amounts = parse_resources(dict(_short_amount(*found) for found in _PART.findall(match[2])))
        except ValueError as error:
            raise InvalidSpec(f"--cluster: {part}: {error}") from None
        kinds.append((int(match[1]), amounts, ()))
    return _nodes(kinds, "--cluster")


def parse_resources(value: object) -> Resources:
    """`{cpu: 4, gpu: 1, memory: 8GiB}`; resources of one's own by their names.

    Raises:
        ValueError: it is none, or an amount is no amount.

    """
    found: dict[str, int] = {}
    for name, amount in parse_mapping(value, "a mapping of resources to amounts").items():
        text = parse_text(name, "a resource")
        try:
            whole = parse_bytes(amount) * UNIT if text.lower() in _IN_BYTES else parse_amount(amount)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
        found[_NAMES.get(text.lower(), text.lower() if text.lower() in _IN_BYTES else text)] = whole
    return Resources.from_amounts(found)


def _short_amount(number: str, unit: str) -> tuple[str, str]:
    """`64cpu` is CPUs; a number with a unit of bytes is memory."""
    return (unit.lower(), number) if unit.lower() in _NAMES else ("memory", number + unit)


def _from_file(source: Source) -> tuple[Node, ...]:
    data = source.data
    if not isinstance(data, dict) or set(data) != {"nodes"} or not isinstance(data["nodes"], list):
        raise source.problem((), f"expected `nodes:` with a list of kinds of nodes, found {describe(data)}")
    kinds = []
    for index, kind in enumerate(data["nodes"]):
        try:
            kinds.append(_kind(kind))
        except ValueError as error:
            raise source.problem(("nodes", index), str(error)) from None
    return _nodes(kinds, source.name)


def _kind(value: object) -> tuple[int, Resources, tuple[tuple[str, str], ...]]:
    fields = parse_mapping(value, "a kind of nodes such as {count: 100, cpu: 64, gpu: 8, memory: 256GiB}")
    count = parse_integer(fields.get("count", 1), "a number of nodes", 1, NODES_MAX)
    labels: Mapping[Any, Any] = parse_mapping(fields.get("labels") or {}, "a mapping of labels to their values")
    resources = parse_resources({name: amount for name, amount in fields.items() if name not in _OF_KIND})
    if not resources.amounts:
        raise ValueError("expected at least one resource such as cpu: 64, found none")
    return count, resources, tuple(sorted((str(name), str(text)) for name, text in labels.items()))


def _nodes(kinds: list[tuple[int, Resources, tuple[tuple[str, str], ...]]], place: str) -> tuple[Node, ...]:
    total = sum(count for count, _, _ in kinds)
    if not 0 < total <= NODES_MAX:
        raise InvalidSpec(f"{place}: expected 1 to {NODES_MAX} nodes, found {total}")
    if any(not resources.amounts for _, resources, _ in kinds):
        raise InvalidSpec(f"{place}: expected nodes that have something, found one that has nothing")
    width = len(str(total))
    found: list[Node] = []
    for count, resources, labels in kinds:
        for _ in range(count):
            name = f"n{len(found) + 1:0{width}}"
            labelled = tuple(sorted({HOST: name, **dict(labels)}.items()))
            found.append(Node(NodeId(name), name, resources, labels=labelled, incarnation="1"))
    return tuple(found)
