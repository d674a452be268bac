"""The critical path: the chain of dependent jobs that bounds how fast a workflow can ever be."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


def critical_path(durations: Mapping[str, float], parents: Mapping[str, Sequence[str]]) -> tuple[float, list[str]]:
    """The longest chain and its length, in the unit of the durations; `(0, [])` for no jobs.

    Parents without a duration are passed over. Of equal chains the one is taken whose jobs come first in `durations`.

    Raises:
        ValueError: the jobs depend on each other in a circle.

    """
    rank = {name: index for index, name in enumerate(durations)}
    above = {name: [parent for parent in parents.get(name, ()) if parent in rank] for name in durations}
    length: dict[str, float] = {}
    before: dict[str, str | None] = {}
    try:
        order = list(TopologicalSorter(above).static_order())
    except CycleError as error:
        raise ValueError(f"jobs depend on each other in a circle: {' -> '.join(error.args[1])}") from None
    for name in order:
        longest = max(above[name], key=lambda parent: (length[parent], -rank[parent]), default=None)
        before[name] = longest
        length[name] = durations[name] + (length[longest] if longest is not None else 0)
    if not order:
        return 0, []
    last: str | None = max(order, key=lambda name: (length[name], -rank[name]))
    total = length[last] if last is not None else 0
    path = []
    while last is not None:
        path.append(last)
        last = before[last]
    return total, path[::-1]
