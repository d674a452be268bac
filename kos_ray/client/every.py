"""`@kos.every` and `@kos.on`: a function whose jobs start by themselves.

A node that runs such a function imports this module: it imports nothing else that is heavy.
"""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kos_ray.client.current import current_client
from kos_ray.client.decorated import JobFunction

if TYPE_CHECKING:
    from kos_ray.client.client import Client

P = ParamSpec("P")
R = TypeVar("R")
#: what is said of the schedule; everything else is an option of its jobs. As in `scheduling.Terms`
TERMS = (
    *("tz", "dst", "without", "start", "end", "max_fires", "jitter", "window"),
    *("overlap", "catch_up", "pause_on_failure", "on", "where", "given"),
)


class RecurringFunction(JobFunction[P, R]):
    """A `JobFunction` with a schedule of its own. Nothing fires before `start`, or `kos schedule apply MODULE`."""

    def __init__(
        self,
        function: Callable[P, R],
        rules: tuple[str, ...],
        name: str,
        terms: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(function, options)
        self.rules = rules
        self.name = name or self.__qualname__.rpartition(".")[2]
        self._terms = dict(terms)

    def __repr__(self) -> str:
        return f"<RecurringFunction {self.__module__}.{self.__qualname__}: {' | '.join(self.rules)}>"

    def start(self, client: "Client | None" = None) -> dict[str, Any]:
        """Set its schedule as it is written here, in place of an older one of that name; see `Client.schedule`.

        Raises:
            InvalidSpec, Refused: nothing was changed; the message says why.

        """
        found = client or current_client()
        return found.schedule(self, self.rules, name=self.name, options=self._options, replace=True, **self._terms)


def every(*rules: str, name: str = "", **said: Any) -> Callable[[Callable[P, R]], RecurringFunction[P, R]]:
    """Give a function a schedule: `@kos.every("weekday 09:00", tz="Europe/Berlin", retry=3)`.

    What `Client.schedule` knows is the schedule's; everything else is an option of its jobs, as in `Client.submit`.
    The function takes no arguments. `name` is its own where none is given.

    Raises:
        TypeError: no rule was given, or the decorator stands without its parentheses.

    """
    if not rules or not all(isinstance(rule, str) for rule in rules):
        raise TypeError("expected a rule, as in @kos.every('weekday 09:00')")
    terms = {word: value for word, value in said.items() if word in TERMS}
    options = {word: value for word, value in said.items() if word not in TERMS}
    return lambda function: RecurringFunction(function, rules, name, terms, options)


class ReactingFunction(RecurringFunction[P, R]):
    """A function whose jobs start for events. In such a job it is called with the event as its one argument."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here."""
        if not args and not kwargs and signature(self.__wrapped__).parameters:
            from kos_ray import context  # noqa: PLC0415 - only a job has one

            call: Callable[..., R] = self.__wrapped__
            return call(context().event)
        return super().__call__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<ReactingFunction {self.__module__}.{self.__qualname__}>"

    def __reduce__(self) -> Any:
        """By name where it is importable, as any `JobFunction`."""
        found = super().__reduce__()
        return found if isinstance(found, str) else (ReactingFunction, (self.__wrapped__, (), self.name, {}, {}))


def on(*events: str, name: str = "", **said: Any) -> Callable[[Callable[P, R]], ReactingFunction[P, R]]:
    """Have a function's jobs start for events: `@kos.on("file.created", where="path ~ *.csv", retry=3)`.

    The function gets the event as its argument, if it has one. What `Client.on` knows is the reaction's; everything
    else is an option of its jobs. Nothing starts before `start()`, or `kos schedule apply MODULE`.

    Raises:
        TypeError: no event was named, or the decorator stands without its parentheses.

    """
    if not events or not all(isinstance(event, str) for event in events):
        raise TypeError("expected the name of an event, as in @kos.on('file.created')")
    terms = {word: value for word, value in said.items() if word in TERMS} | {"on": events}
    options = {word: value for word, value in said.items() if word not in TERMS}
    return lambda function: ReactingFunction(function, (), name, terms, options)
