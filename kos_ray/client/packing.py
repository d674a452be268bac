"""Functions, arguments and results as bytes."""

import io
import pickle
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import cloudpickle

from kos_ray.client.job import Handle
from kos_ray.model import payload
from kos_ray.model.errors import InvalidSpec

#: values of these types mean the same to plain pickle, which is ten times faster
_PLAIN = frozenset({int, float, bool, str, bytes, type(None)})


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Replaces job handles by the position of their result among the job's inputs."""

    #: public id -> position; None where no handle may be
    inputs: dict[str, int] | None

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        """See `spec.arguments`: the persistent id that slots resolve."""
        if not isinstance(obj, Handle):
            return None
        if self.inputs is None:
            raise InvalidSpec("expected plain items in a map, found a job's handle: use submit or submit_many")
        ids = obj.ids
        return ("input", self.inputs.setdefault(ids[0], len(self.inputs))) if obj.one_input else None

    def reducer_override(self, obj: Any) -> Any:
        """A handle of several arrays or jobs is put together from its parts."""
        return obj.spread() if isinstance(obj, Handle) else super().reducer_override(obj)


def pack_function(function: Callable[..., Any]) -> bytes:
    """A callable by value where it is of `__main__` or a notebook, by name where it is importable.

    Raises:
        InvalidSpec: it cannot be pickled.

    """
    try:
        return _by_name(function) or cloudpickle.dumps(function)
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        raise InvalidSpec(f"function {name}: it cannot be sent to another process: {error}") from error


def _by_name(function: Callable[..., Any]) -> bytes:
    """What cloudpickle makes of a function of a module, b"" where it goes by value; a tenth of its time."""
    known = isinstance(function, FunctionType) and function.__module__ in sys.modules
    if not known or function.__module__ == "__main__" or cloudpickle.list_registry_pickle_by_value():
        return b""
    try:
        return pickle.dumps(function, cloudpickle.DEFAULT_PROTOCOL)
    except (pickle.PicklingError, AttributeError):
        return b""


def pack_call(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, inputs: dict[str, int] | None) -> bytes:
    """The pickle of one call's arguments, b"" for none; job handles among them are added to `inputs`.

    Raises:
        InvalidSpec: an argument cannot be pickled.

    """
    if kwargs:
        plain = _PLAIN.issuperset(map(type, args)) and _PLAIN.issuperset(map(type, kwargs.values()))
    elif not args:
        return b""
    else:
        plain = _PLAIN.issuperset(map(type, args))
    call = (args, dict(kwargs) if kwargs else {})
    if plain:
        return pickle.dumps(call, 5)
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, 5)
    pickler.inputs = inputs
    try:
        pickler.dump(call)
    except InvalidSpec:
        raise
    except Exception as error:
        raise InvalidSpec(f"the arguments cannot be sent to another process: {error}") from error
    return buffer.getvalue()


def pack_item(item: Any) -> bytes:
    """The pickle of a call with one positional argument, for maps."""
    return pack_call((item,), None, None)


def unpack_result(data: bytes, read_blob: Callable[[payload.BlobRef], bytes]) -> Any:
    """The value in a result payload; None for the empty one."""
    opened = payload.open_payload(data)
    if opened is None:
        return None
    return pickle.loads(read_blob(opened) if isinstance(opened, payload.BlobRef) else opened)
