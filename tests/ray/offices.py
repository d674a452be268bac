"""Clerks of a real cluster: hired, watched, and let go at the end of a test."""

from typing import Any

import crewmen

from kos_ray.model.views import JobView
from tests.ray.conftest import CODE, KosCluster, wait_until


class Office:
    """Registers clerks, and takes them away again."""

    def __init__(self, kos: KosCluster) -> None:
        self.kos = kos
        self.client = kos.client
        self.names: list[str] = []

    def hire(self, name: str, *, declines: str = "", **said: Any) -> None:
        self.client.register_agent(crewmen.Clerk, name=name, args=(name, declines), code=CODE, **said)
        self.names.append(name)

    def phase(self, name: str) -> str:
        return str(self.client.get_agent(name)["phase"])

    def carrier(self, name: str) -> JobView:
        """The job that carries an agent, with what it waits for."""
        (view,) = self.client.views_of([self.client.get_agent(name)["job"]])
        return self.client.get(view.id)

    def until(self, name: str, phase: str) -> None:
        wait_until(lambda: self.phase(name) == phase)

    def close(self) -> None:
        for name in self.names:
            self.client.stop_agent(name)
        for name in self.names:
            wait_until(lambda name=name: self.phase(name) in ("stopped", "failed", "registered"))
            self.client.remove_agent(name, force=True)
