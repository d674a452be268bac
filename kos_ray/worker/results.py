"""What an attempt leaves behind: its result as a payload, or its error as text."""

import hashlib
import io
import os
import pickle
import signal
import traceback
from pathlib import Path
from typing import Any

import cloudpickle

from kos_ray.model.errors import Decline, KosError, NeedsMissing, NonRetryable, RetryAfter
from kos_ray.model.payload import INLINE_LIMIT, BlobRef, inline, raising, referring
from kos_ray.worker.packets import OUTBOX

#: type, message, traceback
Error = tuple[str, str, str] | tuple[str, str, str, int] | tuple[str, str, str, int, tuple[str, ...]]

#: an agent that is not available is asked again after so long at the earliest, where it does not say
_DECLINED_S = 1

_PLAIN_TYPES = frozenset({int, float, str, bytes, bool})
#: the same of what holds nothing else; a pickler of cloudpickle takes longer to make than most jobs
_PLAIN_HOLDERS = frozenset({tuple, list})
_NONE = inline(pickle.dumps(None, protocol=5))

#: Longer texts are cut in the middle: an error travels with every report and is kept in the journal.
_TEXT_MAX = 16 * 1024


class Unpicklable(KosError):
    """A value cannot travel; the message says why."""


def pack_result(value: Any, directory: Path, what: str = "result") -> bytes:
    """The payload of a value, called `what`; one over the inline limit is written to `outbox/`, by its hash.

    Raises:
        Unpicklable: it cannot be pickled.
        OSError: it cannot be written.

    """
    if value is None:
        return _NONE
    if type(value) in _PLAIN_TYPES or (type(value) in _PLAIN_HOLDERS and _PLAIN_TYPES.issuperset(map(type, value))):
        data = pickle.dumps(value, protocol=5)
    else:
        try:
            data = cloudpickle.dumps(value, protocol=5)
        except Exception as error:
            raise Unpicklable(f"the {what}, a {type(value).__name__}, cannot be pickled: {error}") from error
    return payload_of(data, directory)


def payload_of(data: bytes, directory: Path) -> bytes:
    """The payload of a pickle; one over the inline limit is written to `outbox/`, by its hash."""
    if len(data) <= INLINE_LIMIT:
        return inline(data)
    ref = BlobRef(hashlib.sha256(data).hexdigest(), len(data))
    target = directory / OUTBOX / ref.hash
    partial = target.with_name(f"{ref.hash}.{os.getpid()}.part")
    partial.write_bytes(data)
    partial.replace(target)
    return referring(ref)


def describe(error: BaseException) -> Error:
    """Type, message and traceback of what user code raised, without the frame of the slot that called it."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    tb = error.__traceback__.tb_next if error.__traceback__ else None
    try:
        message = str(error)
        text = "".join(traceback.format_exception(cls, error, tb))
    except Exception as broken:  # noqa: BLE001 - an exception whose own text raises must not take the slot down
        message, text = f"(its text cannot be shown: {type(broken).__name__})", ""
    return name, _cut(message), _cut(text)


def judged(error: BaseException, not_on: tuple[str, ...]) -> Error:
    """The description of what user code raised, with when it is to be tried again as the fourth where it says so."""
    again_ms = _again_ms(error, not_on)
    name, message, text, *_ = describe(error)
    if isinstance(error, NeedsMissing):
        return (name, message, text, again_ms, error.lacks)
    return (name, message, text, again_ms) if again_ms else (name, message, text)


def _again_ms(error: BaseException, not_on: tuple[str, ...]) -> int:
    """See `AttemptError.again_ms`. A class stands for those derived from it, too."""
    if isinstance(error, NonRetryable):
        return -1
    if isinstance(error, Decline):
        return -1 if error.word == "underqualified" else max(1, round((error.seconds or _DECLINED_S) * 1_000))
    names = {name for cls in type(error).__mro__ for name in (cls.__name__, f"{cls.__module__}.{cls.__qualname__}")}
    if not names.isdisjoint(not_on):
        return -1
    if isinstance(error, RetryAfter):
        return max(1, round(error.seconds * 1_000))
    return 0


def pack_exception(error: BaseException) -> bytes:
    """The payload of an exception, so that whoever waits may raise it again; b"" where it cannot travel, or is large.

    It goes beside its description, which is always there: nothing depends on this. Many classes cannot be unpickled,
    because they take other arguments than their text; those go as what they consist of.
    """
    if not isinstance(error, Exception):
        return b""
    for form in (error, _Parts(error)):
        written = _Bounded()
        try:
            cloudpickle.Pickler(written, protocol=5).dump(form)
            if type(pickle.loads(written.getvalue())) is type(error):
                return raising(written.getvalue())
        except Exception:  # noqa: BLE001 - what it holds is the user's, and so is how that is pickled
            continue
    return b""


class _Parts:
    """What is pickled in place of an exception, and unpickled as one."""

    def __init__(self, error: Exception) -> None:
        self._parts = type(error), error.args, dict(error.__dict__)

    def __reduce__(self) -> Any:
        return remade, self._parts


def remade(kind: type[Exception], args: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    """An exception of these parts, made without its constructor."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class _Bounded(io.BytesIO):
    """Takes no more than what travels inline: an exception may hold on to half of its process's memory."""

    def write(self, data: Any, /) -> int:
        if self.tell() + memoryview(data).nbytes > INLINE_LIMIT:
            raise Unpicklable("it is too large")
        return super().write(data)


def describe_exit(code: int) -> str:
    """The end of a process in words, from `Popen.returncode`: 0 or more is the exit code, less a signal."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "an unknown signal"
    return f"was killed by signal {-code} ({name})"


def not_started(error: OSError, program: str) -> tuple[int | None, Error]:
    """What a command ends with that could not be started: a shell's 127 where it is not there, 126 where it may not."""
    if error.filename != program or not isinstance(error, FileNotFoundError | PermissionError):
        return None, describe(error)
    missing = isinstance(error, FileNotFoundError)
    wrong = "command not found" if missing else "permission denied"
    message = f"{program}: {wrong}; expected a program that the node has on its PATH, or a path to one that may be run"
    return 127 if missing else 126, ("CommandNotFound" if missing else "CommandNotAllowed", message, "")


def _cut(text: str) -> str:
    if len(text) <= _TEXT_MAX:
        return text
    half = _TEXT_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
