"""What Python code calls: `connect()`, handles of jobs, and the forms in which jobs are handed over.

Covers: submitting functions, maps, calls, workflows and drafts, code bundles, waiting for outcomes, questions to the
reader; the asyncio client; the back ends for `concurrent.futures` and joblib; how handles show themselves.
Does not cover: any decision; finding and starting clusters (`runtime.connect`).
May import: `model`, `spec`, `runtime.connect` (and through it nothing of Ray's but `ray.get` on its handles).

Importing the room imports nothing of it: nodes that run a `@kos.job` function need one light file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kos_ray.client.client import Client, connect
    from kos_ray.client.job import Job, JobArray, JobList

_WHERE = {
    "Client": "kos_ray.client.client",
    "Job": "kos_ray.client.job",
    "JobArray": "kos_ray.client.job",
    "JobList": "kos_ray.client.job",
    "connect": "kos_ray.client.client",
}

__all__ = ["Client", "Job", "JobArray", "JobList", "connect"]


def __getattr__(name: str) -> Any:
    """The room's names, imported at first use."""
    if name not in _WHERE:
        raise AttributeError(f"module 'kos_ray.client' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_WHERE[name]), name)
