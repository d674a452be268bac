"""kos_ray: durable jobs, priorities and explanations inside a live Ray cluster.

    import kos_ray as kos

    with kos.connect() as client:
        job = client.submit(fn, 1, 2)
        print(job.result())

Importing this package imports neither Ray nor anything else that is heavy.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kos_ray.client.aio import AsyncClient, AsyncJob, AsyncJobs, connect_async
    from kos_ray.client.calls import Call
    from kos_ray.client.client import Client, connect
    from kos_ray.client.current import current_client
    from kos_ray.client.decorated import job
    from kos_ray.client.executor import KosExecutor
    from kos_ray.client.job import Job, JobArray, JobList
    from kos_ray.client.resources import Resources
    from kos_ray.client.workflow import Workflow, workflow
    from kos_ray.model.errors import (
        ClusterUnreachable,
        InvalidSpec,
        JobCancelled,
        JobFailed,
        JobLost,
        JobSkipped,
        KosError,
        NonRetryable,
        NotFound,
        Refused,
        RetryAfter,
    )
    from kos_ray.worker.context import context

_WHERE = {
    "AsyncClient": "client.aio",
    "AsyncJob": "client.aio",
    "AsyncJobs": "client.aio",
    "Call": "client.calls",
    "Client": "client.client",
    "ClusterUnreachable": "model.errors",
    "InvalidSpec": "model.errors",
    "Job": "client.job",
    "JobArray": "client.job",
    "JobCancelled": "model.errors",
    "JobFailed": "model.errors",
    "JobList": "client.job",
    "JobLost": "model.errors",
    "JobSkipped": "model.errors",
    "KosError": "model.errors",
    "KosExecutor": "client.executor",
    "NonRetryable": "model.errors",
    "NotFound": "model.errors",
    "Refused": "model.errors",
    "Resources": "client.resources",
    "RetryAfter": "model.errors",
    "Workflow": "client.workflow",
    "connect": "client.client",
    "connect_async": "client.aio",
    "context": "worker.context",
    "current_client": "client.current",
    "job": "client.decorated",
    "workflow": "client.workflow",
}

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncJobs",
    "Call",
    "Client",
    "ClusterUnreachable",
    "InvalidSpec",
    "Job",
    "JobArray",
    "JobCancelled",
    "JobFailed",
    "JobList",
    "JobLost",
    "JobSkipped",
    "KosError",
    "KosExecutor",
    "NonRetryable",
    "NotFound",
    "Refused",
    "Resources",
    "RetryAfter",
    "Workflow",
    "__version__",
    "connect",
    "connect_async",
    "context",
    "current_client",
    "job",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """The facade's names, imported at first use."""
    if name not in _WHERE:
        raise AttributeError(f"module 'kos_ray' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"kos_ray.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    """What completion offers."""
    return __all__
