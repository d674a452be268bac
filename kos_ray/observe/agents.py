"""Agents as they work: what `kos agent top` shows."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kos_ray.model.views import EventView, JobView
from kos_ray.observe.tables import Table, format_bytes, format_duration

_MINUTE_US = 60_000_000
_COLUMNS = ("name", "phase", "node", "CPU", "memory", "waiting", "handled", "done/min", "measured", "crashes")
#: ends of jobs that are looked at between two pictures: with more, the rate is of a part of them
LOOKED_MAX = 5_000


class Pace:
    """Which messages have ended within the last minute, from the records of the journal.

    `views` gives jobs by key. Who handled a message for a role stands in the record of its assignment.
    """

    def __init__(self, views: Callable[[list[Any]], Iterable[JobView]]) -> None:
        self._views = views
        self._ends: deque[tuple[int, str]] = deque()
        #: by key of a live message, who was chosen
        self._chosen: dict[int, str] = {}

    def read(self, records: Iterable[EventView], agents: Sequence[Mapping[str, Any]]) -> None:
        """Take in further records, in their order."""
        keys: list[tuple[int, int]] = []
        for record in records:
            if record.kind == "Assign":
                self._chosen[_integer(record.detail["key"])] = str(record.detail.get("agent", ""))
            elif record.kind == "Finish" and len(keys) < LOOKED_MAX:
                keys += [(record.at_us, key) for key in _list(record.detail["keys"])]
        if not keys:
            return
        known = {f"{one['namespace']}\0{one['name']}" for one in agents}
        ended = {int(view.key): view for view in self._views([key for _, key in keys])}
        for at_us, key in keys:
            view = ended.get(key)
            if view is not None:
                name = self._chosen.pop(key, "").rpartition("\0")[2] or view.receiver
                self._ends += [(at_us, f"{view.namespace}\0{name}")] if f"{view.namespace}\0{name}" in known else []

    def per_minute(self, now_us: int) -> Counter[str]:
        """How many have ended within the last minute, by `namespace NUL name`."""
        while self._ends and self._ends[0][0] < now_us - _MINUTE_US:
            self._ends.popleft()
        return Counter(name for _, name in self._ends)


def with_use(
    agents: Iterable[Mapping[str, Any]], uses: Mapping[int, Mapping[str, int]], done: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Agents with what their processes use (`cpu`, `memory`, `measured_us`; None where nothing was measured yet).

    And with `waiting`, messages that it does not handle yet, and `done_per_minute`.
    """
    found = []
    for one in agents:
        use = uses.get(one["job"], {})
        if use.get("attempt") != one["attempt"]:
            use = {}  # of the process before
        more = {name: use.get(name) for name in ("cpu", "memory", "measured_us")}
        waiting = max(0, one["messages"] - one["handling"])
        rate = done.get(f"{one['namespace']}\0{one['name']}", 0)
        found.append({**one, **more, "waiting": waiting, "done_per_minute": rate})
    return found


def agent_table(agents: Iterable[Mapping[str, Any]], now_us: int) -> Table:
    """A row for each, those that use the most CPU first."""
    rows = sorted(agents, key=lambda one: (-(one["cpu"] or 0), one["namespace"], one["name"]))
    numbers = frozenset({"waiting", "handled", "done/min", "crashes"})
    return Table(columns=_COLUMNS, rows=tuple(_row(one, now_us) for one in rows), numbers=numbers)


def _row(one: Mapping[str, Any], now_us: int) -> tuple[str, ...]:
    name = one["name"] if one["namespace"] == "default" else f"{one['namespace']}/{one['name']}"
    counts = (one["waiting"], one["handling"], one["done_per_minute"])
    cpu, memory, measured = use_words(one, now_us)
    return (name, one["phase"], one["node"], cpu, memory, *map(str, counts), measured, str(one["crashes"]))


def use_words(one: Mapping[str, Any], now_us: int) -> tuple[str, str, str]:
    """CPU (of one core), memory, and when that was measured; empty where it was not."""
    if one["measured_us"] is None:
        return "", "", ""
    age = format_duration(max(0, now_us - one["measured_us"]))
    return f"{one['cpu'] / 10:.0f} %", format_bytes(one["memory"]), f"{age} ago"


def _integer(value: object) -> int:
    assert isinstance(value, int)
    return value


def _list(value: object) -> list[int]:
    assert isinstance(value, list | tuple)
    return list(value)
