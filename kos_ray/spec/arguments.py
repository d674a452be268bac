"""Arguments of function jobs: pickled once, with a persistent id where a parent's result is to stand.

The pickle holds `(args, kwargs)`. Whoever loads it resolves the persistent id `("input", position)` to the result of
the parent at that position of the job's inputs.
"""

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kos_ray.model import payload


@dataclass(frozen=True, slots=True)
class Input:
    """Stands in arguments for the result of the job's input at `position`."""

    position: int


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> tuple[str, int] | None:
        """Inputs leave the pickle as their position."""
        return ("input", obj.position) if isinstance(obj, Input) else None


def pack(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of one call; b"" where there is nothing to pass."""
    if not args and not kwargs:
        return b""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump((tuple(args), dict(kwargs)))
    return payload.inline(buffer.getvalue())


def reference(value: object) -> str | None:
    """The job that `{from: job}` names, None for every other value."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("from"), str):
        return str(value["from"])
    return None


def find_references(value: Any) -> Iterator[str]:
    """The jobs that `{from: job}` names at any depth, in order, doubles too."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        name = reference(item)
        if name is not None:
            yield name
        elif isinstance(item, dict | list):
            stack += reversed(list(item.values()) if isinstance(item, dict) else item)


def replace_references(value: Any, inputs: list[str]) -> Any:
    """A copy of `value` with an `Input` for each `{from: job}` at any depth; new jobs are appended to `inputs`."""
    name = reference(value)
    if name is not None:
        if name not in inputs:
            inputs.append(name)
        return Input(inputs.index(name))
    if isinstance(value, dict):
        return {key: replace_references(item, inputs) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_references(item, inputs) for item in value]
    return value
