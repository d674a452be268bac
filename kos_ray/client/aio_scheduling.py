"""Schedules and events, for programs that live in an event loop; see `client/scheduling.py`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from kos_ray.client.emitting import Emitting
from kos_ray.client.scheduling import Terms
from kos_ray.spec.lower import Draft

P = ParamSpec("P")
R = TypeVar("R")


class AsyncScheduling:
    """The part of an asyncio client that is about schedules and events."""

    if TYPE_CHECKING:

        @property
        def _sync(self) -> Emitting: ...

        async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def schedule(
        self,
        function: Callable[..., Any],
        rule: str | Sequence[str],
        *,
        name: str = "",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        replace: bool = False,
        options: Mapping[str, Any] | None = None,
        **terms: Unpack[Terms],
    ) -> dict[str, Any]:
        """See `Client.schedule`."""
        given: dict[str, Any] = {"name": name, "args": args, "kwargs": kwargs, "replace": replace, "options": options}
        return await self._run(self._sync.schedule, function, rule, **given, **terms)

    async def emit(self, name: str, data: Any = None, **more: Any) -> bool:
        """See `Client.emit`."""
        return await self._run(self._sync.emit, name, data, **more)

    async def on(self, function: Callable[..., Any], events: str | Sequence[str], **more: Any) -> dict[str, Any]:
        """See `Client.on`."""
        return await self._run(self._sync.on, function, events, **more)

    async def schedule_draft(
        self,
        draft: Draft,
        rule: str | Sequence[str],
        *,
        name: str,
        code: Sequence[Path] = (),
        replace: bool = False,
        **terms: Unpack[Terms],
    ) -> dict[str, Any]:
        """See `Client.schedule_draft`."""
        given: dict[str, Any] = {"name": name, "code": code, "replace": replace}
        return await self._run(self._sync.schedule_draft, draft, rule, **given, **terms)

    async def apply_drafts(
        self, drafts: Sequence[Draft], *, code: Sequence[Path] = (), replace: bool = False
    ) -> list[dict[str, Any]]:
        """See `Client.apply_drafts`."""
        return await self._run(self._sync.apply_drafts, drafts, code=code, replace=replace)

    async def schedules(self) -> list[dict[str, Any]]:
        """See `Client.schedules`."""
        return await self._run(self._sync.schedules)

    async def get_schedule(self, name: str) -> dict[str, Any]:
        """See `Client.get_schedule`."""
        return await self._run(self._sync.get_schedule, name)

    async def pause_schedule(self, name: str, note: str = "") -> None:
        """See `Client.pause_schedule`."""
        await self._run(self._sync.pause_schedule, name, note)

    async def resume_schedule(self, name: str, note: str = "") -> None:
        """See `Client.resume_schedule`."""
        await self._run(self._sync.resume_schedule, name, note)

    async def remove_schedule(self, name: str) -> None:
        """See `Client.remove_schedule`."""
        await self._run(self._sync.remove_schedule, name)

    async def trigger_schedule(self, name: str) -> dict[str, Any]:
        """See `Client.trigger_schedule`."""
        return await self._run(self._sync.trigger_schedule, name)

    async def backfill_schedule(self, name: str, from_us: int, to_us: int, *, dry_run: bool = False) -> dict[str, Any]:
        """See `Client.backfill_schedule`."""
        return await self._run(self._sync.backfill_schedule, name, from_us, to_us, dry_run=dry_run)
