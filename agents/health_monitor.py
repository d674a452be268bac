"""Watches the machine that it runs on: load, memory and disk, with alerts past limits, and without flicker at them.

kos agent register agents.health_monitor:HealthMonitor --name health --code .
kos agent call health report
"""

import os
import shutil
import threading
import time
from collections import deque
from typing import Any

import kos_ray as kos

#: an alert is over when the value is so far below its limit
_CALM = 0.9
_KEPT_MAX = 1_000


def sample() -> dict[str, float]:
    """Load per CPU, and the shares of memory and of the disk that are in use."""
    with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - a line of the kernel's
        kib = {line.split(":")[0]: int(line.split()[1]) for line in file}
    disk = shutil.disk_usage("/")
    return {
        "load": os.getloadavg()[0] / (os.cpu_count() or 1),
        "memory": 1 - kib["MemAvailable"] / kib["MemTotal"],
        "disk": disk.used / disk.total,
    }


@kos.agent(name="health", resources={"cpu": 0.1}, capabilities=("health",), roles=("monitor",))
class HealthMonitor:
    """Samples every few seconds while it runs; what it saw goes with it when it moves."""

    def __init__(self, every_s: float = 5.0, load: float = 2.0, memory: float = 0.95, disk: float = 0.95) -> None:
        if every_s <= 0:
            raise ValueError(f"expected a time between samples, found {every_s!r}")
        self._every_s = every_s
        self._limits = {"load": load, "memory": memory, "disk": disk}
        self._samples: deque[dict[str, float]] = deque(maxlen=_KEPT_MAX)
        #: since when each value is past its limit, seconds since the Unix epoch
        self._alerts: dict[str, float] = {}
        self._stop = threading.Event()

    def post_start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="health", daemon=True).start()

    def on_suspend(self) -> None:
        """Watch no more."""
        self._stop.set()

    def snapshot(self) -> dict[str, Any]:
        """What it saw."""
        return {"samples": list(self._samples), "alerts": dict(self._alerts)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what it saw."""
        self._samples.extend(state["samples"])
        self._alerts.update(state["alerts"])

    def report(self) -> dict[str, Any]:
        """The newest sample, the highest values of all that are kept, and the alerts that hold."""
        seen = list(self._samples) or [self.look()]
        worst = {name: max(one[name] for one in seen) for name in self._limits}
        return {"now": seen[-1], "worst": worst, "alerts": dict(self._alerts), "samples": len(seen)}

    def look(self, values: dict[str, float] | None = None) -> dict[str, float]:
        """Take a sample now, or take in one that somebody else has made."""
        found = {"at": time.time(), **(values or sample())}
        self._samples.append(found)
        for name, limit in self._limits.items():
            if found[name] >= limit and name not in self._alerts:
                self._alerts[name] = found["at"]
                print(f"{name} is {found[name]:.2f}, past {limit:.2f}")
            elif found[name] < limit * _CALM and name in self._alerts:
                del self._alerts[name]
                print(f"{name} is {found[name]:.2f} again")
        return found

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self.look()
