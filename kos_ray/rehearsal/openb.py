"""Reads nodes and pods of Alibaba's GPU-sharing cluster (openb, cluster-trace-gpu-v2023; Weng et al., USENIX ATC 2023).

Nodes: `sn, cpu_milli, memory_mib, gpu, model`. Pods: `name, cpu_milli, memory_mib, num_gpu, gpu_milli`, and where the
list has them `gpu_spec` (`A|B`: one of these models) and `creation_time`, `deletion_time` in seconds. A pod with more
than one GPU has whole ones; one with fewer than 1000 thousandths has a part of one.
"""

import csv
from pathlib import Path

from kos_ray.model.errors import InvalidSpec
from kos_ray.model.ids import NodeId
from kos_ray.model.job import Spec
from kos_ray.model.node import HOST, Node
from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.where import Selector, Where
from kos_ray.rehearsal.workload import ENTRY, SECOND_US, VirtualJob, in_order, numbered_lines, numbered_rows

#: the label of a node with its GPUs' model
MODEL = "gpu"
#: what tells a list of pods from other tables, and one of nodes
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_MILLI = UNIT // 1_000
_MIB = UNIT << 20


def is_openb(path: Path) -> bool:
    """Whether a table is one of these lists of pods, by its columns."""
    titles = next(csv.reader([next(numbered_lines(path), (1, ""))[1]]), [])
    return set(POD_COLUMNS) <= set(titles)


def read_pods(path: Path) -> tuple[VirtualJob, ...]:
    """The pods of a list as they were created; without times all come at once, and take a second.

    Raises:
        InvalidSpec: `file:line: expected ..., found ...`.

    """
    return in_order([_pod(row, place) for place, row in numbered_rows(path, *zip(POD_COLUMNS))])


def read_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes of a list, by name.

    Raises:
        InvalidSpec: `file:line: expected ..., found ...`.

    """
    return tuple(_node(row, place) for place, row in numbered_rows(path, *zip(NODE_COLUMNS)))


def _node(row: dict[str, str], place: str) -> Node:
    amounts = {
        "CPU": _whole(row, "cpu_milli", place) * _MILLI,
        "memory": _whole(row, "memory_mib", place) * _MIB,
        "GPU": _whole(row, "gpu", place) * UNIT,
    }
    name = row["sn"]
    labels = ((MODEL, row["model"]), (HOST, name))
    return Node(NodeId(name), name, Resources.from_amounts(amounts), labels=tuple(sorted(labels)), incarnation="1")


def _pod(row: dict[str, str], place: str) -> VirtualJob:
    gpus, milli = _whole(row, "num_gpu", place), _whole(row, "gpu_milli", place)
    if milli > 1_000 or (gpus > 1 and milli != 1_000):
        raise InvalidSpec(f"{place}: expected up to 1000 gpu_milli, and 1000 of several GPUs, found {milli} of {gpus}")
    amounts = {
        "CPU": _whole(row, "cpu_milli", place) * _MILLI,
        "memory": _whole(row, "memory_mib", place) * _MIB,
        "GPU": gpus * milli * _MILLI,
    }
    models = tuple(model for model in row.get("gpu_spec", "").split("|") if model)
    created_s = _whole(row, "creation_time", place)
    run_s = max(1, _whole(row, "deletion_time", place) - created_s)
    spec = Spec(
        type="pod",
        entry=ENTRY,
        resources=Resources.from_amounts(amounts),
        single_use=True,
        where=Where(labels=(Selector(MODEL, models),)) if models and gpus else Where(),
    )
    return VirtualJob(name=row["name"], at_us=created_s * SECOND_US, run_us=run_s * SECOND_US, spec=spec)


def _whole(row: dict[str, str], column: str, place: str) -> int:
    """A whole number; 0 where the list has no such column."""
    text = row.get(column, "0")
    if not text.isdecimal():
        raise InvalidSpec(f"{place}: {column}: expected a whole number >= 0, found {text!r}")
    return int(text)
