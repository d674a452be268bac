"""What the scheduler actor answers about itself and what it watches."""

import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import kos_ray
from kos_ray.engine.engine import Engine
from kos_ray.engine.overview import overview
from kos_ray.engine.telemetry import Telemetry
from kos_ray.journal.store import Journal
from kos_ray.model.errors import JournalTaken
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.views import Leaks
from kos_ray.runtime.links import RayLinks
from kos_ray.runtime.messages import pack
from kos_ray.runtime.nodes import NodeWatch

_log = logging.getLogger("kos_ray.scheduler")


def over(why: str) -> None:
    """End at once: what this process holds in memory is the past, and whoever it answers would take it for now."""
    _log.error("another scheduler has the place of this one, which ends: %s", why)
    os._exit(1)


class WatchCalls:
    """A part of the actor; see `runtime/scheduler.py`."""

    _engine: Engine
    _journal: Journal
    _state_dir: Path
    _kick: Callable[[], None]
    _nodes: NodeWatch
    _telemetry: Telemetry

    def _watch(self, links: RayLinks) -> NodeWatch:
        """Watch nodes, and have this process end when another scheduler has its place: it may sleep through that."""
        found = NodeWatch(self._engine, links, self._journal.cluster_id, kos_ray.__version__, str(self._state_dir))
        found.kick, found.check, found.superseded = self._kick, self._check_ours, over
        return found

    def _check_ours(self) -> None:
        try:
            self._journal.check_ours()
        except JournalTaken as error:
            over(str(error))
        except sqlite3.Error:
            return  # the next commit says what is wrong

    async def overview(self) -> bytes:
        """How the scheduling stands, as a `SchedulingView`."""
        found = overview(self._engine.state, self._telemetry.counts(), self._engine.now_us())
        known = self._nodes.leaks.known
        ended = sum(leak.ended for leak in known)
        trouble, since_us = self._engine.stalled, self._engine.trouble.since_us
        found = replace(found, trouble=trouble, trouble_since_us=since_us)
        found = replace(found, leaks=len(known) - ended, leaks_ended=ended)
        return pack(replace(found, boots=self._nodes.boots.told(self._engine.state.nodes)))

    async def explain(self, key: int) -> bytes:
        """How a live job stands, as an `Explanation`; nothing for one that has ended."""
        found = self._engine.explain(JobKey(key))
        if found is None:
            return b""
        job = self._engine.state.jobs[JobKey(key)]
        if job.state is JobState.LAUNCHED and job.node is not None:
            found = replace(found, boots=self._nodes.boots.of(job.node, job.entry.spec.namespace))
        return pack(found)

    async def leaks(self, end: bool) -> bytes:
        """Look for what nobody answers for, and end what is proved to be that, or with `end` all; as `Leaks`."""
        return pack(Leaks(leaks=await self._nodes.leaks.sweep(all_of_them=end)))
