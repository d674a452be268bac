"""One call of a function as a value: what `Client.submit_many` takes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Unpack

from kos_ray.client.job import Handle, Parents
from kos_ray.client.options import Options
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.job import After
from kos_ray.spec.schema import parse_name

_KINDS = {kind.name.lower(): kind for kind in After}


class Call:
    """A job of its own, with its own name, parents and options (those of `Client.submit`).

    client.submit_many([kos.Call(work, (i,), priority="high" if i < 10 else "low") for i in range(1000)])
    """

    __slots__ = ("after", "args", "function", "kwargs", "name", "options")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        after: Parents = (),
        **options: Unpack[Options],
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.name = checked_name(name) if name else ""
        self.after = after
        self.options = options

    def __repr__(self) -> str:
        return f"<Call {self.name or getattr(self.function, '__qualname__', self.function)}>"

    @property
    def template(self) -> tuple[int, str]:
        """The same for calls that may share one template: the function and the options."""
        return id(self.function), repr(self.options) if self.options else ""


def checked_name(name: str) -> str:
    """The name, if a job may have it.

    Raises:
        InvalidSpec: it may not.

    """
    try:
        return parse_name(name)
    except ValueError as error:
        raise InvalidSpec(f"name: {error}") from None


def parent_ids(after: Parents) -> Iterator[tuple[str, After]]:
    """Ids or names of the jobs to wait for, with the kind of each dependency.

    Raises:
        InvalidSpec: a kind is none of ok, any, not_ok.

    """
    groups = after.items() if isinstance(after, Mapping) else [("ok", after)]
    for word, refs in groups:
        if word not in _KINDS:
            raise InvalidSpec(f"after: expected ok, any or not_ok, found {word!r}")
        for parent in [refs] if isinstance(refs, str | Handle) else refs:
            for ref in parent.ids if isinstance(parent, Handle) else (str(parent),):
                yield ref, _KINDS[word]
