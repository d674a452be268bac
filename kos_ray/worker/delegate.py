"""Messages to agents from code that runs in a job: `kos.context().agent("critic").check(text)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kos_ray.model.dispatch import To

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kos_ray.worker.children import Child


class Whom(NamedTuple):
    """A method of an agent, or of whoever is able: what is called in the place of a function."""

    to: str | To
    method: str

    @property
    def label(self) -> str:
        """The type of such messages."""
        return f"{self.to.role if isinstance(self.to, To) else self.to}.{self.method}".lstrip(".")


class Delegate:
    """An agent, or whoever is able, as a job sees it: methods are attributes.

    context().agent("critic").check(text)           the result; its job waits for that, and keeps its room
    context().role("critic").check.submit(text)     the message, a child of this job
    """

    def __init__(self, submit: Callable[..., Child], to: str | To) -> None:
        self._submit = submit
        self._to = to

    def __getattr__(self, method: str) -> DelegateMethod:
        if method.startswith("_"):
            raise AttributeError(method)
        return DelegateMethod(self._submit, Whom(self._to, method), {})


class DelegateMethod:
    """One method of it."""

    def __init__(self, submit: Callable[..., Child], whom: Whom, options: Mapping[str, Any]) -> None:
        self._submit = submit
        self._whom = whom
        self._options = options

    def options(self, **options: Any) -> DelegateMethod:
        """The same method, called with these: `after`, `name`, and options as of `Context.submit`."""
        return DelegateMethod(self._submit, self._whom, {**self._options, **options})

    def submit(self, *args: Any, **kwargs: Any) -> Child:
        """Send the message; see `Context.submit`."""
        return self._submit(self._whom, *args, kwargs=kwargs, **self._options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the message, and wait for its result."""
        return self.submit(*args, **kwargs).result()
