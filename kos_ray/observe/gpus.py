"""GPUs for people: a row each, with what it does now."""

from collections.abc import Iterable

from kos_ray.model.gpu import GpuReading
from kos_ray.model.views import NodeView
from kos_ray.observe.tables import Table, format_bytes, short_node

_COLUMNS = ("node", "GPU", "name", "used", "memory", "temperature", "power", "processes")
#: what stands where the driver does not say it
_UNKNOWN = "-"


def gpu_table(nodes: Iterable[NodeView]) -> Table | None:
    """The GPUs of all nodes that have measured some, None where there are none; "-" for what is not known."""
    rows = tuple((node.name or short_node(node.id), *_cells(one)) for node in nodes if node.alive for one in node.gpus)
    return Table(columns=_COLUMNS, rows=rows, numbers=frozenset({"GPU"})) if rows else None


def _cells(one: GpuReading) -> tuple[str, ...]:
    return (
        str(one.index),
        one.name or _UNKNOWN,
        _UNKNOWN if one.used is None else f"{one.used / 10:.0f} %",
        _memory(one),
        _UNKNOWN if one.temperature is None else f"{one.temperature} °C",
        _power(one),
        _processes(one),
    )


def _memory(one: GpuReading) -> str:
    if one.memory_used is None or one.memory_total is None:
        return _UNKNOWN
    return f"{format_bytes(one.memory_used)}/{format_bytes(one.memory_total)}"


def _power(one: GpuReading) -> str:
    if one.power is None:
        return _UNKNOWN
    return f"{one.power:.0f} W" if one.power_limit is None else f"{one.power:.0f}/{one.power_limit:.0f} W"


def _processes(one: GpuReading) -> str:
    """Empty where there are none."""
    if one.processes is None:
        return _UNKNOWN
    return ", ".join(f"{pid}" if held is None else f"{pid} {format_bytes(held)}" for pid, held in one.processes)
