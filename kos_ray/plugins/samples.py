"""A sample of a plug-in: shortest job first.

Its entry point stands in `pyproject.toml`, as those of others do:

    [project.entry-points."kos_ray.disciplines"]
    shortest_job_first = "kos_ray.plugins.samples:ShortestJobFirst"
"""

from collections.abc import Mapping
from typing import Any


class ShortestJobFirst:
    """The job that is expected to run the shortest goes first; those of which nobody knows go last, as they came."""

    def can_handle(self, task: Mapping[str, Any]) -> bool:
        """Only jobs whose run time was declared, or measured."""
        return self._run_time(task) is not None

    def schedule(self, task: Mapping[str, Any]) -> float | None:
        """The rank: seconds."""
        return self._run_time(task)

    def cancel(self, task_id: str) -> None:
        """Nothing is kept of a task, so nothing is forgotten."""

    @staticmethod
    def _run_time(task: Mapping[str, Any]) -> float | None:
        found = task["run_time"] or task["measured_run_time"]
        return None if found is None else float(found)
