"""Effects that happen once: `from kos_ray import effects`; see `worker.effects`, `worker.files`, docs/guarantees.md."""

from kos_ray.worker.effects import Once, StaleFence, guarded, sql
from kos_ray.worker.files import file

__all__ = ["Once", "StaleFence", "file", "guarded", "sql"]
