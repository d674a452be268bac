"""What one agent has to do, and what it uses: its queue, its timers, its process."""

from collections.abc import Sequence
from typing import Any

import msgpack

from kos_ray.client.results import Following
from kos_ray.model.agents import agent_key
from kos_ray.model.ids import JobKey
from kos_ray.model.views import JobView, StoryLine

#: jobs in one question: each takes the frames from its submission on
_STORIES = 100


class Queueing(Following):
    """The part of a client that is about it."""

    def agent_queue(self, name: str, *, most: int = 100) -> dict[str, Any]:
        """The queue of an agent of this namespace, as it is handled: the most urgent band first, then by age.

        `handling` and the first `most` that are `waiting` are keys of jobs; `bands` says how many wait in each band,
        `later` how many wait for a dependency, a pause or somebody's word, `messages` how many there are of all.

        Raises:
            NotFound: there is none of that name.

        """
        self.get_agent(name)  # with near names where there is none
        packed = msgpack.packb({"key": agent_key(self.namespace, name), "most": most})
        return dict(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("agent_queue", packed))))

    def views_of(self, keys: list[JobKey]) -> list[JobView]:
        """Jobs by key, in the order of the keys."""
        return self._client._views(keys)

    def stories(self, keys: Sequence[JobKey]) -> list[list[StoryLine]]:
        """What happened to jobs, by key, in the order of the keys: who had each message, its attempts, how it ended.

        The journal's frames are read for each, from its submission on.
        """
        portions = [list(keys[start : start + _STORIES]) for start in range(0, len(keys), _STORIES)]
        return [story for portion in portions for story in self._ask("stories", portion)]

    def agent_timers(self, name: str) -> list[dict[str, Any]]:
        """The schedules of this namespace that send an agent messages."""
        self.get_agent(name)
        return [one for one in self.schedules() if (one["receiver"], one["namespace"]) == (name, self.namespace)]

    def agent_uses(self) -> dict[int, dict[str, int]]:
        """What the processes of running attempts use, by the key of their job, as their nodes measured it last.

        `cpu` is in thousandths of a core, `memory` in bytes that are shared with nobody, `measured_us` the instant.
        """
        return {
            key: {"attempt": attempt, "cpu": cpu, "memory": memory, "measured_us": node.measured_us}
            for node in self._client.node_standings()
            for key, attempt, cpu, memory in node.uses
        }
