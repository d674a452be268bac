"""Idempotency keys: what two submissions with one key are compared by.

The hash is of what was asked for: which function or command, which arguments, which options. It leaves out what may
differ between two processes that ask for the same: the folder of code that travels along, the Python version, and for
functions that can be imported all but their name, so that a new version of a service may ask again for what the one
before has asked for. Functions that travel by value (of `__main__`, of notebooks, lambdas) count by their code.
Arguments count by their pickled bytes.
"""

import functools
import hashlib
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from types import CellType, CodeType, MethodType
from typing import Any

from kos_ray.client.decorated import JobFunction
from kos_ray.model.hashing import spec_hash
from kos_ray.model.job import Spec
from kos_ray.model.protocol import Array
from kos_ray.model.wire import to_plain


def payload_hash(array: Array, spec: Spec, identity: str) -> str:
    """What an array is compared by; `identity` stands for a function that has no entry point, see `identity_of`."""
    said = spec_hash(replace(spec, function=b"", code="", python=""))
    plain = sorted(to_plain(replace(array, id="", spec="", idempotency_key="", payload="")).items())
    return hashlib.sha256(repr((said, identity, plain)).encode()).hexdigest()


def identity_of(function: Callable[..., Any], within: tuple[Any, ...] = ()) -> str:
    """Which function it is, the same in every process that has it; `within`: functions that hold on to it."""
    function = function.__wrapped__ if isinstance(function, JobFunction) else function
    if isinstance(function, functools.partial):
        bound = [_value(value, within) for value in (function.args, sorted(function.keywords.items()))]
        return f"partial({identity_of(function.func, within)},{bound})"
    if isinstance(function, MethodType):
        return f"{identity_of(function.__func__, within)} of {_value(function.__self__, within)}"
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    code = getattr(function, "__code__", None)
    if not hasattr(function, "__qualname__"):  # an object that can be called: what it holds is part of what it does
        return f"{name} {_pickled(function)}"
    if not isinstance(code, CodeType) or _importable(function) or function in within:
        return name
    # what it closes over is part of what it does
    cells = [_content(cell) for cell in function.__closure__ or ()]
    named = [value for _, value in sorted((function.__kwdefaults__ or {}).items())]
    given = [_value(value, (*within, function)) for value in (*(function.__defaults__ or ()), *named, *cells)]
    return f"{name}#{hashlib.sha256(repr((_parts(code), given)).encode()).hexdigest()}"


def _content(cell: CellType) -> Any:
    """What a function closes over; None where nothing was bound to it yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _value(value: Any, within: tuple[Any, ...]) -> str:
    """A value that a function holds on to, without the address where that stands in this process."""
    return identity_of(value, within) if callable(value) else _pickled(value)


def _pickled(value: Any) -> str:
    try:
        return hashlib.sha256(pickle.dumps(value, 5)).hexdigest()
    except Exception:  # noqa: BLE001 - what cannot be pickled plainly counts by its kind
        return type(value).__qualname__


def _importable(function: Callable[..., Any]) -> bool:
    """Whether another process finds it by its name."""
    module = getattr(function, "__module__", None)
    if module is None or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function or getattr(found, "__wrapped__", None) is function


def _parts(code: CodeType) -> tuple[Any, ...]:
    """What a function does, without the file and the lines where it stands; `marshal` differs between processes."""
    constants = [
        _parts(constant)
        if isinstance(constant, CodeType)
        else sorted(map(repr, constant))
        if isinstance(constant, frozenset)
        else repr(constant)
        for constant in code.co_consts
    ]
    return (code.co_name, code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars)
