"""Bringing up what an attempt needs: its spec, its callable and its arguments."""

import importlib
import io
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from kos_ray.model.job import Spec
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.model.wire import from_plain
from kos_ray.worker.packets import BLOBS, SPECS

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: Specs that a slot keeps ready; a slot that sees more starts over, since each may hold a large function.
_READY_MAX = 512

Inputs = tuple[bytes | tuple[bytes, ...], ...]


class Ready:
    """A spec with its callable; `call` is None for a command."""

    __slots__ = ("call", "env", "spec", "timeout_us")

    def __init__(self, spec: Spec, call: Callable[..., Any] | None) -> None:
        self.spec = spec
        self.call = call
        self.env = spec.env
        self.timeout_us = spec.timeout_ms * 1000


class Preparer:
    """Loads specs by name from a node directory, and arguments with the inputs in their places."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready: dict[str, Ready] = {}

    def spec(self, name: str) -> Ready:
        """The spec in `specs/<name>.spec`, loaded once.

        Raises:
            Exception: whatever reading, importing or unpickling raises.

        """
        ready = self._ready.get(name)
        if ready is None:
            if len(self._ready) >= _READY_MAX:
                self._ready.clear()
            data = (self._directory / SPECS / f"{name}.spec").read_bytes()
            spec = from_plain(Spec, msgpack.unpackb(data, use_list=False))
            ready = self._ready[name] = Ready(spec, self.callable(spec))
        return ready

    def callable(self, spec: Spec) -> Callable[..., Any] | None:
        """What a spec has run; None for a command.

        Raises:
            Exception: whatever importing or unpickling raises.

        """
        return _load_callable(spec)

    def arguments(self, args: bytes, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments; `b""` stands for none.

        Raises:
            Exception: whatever unpickling raises.

        """
        if not args:
            return (), {}
        data = self._bytes(args)
        loaded = self._with_inputs(data, inputs) if inputs else pickle.loads(data)
        positional, named = loaded
        return positional, named

    def _with_inputs(self, data: bytes, inputs: Inputs) -> Any:
        unpickler = _Unpickler(io.BytesIO(data))
        unpickler.resolve = lambda position: self.value(inputs[position])
        return unpickler.load()

    def value(self, payload: bytes | tuple[bytes, ...]) -> Any:
        """The value of one payload, None where it holds none; a list for the results of an array.

        Raises:
            Exception: whatever unpickling raises.

        """
        if isinstance(payload, tuple):
            return [self.value(item) for item in payload]
        data = self._bytes(payload)
        return pickle.loads(data) if data else None

    def _bytes(self, payload: bytes) -> bytes:
        opened = open_payload(payload)
        if isinstance(opened, BlobRef):
            return (self._directory / BLOBS / opened.hash).read_bytes()
        return opened or b""


class _Unpickler(pickle.Unpickler):
    """Puts inputs where the pickle names them by the persistent id `("input", position)`."""

    resolve: Callable[[int], Any]

    def persistent_load(self, pid: Any) -> Any:
        kind, position = pid
        if kind != "input":
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}; expected ('input', position)")
        return self.resolve(position)


def _load_callable(spec: Spec) -> Callable[..., Any] | None:
    if spec.python and spec.python != PYTHON:
        raise RuntimeError(f"the job was pickled by Python {spec.python}, this node runs {PYTHON}")
    if spec.command:
        return None
    if spec.entry:
        return _by_name(spec.entry)
    call = pickle.loads(spec.function)
    if not callable(call):
        raise TypeError(f"the job's function is a {type(call).__name__}, which cannot be called")
    return call  # type: ignore[no-any-return]


def _by_name(entry: str) -> Callable[..., Any]:
    """The callable `module:function`, where function may be dotted."""
    module, colon, path = entry.partition(":")
    if not colon or not path:
        raise ValueError(f"an entry point is written 'module:function', found {entry!r}")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{entry} is a {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]
