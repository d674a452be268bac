"""A joblib back end: `register()`, then `with joblib.parallel_config("kos"): ...`.

joblib is an extra: `pip install kos_ray[joblib]`.
"""

from collections.abc import Callable
from typing import Any

import joblib
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase, SequentialBackend

from kos_ray.client.client import Client
from kos_ray.client.current import current_client
from kos_ray.client.executor import KosExecutor, KosFuture
from kos_ray.client.remote import run


def register() -> None:
    """Make "kos" a back end of joblib, which `joblib.parallel_config("kos")` then names.

    Its parameters are `client` and the options of `Client.submit`: `parallel_config("kos", priority="low")`.
    """
    joblib.register_parallel_backend("kos", KosBackend)


class KosBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Each batch of calls that joblib makes is a job. Parallelism inside of a job is sequential."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, *, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **options: Any):
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._client: Client | None = options.pop("client", None)
        self._options = options
        self._executor: KosExecutor | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many jobs joblib keeps in flight: as many as asked for; for -1, as many as the cluster has CPUs.

        Raises:
            ValueError: 0 was asked for.

        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        client = self._client or current_client()
        cpus: int = sum(dict(node.resources).get("CPU", 0) for node in client.nodes() if node.alive) // 10_000
        return max(cpus + 1 + (n_jobs or -1), 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_other: Any) -> int:
        """Get ready for a call of `Parallel`."""
        self.parallel = parallel
        self._executor = KosExecutor(self._client, **self._options)
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None) -> KosFuture:
        """Hand over a batch of calls."""
        if self._executor is None:
            raise RuntimeError("the back end was not configured")
        future = self._executor.submit(run, func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: KosFuture) -> Any:
        """The results of a batch; raises what its code raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End what has not begun, since one batch has failed."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = KosExecutor(self._client, **self._options) if ensure_ready else None

    def terminate(self) -> None:
        """End the executor; it was needed for one call of `Parallel` only."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """A job holds what it asked for, and no more: what is parallel in it runs one after the other."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None
