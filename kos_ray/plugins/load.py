"""Finding a plug-in by its entry point, and checking it. Run in the plug-in's own process only, or in a rehearsal's.

The interface is `SchedulerPlugin` of the documents: `canHandle(task)`, `schedule(task)` and `cancel(taskId)`; the first
one may be called `can_handle`. A plug-in for graphs has `order(tasks, cluster)` instead: all ranks at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kos_ray.model.errors import Refused
from kos_ray.model.plugins import ENTRY_POINTS, GRAPH_ENTRY_POINTS

Task = Mapping[str, Any]

#: what a plug-in needs, and how else it may be called
_METHODS = {"can_handle": ("can_handle", "canHandle"), "schedule": ("schedule",), "cancel": ("cancel",)}
_GRAPH_METHODS = {"order": ("order",)}


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in's methods: `rank` gives a rank, or None, for each task; `cancel` is told a task's id."""

    rank: Callable[[Sequence[Task], Mapping[str, Any]], Sequence[Any]]
    cancel: Callable[[str], Any]


def orders_graphs(name: str) -> bool:
    """Whether a plug-in is one for graphs. None of its code is run."""
    return name in entry_points(group=GRAPH_ENTRY_POINTS).names


def load(name: str) -> Plugin:
    """The plug-in of that name; a class is made an object of, without arguments.

    Raises:
        Refused: none is installed, it cannot be imported, or it lacks a method.

    """
    entry = _entry(name)
    try:
        found = entry.load()
        found = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - it is anybody's code
        raise Refused(f"{entry.value} cannot be loaded: {type(error).__name__}: {error}") from None
    if entry.group == GRAPH_ENTRY_POINTS:
        methods = _methods(entry, found, _GRAPH_METHODS, "the method order")
        return Plugin(rank=methods["order"], cancel=lambda _: None)
    methods = _methods(entry, found, _METHODS, "the methods canHandle (or can_handle), schedule and cancel")

    def rank(tasks: Sequence[Task], _cluster: Mapping[str, Any]) -> list[Any]:
        return [methods["schedule"](task) if methods["can_handle"](task) else None for task in tasks]

    return Plugin(rank=rank, cancel=methods["cancel"])


def _entry(name: str) -> EntryPoint:
    known = {entry.name: entry for group in (ENTRY_POINTS, GRAPH_ENTRY_POINTS) for entry in entry_points(group=group)}
    if name not in known:
        words = ", ".join(sorted(known)) or "none"
        raise Refused(
            f"expected the name of an entry point of the group {ENTRY_POINTS} or {GRAPH_ENTRY_POINTS}, found {name!r}; "
            f"installed: {words}; install its package where the scheduler runs"
        )
    return known[name]


def _methods(
    entry: EntryPoint, found: object, wanted: Mapping[str, tuple[str, ...]], expected: str
) -> dict[str, Callable[..., Any]]:
    """The methods of a plug-in, by the first of their names."""
    methods = {
        method: next((got for word in names if callable(got := getattr(found, word, None))), None)
        for method, names in wanted.items()
    }
    missing = [" or ".join(wanted[method]) for method, got in methods.items() if got is None]
    if missing:
        raise Refused(f"expected {expected}, found {entry.value} without {', '.join(missing)}")
    return {method: got for method, got in methods.items() if got is not None}
