"""Plug-ins in a rehearsal: asked as by the engine, they answer right here, and at the same instant."""

import time
from collections.abc import Callable, Iterable, Sequence

from kos_ray.engine.advice import Advisor
from kos_ray.model.decisions import Decision
from kos_ray.model.errors import KosError
from kos_ray.model.events import Event
from kos_ray.model.ids import JobKey
from kos_ray.model.plugins import Advice, Question
from kos_ray.plugins.host import answered
from kos_ray.plugins.load import Plugin, load, orders_graphs
from kos_ray.scheduler.state import State


class PluginFailed(KosError):
    """A plug-in raised, or what it said makes no sense. Live it would be disabled."""


class Advised:
    """Asks plug-ins after each pass. What they say becomes events of the next one."""

    def __init__(self) -> None:
        self._plugins = _Plugins()
        self._advisor = Advisor(self._plugins, lambda keys: {key: f"{key}" for key in keys})

    @property
    def thought_s(self) -> Sequence[float]:
        """How long each answer took, in seconds of processor time."""
        return self._plugins.thought_s

    def events(self, state: State, events: Sequence[Event], decisions: Iterable[Decision], now_us: int) -> list[Event]:
        """What plug-ins say after a pass.

        Raises:
            PluginFailed: one of them failed.

        """
        self._advisor.done(events, decisions)
        self._advisor.ask(state, now_us)
        found: list[Event] = []
        while self._plugins.answers:
            found += self._advisor.judge(self._plugins.answers.pop(0), state, now_us)
        return found


class _Plugins:
    """See `engine.ports.Plugins`: plug-ins in this process."""

    def __init__(self) -> None:
        self.answers: list[Advice] = []
        self.thought_s: list[float] = []
        self._loaded: dict[str, Plugin] = {}

    def listen(self, answer: Callable[[Advice], None]) -> None:
        """See the port: answers are taken from `answers`."""

    def ask(self, plugin: str, question: Question) -> None:
        """See the port."""
        if plugin not in self._loaded:
            self._loaded[plugin] = load(plugin)
        begin_s = time.process_time()
        try:
            said = answered(self._loaded[plugin], question.plain())
        except Exception as error:
            raise PluginFailed(f"the plug-in {plugin} raised {type(error).__name__}: {error}") from error
        self.thought_s.append(time.process_time() - begin_s)
        keys, ranks = map(JobKey, said["keys"]), said["ranks"]
        self.answers.append(Advice(plugin=plugin, number=question.number, keys=tuple(keys), ranks=tuple(ranks)))

    def orders_graphs(self, plugin: str) -> bool:
        """See the port."""
        return orders_graphs(plugin)

    def cancel(self, plugin: str, ids: tuple[str, ...]) -> None:
        """See the port: nobody cancels in a rehearsal."""

    def end(self, plugin: str) -> None:
        """See the port: there is no process to be ended."""
