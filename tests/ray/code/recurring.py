"""A module with a schedule of its own."""

from pathlib import Path

import kos_ray as kos

_HERE = Path(__file__).parent


@kos.every("every second", name="ticks", max_fires=2, overlap="allow_all", resources={"cpu": 0}, code=_HERE)
def tick() -> str:
    """When it was due."""
    return str(kos.context().scheduled_at)
