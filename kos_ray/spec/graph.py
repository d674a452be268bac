"""Graphs of names: an order with parents first, and the cycle where there is none."""

import heapq
from collections.abc import Mapping, Sequence


def parents_first(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """All names, parents before children, otherwise in the order of the mapping; names outside of it are ignored.

    Raises:
        ValueError: there is a cycle; its argument is the list of names in it, the first one repeated at the end.

    """
    rank = {name: index for index, name in enumerate(parents)}
    names = list(parents)
    children: dict[str, list[str]] = {name: [] for name in parents}
    missing = {}
    for name, above in parents.items():
        inside = {parent for parent in above if parent in rank}
        missing[name] = len(inside)
        for parent in inside:
            children[parent].append(name)
    ready = [rank[name] for name, count in missing.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for child in children[name]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, rank[child])
    if len(order) < len(parents):
        raise ValueError(_cycle({name: parents[name] for name in names if missing[name]}))
    return order


def _cycle(stuck: Mapping[str, Sequence[str]]) -> list[str]:
    """A cycle among names that each have a parent among them."""
    seen: dict[str, int] = {}
    path: list[str] = []
    name = next(iter(stuck))
    while name not in seen:
        seen[name] = len(path)
        path.append(name)
        name = next(parent for parent in stuck[name] if parent in stuck)
    # the walk went from child to parent; people read parent to child, and begin where the text does
    cycle = path[seen[name] :][::-1]
    start = cycle.index(next(one for one in stuck if one in cycle))
    return [*cycle[start:], *cycle[: start + 1]]
