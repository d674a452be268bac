"""Retention while the scheduler runs: from time to time, and when somebody asks, in portions between its ticks.

What goes is worked out by the reader actor; the scheduler writes one frame, and removes a few hundred rows at a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kos_ray.engine.engine import Engine
from kos_ray.journal import base
from kos_ray.journal.store import Journal
from kos_ray.model.errors import JournalUnwritable, Refused
from kos_ray.model.events import JournalCompacted
from kos_ray.model.job import JobState
from kos_ray.model.policy import Policy
from kos_ray.model.wire import from_plain
from kos_ray.runtime.compaction import FINALS, NEVER, Prepared, begin

_log = logging.getLogger("kos_ray.scheduler")
#: seconds between looks for what is too old, and between two portions
_SWEEP_S = 600.0
_PAUSE_S = 0.002

Ask = Callable[[Callable[[Callable[[object], None]], None]], Awaitable[Any]]


def cutoffs(policy: Policy, now_us: int) -> dict[JobState, int]:
    """Before which instant a job of each final state must have ended to go, as the settings have it."""
    kept = dict(policy.retention)
    return {state: now_us - kept[name] if (name := state.name.lower()) in kept else NEVER for state in FINALS}


class Retention:
    """See the module. `ask` puts something into the engine's inbox and waits for its answer."""

    def __init__(self, engine: Engine, journal: Journal, state_dir: Path, ask: Ask, reader: Callable[[], Any]) -> None:
        self._engine = engine
        self._journal = journal
        self._state_dir = state_dir
        self._ask = ask
        self._reader = reader
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Look, for ever; what was broken off before is done first."""
        while True:
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - it is logged, and the scheduler goes on
                _log.exception("retention failed; it is tried again in %.0f s", _SWEEP_S)
            await asyncio.sleep(_SWEEP_S)

    async def _look(self) -> None:
        async with self._one:
            await self._remove()
        policy = self._engine.state.policy
        if policy.log_days:
            await self._reader().remove_logs.remote(policy.log_days)
        if policy.retention or policy.journal_bytes_max:
            wanted = cutoffs(policy, self._engine.now_us())
            found = await self.compact(wanted, bytes_max=policy.journal_bytes_max)
            if found:
                _log.info("retention removed %d jobs, and events up to %s", found["jobs"], found["anchor"])
        await self._reader().sweep.remote()

    async def compact(self, wanted: dict[JobState, int], *, bytes_max: int = 0) -> dict[str, Any] | None:
        """Remove what ended before the cutoffs; what that was, as `Compacted`, None where it was nothing.

        Raises:
            Refused: the journal cannot write now, or something new refers to what would go.

        """
        async with self._one:
            await self._remove()
            said = await self._reader().compaction.remote(wanted, bytes_max)
            if said is None:
                return None
            event = from_plain(JournalCompacted, said["event"])
            stands = await asyncio.to_thread(base.load, self._state_dir, base.of_event(event, 0))
            stands.tables.clear()
            begin(self._journal, Prepared(event, stands))
            answer = await self._ask(lambda reply: self._engine.post(event, reply))
            if isinstance(answer, Refused):
                self._journal.leaving = None
                raise answer
            await self._remove()
            found: dict[str, Any] = said["found"]
            return found

    async def _remove(self) -> None:
        """What the newest compaction says, if it is not all gone."""
        try:
            for _ in self._journal.removal():
                await asyncio.sleep(_PAUSE_S)
        except JournalUnwritable as error:
            _log.warning("the removal of old jobs goes on later: %s", error)
