"""An agent's process: its instance, its hooks, and the lanes in which its messages run.

The agent's *carrier* is one attempt for as long as the agent lives there (`Life`). For each message that is to be
handled at the same time the node agent asks for a *lane*: a thread with a line of its own, a slot but for the process.
"""

import asyncio
import contextlib
import inspect
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from kos_ray.model.agents import RESERVED
from kos_ray.model.errors import KosError, NeedsMissing
from kos_ray.model.job import Carries, Spec
from kos_ray.worker.agent_saves import Outcome, Saves
from kos_ray.worker.children import Family
from kos_ray.worker.context import Context, provide_here
from kos_ray.worker.line import AgentGone, Line
from kos_ray.worker.packets import UNSAVED
from kos_ray.worker.prepare import Preparer, Ready
from kos_ray.worker.slot import Slot

#: of the time to stop in, what is left to the calls that run when it begins
_CALLS_SHARE = 0.3
#: of the time after which a process counts as silent, how long it is between two signs of life
_BEAT_SHARE = 0.25
#: between two looks whether a call that is awaited is to stop
_LOOK_S = 0.05


class HookFailed(KosError):
    """A hook raised, or had not ended in its time."""


class StartTimeout(HookFailed):
    """The agent did not take messages in the time that it has for its start."""


class Life:
    """One attempt of a carrier: from the making of the agent to its end. Called as the attempt's function is."""

    def __init__(
        self, make: object, carries: Carries, grace_ms: int, line: Line, context: Context, family: Family
    ) -> None:
        if not isinstance(make, type):
            raise TypeError(f"an agent is made of a class, found {make!r}, a {type(make).__name__}")
        self._make = make
        self._carries = carries
        self._grace_s = grace_ms / 1_000
        self._line = line
        self._context = context
        self.instance: Any = None
        self.saves = Saves(carries, context, self._state, self._unsaved)
        #: when it is to take messages at the latest, on the monotonic clock; None: no limit holds (any more)
        self._start_by: float | None = None
        self._lanes: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looping = threading.Lock()
        #: for children of messages
        self.family = family

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Live until somebody wants it to stop.

        Raises:
            HookFailed: it could not come up.
            KosError: its state could not be saved when it was to go.

        """
        if self._carries.start_ms:
            self._start_by = time.monotonic() + self._carries.start_ms / 1_000
        self._check_needs()
        saved = self._in_time("the loading of its state", lambda: self._context.restored)
        self.instance = self._limited("the constructor", lambda: self._made(args, kwargs, saved))
        if saved is not None and hasattr(self._make, "restore"):
            self._limited("restore", lambda: self.instance.restore(saved["state"]))
        self._hook("pre_start")
        if saved is not None:
            self._hook("on_resume")
        self._start_by = None
        if self._carries.silent_ms:
            threading.Thread(target=self._beat, name="kos-beat", daemon=True).start()
        self._line.ready(self._context.key, self._context.attempt)
        self._hook("post_start")
        self._serve()
        self._leave()

    @property
    def name(self) -> str:
        """What it is known by."""
        return self._carries.name

    def _check_needs(self) -> None:
        carries, node = self._carries, self._context.node
        lacking = [
            f"{name}={value}" if value else name
            for name, value in carries.config
            if name not in os.environ or (value and os.environ[name] != value)
        ]
        missing = [f"setting {one}" for one in lacking]
        missing += [f"file {path}" for path in carries.files if not Path(path).exists()]
        if missing:
            told = " and ".join(f"the {one}" for one in missing)
            raise NeedsMissing(f"agent {carries.name} needs {told}, and has not, on node {node}", tuple(missing))

    def _beat(self) -> None:
        """Be heard, for as long as this process is let run."""
        while not self._line.gone:
            self._line.beat(self._context.key, self._context.attempt)
            time.sleep(self._carries.silent_ms / 1_000 * _BEAT_SHARE)

    # --- its state

    def _made(self, args: tuple[Any, ...], kwargs: dict[str, Any], saved: Any) -> Any:
        """The instance: new, or as it was saved, but for what its own `restore` does."""
        if saved is None:
            return self._make(*args, **kwargs)
        self.saves.restore(saved["handled"])
        if hasattr(self._make, "restore"):  # a hook of its own, with its own time
            return self._make(*args, **kwargs)
        found: Any = object.__new__(self._make)
        state = saved["state"]
        if hasattr(found, "__setstate__"):
            found.__setstate__(state)
            return found
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        found.__dict__.update(attributes or {})
        for name, value in (slots or {}).items():
            setattr(found, name, value)
        return found

    def _state(self) -> Any:
        """What is saved of it.

        Raises:
            HookFailed: its own `snapshot` raised, or had not ended in its time.

        """
        own = hasattr(self._make, "snapshot")
        return self._limited("snapshot", self.instance.snapshot) if own else self.instance.__getstate__()

    def _unsaved(self, text: str) -> None:
        """Tell whoever asked for a save that it could not be made."""
        with contextlib.suppress(KosError):
            self._line.ask(self._context.key, self._context.attempt, UNSAVED, (text,))

    # --- hooks

    def _hook(self, name: str) -> None:
        hook = getattr(self.instance, name, None)
        if hook is not None:
            self._limited(name, hook)

    def _limited(self, what: str, call: Callable[[], Any]) -> Any:
        """What a hook returns, if it does in its time.

        Raises:
            HookFailed: it raised, or it still runs.

        """
        return self._in_time(what, call, self._carries.hook_ms / 1_000)

    def _in_time(self, what: str, call: Callable[[], Any], limit_s: float | None = None) -> Any:
        """What a call returns, if it does in so many seconds, and before the start has to be over.

        Raises:
            HookFailed: it raised, or it still runs.

        """
        done: Future[Any] = Future()

        def run() -> None:
            try:
                found = call()
                done.set_result(asyncio.run(found) if inspect.iscoroutine(found) else found)
            except BaseException as error:  # noqa: BLE001 - whatever a hook raises ends the start, not the thread
                done.set_exception(error)

        threading.Thread(target=run, name=f"kos-{what}", daemon=True).start()
        left_s = None if self._start_by is None else max(0.0, self._start_by - time.monotonic())
        try:
            return done.result(min((some for some in (limit_s, left_s) if some is not None), default=None))
        except Exception as error:
            late = isinstance(error, TimeoutError) and not done.done()
            if late and left_s is not None and (limit_s is None or left_s < limit_s):
                raise StartTimeout(
                    f"agent {self._carries.name} did not take messages within {self._carries.start_ms / 1_000:g} s "
                    f"(start_timeout): {what} still ran"
                ) from error
            said = f"had not ended after {limit_s:g} s" if late else f"raised {type(error).__name__}: {error}"
            raise HookFailed(f"{what} of agent {self._carries.name} {said}") from error

    def _tried(self, name: str) -> None:
        """A hook whose failure changes nothing: it is told in the log."""
        try:
            self._hook(name)
        except HookFailed as error:
            print(error, file=sys.stderr)

    # --- messages

    def _serve(self) -> None:
        """Open lanes as they are asked for."""
        woken = os.eventfd(0, os.EFD_NONBLOCK)
        self._line.woken = lambda: os.eventfd_write(woken, 1)
        poller = select.poll()
        poller.register(self._line.fd, select.POLLIN)
        poller.register(woken, select.POLLIN)
        try:
            while not self._context.should_stop():
                while self._line.lanes:
                    lane = threading.Thread(target=self._lane, args=(self._line.lanes.popleft(),), daemon=True)
                    self._lanes = [one for one in self._lanes if one.is_alive()]
                    self._lanes.append(lane)
                    lane.start()
                if self._line.saves_asked:
                    self._line.saves_asked = 0
                    self.saves.asked()
                self.saves.look()
                poller.poll(self.saves.wait_ms())
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(woken)
        finally:
            self._line.woken = None
            os.close(woken)

    def _lane(self, slot_id: str) -> None:
        """Handle the messages of one lane until the node agent closes it."""
        try:
            line = Line(self._line.socket_path, slot_id)
        except (OSError, AgentGone):
            return
        lane = Lane(line, self)
        provide_here(lane.context)
        try:
            while (packet := line.next_packet()) is not None:
                lane.run(*packet)
        finally:
            lane.progress.close()
            line.close()

    def awaited(self, coroutine: Any, lane: "Lane") -> Any:
        """What a coroutine returns that runs in the agent's one loop; cancelled when its message is to stop."""

        async def within() -> Any:
            provide_here(lane.context)
            return await coroutine

        future = asyncio.run_coroutine_threadsafe(within(), self._running_loop())
        while True:
            try:
                return future.result(_LOOK_S)
            except TimeoutError:
                if future.done():
                    raise
                if lane.stop_asked():
                    future.cancel()
            except CancelledError as error:
                raise KosError("it was asked to stop") from error

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._looping:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="kos-agent-loop", daemon=True).start()
            return self._loop

    # --- its end

    def _leave(self) -> None:
        """Let calls end that run, tell the agent, save its state; nobody wants the state of one that is over."""
        if self._line.gone:
            return
        for_good = self._line.for_good
        if for_good:
            self.saves.no_more()
        # at the end of a life's limit there is less time than an agent has otherwise
        asked_ms = self._line.stop_grace_ms(self._context.key, self._context.attempt)
        grace_s = self._grace_s if asked_ms is None else min(self._grace_s, asked_ms / 1_000)
        until = time.monotonic() + grace_s * _CALLS_SHARE
        for lane in self._lanes:
            lane.join(max(0.0, until - time.monotonic()))
        self._tried("on_shutdown" if for_good else "on_suspend")
        if not for_good:
            self.saves.last()


class _NoOutput:
    """What messages print goes into their agent's log."""

    def position(self) -> int:
        """Nothing of it is theirs."""
        return 0


class _Methods(Preparer):
    """Prepares calls of the agent's methods."""

    def __init__(self, lane: "Lane", life: Life) -> None:
        super().__init__(lane.directory)
        self._lane = lane
        self._life = life

    def callable(self, spec: Spec) -> Callable[..., Any]:
        """The method that a message names.

        Raises:
            KosError: it has none that may be called.

        """
        name, instance = spec.entry, self._life.instance
        method = None if name.startswith("_") or name in RESERVED else getattr(instance, name, None)
        if method is None or not callable(method):
            raise KosError(f"agent {self._life.name} has no method {name!r} that can be called")

        def call(*args: Any, **kwargs: Any) -> Any:
            found = method(*args, **kwargs)
            return self._life.awaited(found, self._lane) if inspect.iscoroutine(found) else found

        return call


class Lane(Slot):
    """A slot inside of an agent's process."""

    def __init__(self, line: Line, life: Life) -> None:
        super().__init__(line, _NoOutput(), life.family)
        self._life = life
        self._preparer = _Methods(self, life)

    def stop_asked(self) -> bool:
        """Whether the message that runs is to end."""
        return self._stop_asked()

    def _entered(self, ready: Ready, positional: tuple[Any, ...], named: dict[str, Any]) -> Outcome:
        enter = super()._entered
        return self._life.saves.handle(self._public_id, lambda: enter(ready, positional, named))
