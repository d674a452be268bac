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
    from kos_ray import effects
    from kos_ray.client.aio import AsyncClient, AsyncJob, AsyncJobs, connect_async
    from kos_ray.client.calls import Call
    from kos_ray.client.client import Client, connect
    from kos_ray.client.current import current_client
    from kos_ray.client.declared import agent
    from kos_ray.client.decorated import job
    from kos_ray.client.every import every, on
    from kos_ray.client.executor import KosExecutor
    from kos_ray.client.job import Job, JobArray, JobList
    from kos_ray.client.resources import Resources
    from kos_ray.client.workflow import Workflow, workflow
    from kos_ray.model.errors import (
        BrokenBarrier,
        ClusterUnreachable,
        Deadlock,
        Decline,
        InvalidSpec,
        JobCancelled,
        JobFailed,
        JobLost,
        JobSkipped,
        KosError,
        LeaseLost,
        LockTimeout,
        NonRetryable,
        NotFound,
        NotGranted,
        Refused,
        RetryAfter,
    )
    from kos_ray.worker.context import context

_WHERE = {
    "AsyncClient": "client.aio",
    "AsyncJob": "client.aio",
    "AsyncJobs": "client.aio",
    "BrokenBarrier": "model.errors",
    "Call": "client.calls",
    "Client": "client.client",
    "ClusterUnreachable": "model.errors",
    "Deadlock": "model.errors",
    "Decline": "model.errors",
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
    "LeaseLost": "model.errors",
    "LockTimeout": "model.errors",
    "NonRetryable": "model.errors",
    "NotFound": "model.errors",
    "NotGranted": "model.errors",
    "Refused": "model.errors",
    "Resources": "client.resources",
    "RetryAfter": "model.errors",
    "Workflow": "client.workflow",
    "agent": "client.declared",
    "connect": "client.client",
    "connect_async": "client.aio",
    "context": "worker.context",
    "current_client": "client.current",
    "every": "client.every",
    "on": "client.every",
    "job": "client.decorated",
    "workflow": "client.workflow",
}

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncJobs",
    "BrokenBarrier",
    "Call",
    "Client",
    "ClusterUnreachable",
    "Deadlock",
    "Decline",
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
    "LeaseLost",
    "LockTimeout",
    "NonRetryable",
    "NotFound",
    "NotGranted",
    "Refused",
    "Resources",
    "RetryAfter",
    "Workflow",
    "__version__",
    "agent",
    "connect",
    "connect_async",
    "context",
    "current_client",
    "effects",
    "every",
    "job",
    "on",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """The facade's names, imported at first use."""
    from importlib import import_module  # noqa: PLC0415

    if name == "effects":
        return import_module("kos_ray.effects")
    if name not in _WHERE:
        raise AttributeError(f"module 'kos_ray' has no attribute {name!r}")
    return getattr(import_module(f"kos_ray.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    """What completion offers."""
    return __all__
