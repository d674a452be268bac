"""Finding a plug-in by its entry point, and checking it. Run in the plug-in's own process only.

The interface is `SchedulerPlugin` of the documents: `canHandle(task)`, `schedule(task)` and `cancel(taskId)`; the first
one may be called `can_handle`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from kos_ray.model.errors import Refused
from kos_ray.model.plugins import ENTRY_POINTS

#: what a plug-in needs, and how else it may be called
_METHODS = {"can_handle": ("can_handle", "canHandle"), "schedule": ("schedule",), "cancel": ("cancel",)}


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in's three methods."""

    can_handle: Callable[[Mapping[str, Any]], Any]
    schedule: Callable[[Mapping[str, Any]], Any]
    cancel: Callable[[str], Any]


def load(name: str) -> Plugin:
    """The plug-in of that name; a class is made an object of, without arguments.

    Raises:
        Refused: none is installed, it cannot be imported, or it lacks a method.

    """
    known = entry_points(group=ENTRY_POINTS)
    if name not in known.names:
        words = ", ".join(sorted(known.names)) or "none"
        raise Refused(
            f"expected the name of an entry point of the group {ENTRY_POINTS}, found {name!r}; installed: {words}; "
            "install its package where the scheduler runs"
        )
    entry = known[name]
    try:
        found = entry.load()
        found = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - it is anybody's code
        raise Refused(f"{entry.value} cannot be loaded: {type(error).__name__}: {error}") from None
    methods: dict[str, Any] = {}
    for method, names in _METHODS.items():
        methods[method] = next((got for word in names if callable(got := getattr(found, word, None))), None)
    missing = [" or ".join(_METHODS[method]) for method, got in methods.items() if got is None]
    if missing:
        raise Refused(
            f"expected the methods canHandle (or can_handle), schedule and cancel, found {entry.value} without "
            f"{', '.join(missing)}"
        )
    return Plugin(**methods)
