"""What runs beside user code: the slot that runs attempts, and what a job can ask it.

Covers: the slot's loop, its messages with the node agent, loading of code and arguments, results and errors,
commands, logs, and `context()`.
Does not cover: which attempt runs where (`scheduler`), what starts slots and feeds them (`runtime`).
May import: `model`, `spec.options` (for children), cloudpickle, msgpack.
Never ray: a slot is a plain process that something else started.
"""

from kos_ray.worker.context import Context, context
from kos_ray.worker.gang import Gang

__all__ = ["Context", "Gang", "context"]
