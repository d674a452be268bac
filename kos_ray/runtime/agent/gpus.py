"""What the GPUs of a node do now, read with NVML: `kos_ray.runtime.agent.gpus.read() -> tuple[GpuReading, ...]`.

No GPU or no driver is no error: nothing is read then, and it is not looked for again. What a GPU does not tell (a card
without a power sensor, processes of other containers) is None, and so is everything of one that has fallen off the bus:
the others are read as ever. One that cannot be opened when the agent begins is not there, and keeps its index.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

from kos_ray.model.gpu import GpuReading
from kos_ray.model.sample import GPU, GPU_MEMORY, WHOLE

_log = logging.getLogger("kos_ray.gpus")


class Gpus:
    """NVML, opened; `nvml` is its module."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        #: by index
        self.handles: dict[int, Any] = {}
        #: what the driver calls each, "" where it does not say: a card that is lost later keeps its name
        self.names: dict[int, str] = {}
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            _log.debug("no GPUs are seen: %s", error)
            return
        for index in range(count):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
            except nvml.NVMLError as error:
                _log.warning("GPU %d cannot be opened, and is left out: %s", index, error)
            else:
                self.handles[index], self.names[index] = handle, self._name(handle)

    def read(self) -> tuple[GpuReading, ...]:
        """Each GPU by its index. Takes about a millisecond for each."""
        return tuple(self._one(index, handle) for index, handle in self.handles.items())

    def memory(self) -> list[Any]:
        """The memory of each GPU that says it, as NVML has it (`total`, `used`, `free`)."""
        found = (self._memory(handle) for handle in self.handles.values())
        return [one for one in found if one is not None]

    def _name(self, handle: Any) -> str:
        said = self._said("nvmlDeviceGetName", handle)
        return said.decode() if isinstance(said, bytes) else said or ""

    def _memory(self, handle: Any) -> Any:
        return self._said("nvmlDeviceGetMemoryInfo", handle)

    def _one(self, index: int, handle: Any) -> GpuReading:
        used, memory = self._said("nvmlDeviceGetUtilizationRates", handle), self._memory(handle)
        milliwatts = self._said("nvmlDeviceGetPowerUsage", handle)
        limit = self._said("nvmlDeviceGetEnforcedPowerLimit", handle)
        running = self._said("nvmlDeviceGetComputeRunningProcesses", handle)
        return GpuReading(
            index=index,
            name=self.names[index],
            used=None if used is None else used.gpu * 10,
            memory_used=None if memory is None else memory.used,
            memory_total=None if memory is None else memory.total,
            temperature=self._said("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU),
            power=None if milliwatts is None else milliwatts / 1_000,
            power_limit=None if limit is None else limit / 1_000,
            processes=None if running is None else _processes(running),
        )

    def _said(self, question: str, handle: Any, *more: Any) -> Any:
        """The answer to a question, None where this GPU or this driver has none."""
        try:
            return getattr(self._nvml, question)(handle, *more)
        except (self._nvml.NVMLError, AttributeError):
            return None


def _processes(running: Any) -> tuple[tuple[int, int | None], ...]:
    return tuple((one.pid, one.usedGpuMemory) for one in sorted(running, key=lambda one: one.pid))


@functools.cache
def opened() -> Gpus | None:
    """The GPUs of this machine, None where there are none; they are looked for once."""
    import pynvml  # noqa: PLC0415 - only agents look

    found = Gpus(pynvml)
    return found if found.handles else None


def read() -> tuple[GpuReading, ...]:
    """What the GPUs of this machine do now, by their index; nothing where there are none."""
    found = opened()
    return found.read() if found else ()


#: gives the readings
Read = Callable[[], tuple[GpuReading, ...]]


def shares(readings: tuple[GpuReading, ...]) -> dict[str, int]:
    """Which share of the node's GPUs is used, and of their memory, by kind."""
    found: dict[str, int] = {}
    used = [one.used for one in readings if one.used is not None]
    if used:
        found[GPU] = round(sum(used) / len(used))
    total = sum(one.memory_total or 0 for one in readings if one.memory_used is not None)
    if total:
        found[GPU_MEMORY] = round(sum(one.memory_used or 0 for one in readings) / total * WHOLE)
    return found
