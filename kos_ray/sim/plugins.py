"""Plug-ins as bad as they get: some answer as they should, others lie, crash, or say nothing, as the seed has it."""

from collections.abc import Callable

from kos_ray.model.ids import JobKey
from kos_ray.model.plugins import Advice, Question
from kos_ray.sim.world import MS_US, World

#: what settings name
NAME = "simulated"
#: honest ones are the most, so that something is ordered
_WAYS = ("honest", "honest", "honest", "partial", "twice", "lies", "torn", "crashes", "silent", "late")


class Plugins:
    """See `engine.ports.Plugins`. `kick` has the engine's owner do a tick."""

    def __init__(self, world: World, kick: Callable[[], None]) -> None:
        self._world = world
        self._kick = kick
        self._answer: Callable[[Advice], None] = lambda _: None
        #: which life of the process it is, so that what an ended one says is heard by nobody
        self._life: dict[str, int] = {}
        self._lives = 0
        self._graphs = world.seed % 2 == 0

    def listen(self, answer: Callable[[Advice], None]) -> None:
        """See the port."""
        self._answer = answer

    def ask(self, plugin: str, question: Question) -> None:
        """See the port."""
        world = self._world
        if plugin not in self._life:
            self._lives += 1
            self._life[plugin] = self._lives
            self._later(world.between(1, 300) * MS_US, Advice(plugin=plugin))
        way = world.pick(_WAYS)
        if way == "silent":
            return
        delay_us = world.between(310, 2_000) * MS_US if way == "late" else 300 * MS_US + world.between(0, 50) * MS_US
        self._later(delay_us, self._answered(plugin, question, way))

    def _answered(self, plugin: str, question: Question, way: str) -> Advice:
        world, keys = self._world, list(question.keys)
        if way == "crashes":
            return Advice(plugin=plugin, failed="its process ended with exit code -11")
        if way == "partial":
            keys = [key for key in keys if world.chance(0.5)]
        elif way == "twice":
            keys += keys
        elif way == "lies":
            keys.append(JobKey(world.between(1, 10_000_000)))
        ranks = [world.between(-5, 5) for _ in keys]
        if way == "torn":
            ranks.append(0)
        return Advice(plugin=plugin, number=question.number, keys=tuple(keys), ranks=tuple(ranks))

    def _later(self, delay_us: int, advice: Advice) -> None:
        self._world.after(delay_us, self._say, advice, self._life[advice.plugin])

    def _say(self, advice: Advice, life: int) -> None:
        if self._life.get(advice.plugin) == life:
            self._answer(advice)
            self._kick()

    def orders_graphs(self, _plugin: str) -> bool:
        """See the port."""
        return self._graphs

    def cancel(self, plugin: str, ids: tuple[str, ...]) -> None:
        """See the port: nobody answers to this."""

    def end(self, plugin: str) -> None:
        """See the port."""
        self._life.pop(plugin, None)
