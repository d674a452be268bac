"""What a node is besides what Ray knows: its GPUs' type and memory, disk, network, battery.

Read with psutil and NVML. What is not there is not said: a machine without GPUs or battery costs a failed look once.
"""

import contextlib
from pathlib import Path
from typing import Any

import psutil

from kos_ray.model.node import GPU_MEMORY, GPU_TYPE
from kos_ray.runtime.agent.gpus import opened

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
        self._gpus = opened()

    def lasting(self) -> tuple[dict[str, str], dict[str, int]]:
        """Labels, and amounts that can be reserved, as they are now."""
        labels: dict[str, str] = {}
        if self._gpus and (names := [name for name in self._gpus.names.values() if name]):
            labels[GPU_TYPE] = names[0].replace(" ", "-")
        if memory := self._gpus.memory() if self._gpus else []:
            # of several kinds in one node the smallest is what every one of them has
            labels[GPU_MEMORY] = str(min(one.total for one in memory))
        amounts = {}
        with contextlib.suppress(OSError):
            amounts[DISK] = psutil.disk_usage(str(self._directory)).free
        speeds = [found.speed for found in psutil.net_if_stats().values() if found.isup and found.speed]
        if speeds:
            amounts[NETWORK] = max(speeds) * _MBIT
        return labels, amounts

    def passing(self) -> tuple[int, tuple[int, ...]]:
        """Percent in the battery (-1: none, or charging), and bytes free on each GPU that says it, in whole GiB."""
        memory = self._gpus.memory() if self._gpus else []
        return _battery(), tuple(one.free // _GIB * _GIB for one in memory)


def _battery() -> int:
    sensors: Any = getattr(psutil, "sensors_battery", None)
    found = sensors() if sensors else None
    if found is None or found.power_plugged:
        return -1
    return int(found.percent) // _STEP * _STEP
