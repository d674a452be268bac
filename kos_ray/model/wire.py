"""Frozen dataclasses to plain data and back, for frames and messages.

Plain data are None, bool, int, float, str, bytes, tuples and dicts of them. A dataclass becomes a dict by field
name without the fields that hold their default, so that a reader of version N understands version N-1 (a missing
field takes its default) and N+1 (an unknown field is passed over). Columns of primitives pass through untouched.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

Plain = Any
T = TypeVar("T")
_Convert = Callable[[Any], Any]

_to_cache: dict[type, list[tuple[str, Any, _Convert | None]]] = {}
_from_cache: dict[type, dict[str, _Convert | None]] = {}


def to_plain(value: Any) -> Plain:
    """Plain data for a dataclass of the model."""
    fields = _to_cache.get(type(value))
    if fields is None:
        fields = _to_cache[type(value)] = _outgoing(type(value))
    plain = {}
    for name, default, convert in fields:
        item = getattr(value, name)
        if item is default or item == default:
            continue
        plain[name] = convert(item) if convert else item
    return plain


def from_plain(cls: type[T], plain: Plain, **known: Any) -> T:
    """The inverse of `to_plain` for the class `cls`; `known` are values of fields that are not in it.

    Raises:
        TypeError: a field without default is missing.

    """
    convert = _from_cache.get(cls)
    if convert is None:
        convert = _from_cache[cls] = _incoming(cls)
    for name, item in plain.items():
        if name in convert:
            change = convert[name]
            known[name] = change(item) if change else item
    return cls(**known)


def tagged(value: Any) -> tuple[str, Plain]:
    """`(class name, plain)`: the form of one event, decision or message in a list of several kinds."""
    return type(value).__name__, to_plain(value)


def untagged(types: dict[str, type], item: tuple[str, Plain]) -> Any:
    """The inverse of `tagged` over the classes in `types`.

    Raises:
        ValueError: the name is none of them.

    """
    name, plain = item
    if name not in types:
        raise ValueError(f"unknown kind {name!r}; expected one of {', '.join(sorted(types))}")
    return from_plain(types[name], plain)


def _outgoing(cls: type) -> list[tuple[str, Any, _Convert | None]]:
    hints = typing.get_type_hints(cls)
    result: list[tuple[str, Any, _Convert | None]] = []
    for f in dataclasses.fields(cls):
        default: Any = f.default
        if default is dataclasses.MISSING and f.default_factory is not dataclasses.MISSING:
            default = typing.cast("Callable[[], Any]", f.default_factory)()
        result.append((f.name, default, _converter(hints[f.name], outgoing=True)))
    return result


def _incoming(cls: type) -> dict[str, _Convert | None]:
    hints = typing.get_type_hints(cls)
    return {f.name: _converter(hints[f.name], outgoing=False) for f in dataclasses.fields(cls)}


def _converter(hint: Any, *, outgoing: bool) -> _Convert | None:
    """What turns a value of the type `hint` into plain data or back; None where nothing is to be done."""
    hint = getattr(hint, "__supertype__", hint)
    if dataclasses.is_dataclass(hint):
        cls = typing.cast("type", hint)
        return to_plain if outgoing else lambda plain: from_plain(cls, plain)
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        return int if outgoing else hint
    if isinstance(hint, types.UnionType) and types.NoneType in typing.get_args(hint):
        (inner,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
        change = _converter(inner, outgoing=outgoing)
        return (lambda item: None if item is None else change(item)) if change else None
    if typing.get_origin(hint) is tuple:
        return _tuple_converter(typing.get_args(hint), outgoing=outgoing)
    return None


def _tuple_converter(args: tuple[Any, ...], *, outgoing: bool) -> _Convert | None:
    if args[-1:] == (Ellipsis,):
        each = _converter(args[0], outgoing=outgoing)
        return (lambda items: tuple([each(item) for item in items])) if each else None
    converters = [_converter(arg, outgoing=outgoing) for arg in args]
    if not any(converters):
        return None
    return lambda items: tuple(change(item) if change else item for change, item in zip(converters, items, strict=True))
