"""One call of a function as a value: what `Client.submit_many` takes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Unpack

from kos_ray.client.job import Handle, Parents
from kos_ray.client.options import Options
from kos_ray.model.dependency import Conditions
from kos_ray.model.errors import InvalidSpec
from kos_ray.model.gang import GangMode, GangSpec
from kos_ray.spec.after import parse_conditions
from kos_ray.spec.fields import checked_key
from kos_ray.spec.gang import check_size, parse_gang
from kos_ray.spec.parse import parse_limit
from kos_ray.spec.schema import parse_name

_NOTHING = Conditions()


class Call:
    """A job of its own, with its own name, parents and options (those of `Client.submit`).

    client.submit_many([kos.Call(work, (i,), priority="high" if i < 10 else "low") for i in range(1000)])
    """

    __slots__ = ("after", "args", "function", "idempotency_key", "kwargs", "name", "options")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        after: Parents = (),
        idempotency_key: str = "",
        **options: Unpack[Options],
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.name = checked_name(name) if name else ""
        self.after = after
        self.idempotency_key = checked_key(idempotency_key)
        self.options = options

    def __repr__(self) -> str:
        return f"<Call {self.name or getattr(self.function, '__qualname__', self.function)}>"

    @property
    def waits_for_nothing(self) -> bool:
        """Whether it says so: what else is empty may make no sense."""
        return isinstance(self.after, tuple | list) and not self.after

    @property
    def template(self) -> tuple[int, str]:
        """The same for calls that may share one template: the function and the options."""
        return id(self.function), repr(self.options) if self.options else ""


def checked_gang(gang: object, at_most: int) -> GangSpec | None:
    """The gangs of a map.

    Raises:
        InvalidSpec: it says something else, or stands beside a limit of items at once.

    """
    try:
        found = parse_gang(gang)
    except ValueError as error:
        raise InvalidSpec(f"gang: {error}") from None
    if found is not None and at_most and found.mode is not GangMode.BEST_EFFORT:
        raise InvalidSpec(f"expected no at_most with a gang, whose members start together, found {at_most}")
    return found


def check_gang_of(gang: GangSpec, count: int) -> None:
    """Refuse a number of items that cannot be cut into gangs, before any of them is handed over.

    Raises:
        InvalidSpec: with what was expected.

    """
    try:
        check_size(gang, count)
    except ValueError as error:
        raise InvalidSpec(f"gang: {error}") from None


def checked_name(name: str) -> str:
    """The name, if a job may have it.

    Raises:
        InvalidSpec: it may not.

    """
    try:
        return parse_name(name)
    except ValueError as error:
        raise InvalidSpec(f"name: {error}") from None


def checked_limit(word: str, limit: int | None) -> int:
    """A limit of an array, 0 where there is none.

    Raises:
        InvalidSpec: it is no number of items.

    """
    try:
        return 0 if limit is None else parse_limit(limit)
    except ValueError as error:
        raise InvalidSpec(f"{word}: {error}") from None


def conditions(after: Parents, singleton: str = "") -> Conditions:
    """What a call waits for; `singleton` is the key where `after` says only that it is one: the job's type, if known.

    Raises:
        InvalidSpec: a word is not known, or has a value that it cannot have.

    """
    if isinstance(after, tuple | list) and not after:
        return _NOTHING
    try:
        found = parse_conditions(after, _ids)
    except ValueError as error:
        raise InvalidSpec(f"after: {error}") from None
    return replace(found, singleton=singleton, by_type=False) if found.by_type and singleton else found


def _ids(parents: object) -> Iterator[str]:
    """Ids of a handle, or of a sequence of handles and texts."""
    if isinstance(parents, Handle):
        yield from parents.ids
    elif isinstance(parents, str) or not isinstance(parents, Iterable):
        yield str(parents)
    else:
        for parent in parents:
            yield from _ids(parent)
