"""What a node is besides what Ray knows: its GPUs' type and memory, disk, network, battery.

Read with psutil and NVML. What is not there is not said: a machine without GPUs or battery costs a failed look once.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

import psutil

from kos_ray.model.node import GPU_MEMORY, GPU_TYPE

_log = logging.getLogger("kos_ray.facts")

#: amounts: bytes, and bits a second
DISK, NETWORK = "disk", "network"
_GIB = 2**30
_MBIT = 1_000_000
#: steps in which a battery is told of, in percent
_STEP = 5


class Facts:
    """One node's facts; `directory` lies on the disk that jobs use."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._gpus = _gpus()

    def lasting(self) -> tuple[dict[str, str], dict[str, int]]:
        """Labels, and amounts that can be reserved, as they are now."""
        labels: dict[str, str] = {}
        if self._gpus:
            nvml, handles = self._gpus
            with contextlib.suppress(nvml.NVMLError):
                labels[GPU_TYPE] = _text(nvml.nvmlDeviceGetName(handles[0])).replace(" ", "-")
                # of several kinds in one node the smallest is what every one of them has
                labels[GPU_MEMORY] = str(min(nvml.nvmlDeviceGetMemoryInfo(handle).total for handle in handles))
        amounts = {}
        with contextlib.suppress(OSError):
            amounts[DISK] = psutil.disk_usage(str(self._directory)).free
        speeds = [found.speed for found in psutil.net_if_stats().values() if found.isup and found.speed]
        if speeds:
            amounts[NETWORK] = max(speeds) * _MBIT
        return labels, amounts

    def passing(self) -> tuple[int, tuple[int, ...]]:
        """Percent in the battery (-1: none, or it is being charged), and bytes free on each GPU, in whole GiB."""
        free: tuple[int, ...] = ()
        if self._gpus:
            nvml, handles = self._gpus
            with contextlib.suppress(nvml.NVMLError):
                infos = [nvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
                free = tuple(info.free // _GIB * _GIB for info in infos)
        return _battery(), free


def _battery() -> int:
    sensors: Any = getattr(psutil, "sensors_battery", None)
    found = sensors() if sensors else None
    if found is None or found.power_plugged:
        return -1
    return int(found.percent) // _STEP * _STEP


def _gpus() -> tuple[Any, list[Any]] | None:
    """NVML and its devices; None where there are none."""
    import pynvml  # noqa: PLC0415 - only agents look

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        _log.debug("no GPUs are seen: %s", error)
        return None
    return (pynvml, handles) if handles else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
