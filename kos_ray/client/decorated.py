"""`@kos.job`: a function with the options of its jobs.

A node that runs such a function imports this module: it imports nothing else that is heavy.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from kos_ray.client.current import current_client
from kos_ray.client.resources import Resources

if TYPE_CHECKING:
    from typing import Unpack

    from kos_ray.client.calls import Call
    from kos_ray.client.job import Job, JobArray, Parents
    from kos_ray.client.options import Options

P = ParamSpec("P")
R = TypeVar("R")


class JobFunction(Generic[P, R]):
    """Called, it runs here, as it would without kos_ray; `submit` and `map` hand it to the current client."""

    __wrapped__: Callable[P, R]
    __qualname__: str

    def __init__(self, function: Callable[P, R], options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._options = dict(options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here."""
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<JobFunction {self.__module__}.{self.__qualname__}>"

    def submit(self, *args: Any, **kwargs: Any) -> "Job":
        """Hand over one call with these arguments, among them job handles; see `Client.submit`."""
        return current_client().submit(self, *args, kwargs=kwargs, **self._options)

    def map(self, items: Iterable[Any]) -> "JobArray":
        """Hand over one call for each item, as an array; see `Client.map`."""
        return current_client().map(self, items, **self._options)

    def call(self, *args: Any, **kwargs: Any) -> "Call":
        """The call as a value for `Client.submit_many`."""
        from kos_ray.client.calls import Call  # noqa: PLC0415 - see the top

        return Call(self, args, kwargs, **self._options)

    def options(
        self,
        *,
        name: str | None = None,
        after: "Parents | None" = None,
        idempotency_key: str | None = None,
        **options: "Unpack[Options]",
    ) -> "JobFunction[P, R]":
        """The same function with other options, or with a name, parents or an idempotency key for its next job."""
        own = {"name": name, "after": after, "idempotency_key": idempotency_key}
        more = {word: value for word, value in own.items() if value is not None}
        return JobFunction(self.__wrapped__, {**self._options, **more, **options})

    def __reduce__(self) -> Any:
        """By name where it is importable: its module travels in the code bundle."""
        if self.__module__ != "__main__" and _found(self.__module__, self.__qualname__) is self:
            return self.__qualname__
        return JobFunction, (self.__wrapped__, {})


def _found(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(
    *,
    cpu: float | None = None,
    gpu: float | None = None,
    memory: str | int | None = None,
    custom: Mapping[str, float] | None = None,
    **options: "Unpack[Options]",
) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    cpu: float | None = None,
    gpu: float | None = None,
    memory: str | int | None = None,
    custom: Mapping[str, float] | None = None,
    **options: Any,
) -> Any:
    """Make a function one whose calls can be handed over: `@kos.job`, or `@kos.job(gpu=1, retry=3)`.

    Raises:
        TypeError: `resources` was given beside cpu, gpu, memory or custom.

    """
    if function is not None:
        return JobFunction(function, {})
    written = {"cpu": cpu, "gpu": gpu, "memory": memory, "custom": custom}
    held: dict[str, Any] = {name: value for name, value in written.items() if value is not None}
    if held and "resources" in options:
        raise TypeError(f"expected either resources or {', '.join(held)}, found both")
    if held:
        options["resources"] = Resources(**held)
    return lambda decorated: JobFunction(decorated, options)
