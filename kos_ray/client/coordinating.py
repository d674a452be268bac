"""What parties do together, as a client sees it (docs/coordination.md), and what comes of jobs."""

from kos_ray.client.agent_queue import Queueing


class Coordinating(Queueing):
    """The part of a client that is about it."""


__all__ = ["Coordinating"]
