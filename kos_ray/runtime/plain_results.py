"""A program that reads one result, and writes it as JSON: `python -I plain_results.py file|json MOST SECONDS`.

It stands by itself, in a process of its own, because what jobs return is not trusted: a pickle of ten bytes can ask for
32 GiB, and one of 400 can hold a set whose hash takes a century. So its memory (`MEMORY`) and its time (SECONDS of the
processor) are limited, and of a pickle only plain data is read: no code of it runs. The result comes in at standard
input; out goes what is to be written, at most MOST bytes: `file` is for people (bytes and texts as they are, anything
else as JSON with an indent), `json` in one line. What is wrong with it is told on standard error, and the exit code is
`REFUSED`.
"""

import json
import pickle
import resource
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

#: bytes of address space
MEMORY = 1 << 30
#: characters of what is told: what stands in a pickle may be a name of any length
_TOLD_MAX = 500
#: exit code where the result will never do
REFUSED = 3
INSTEAD = "send it to an agent, or to a file that ends with .pkl"
#: what may stand in plain data besides what pickle knows by itself
_PLAIN = frozenset({("datetime", "datetime"), ("datetime", "date"), ("datetime", "time"), ("datetime", "timedelta")})
_PLAIN |= {("datetime", "timezone"), ("decimal", "Decimal"), ("uuid", "UUID"), ("collections", "OrderedDict")}


class Refusal(Exception):
    """The result will never do, and why."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise Refusal(f"holds a {module}.{name}, expected what JSON has")
        return super().find_class(module, name)


class _Json(json.JSONEncoder):
    """JSON of at most `most` bytes: of a value that holds another one many times it may be far more than its pickle.

    What stands in sets is written twice, once for its order.
    """

    def __init__(self, most: int, indent: int | None = None) -> None:
        super().__init__(ensure_ascii=False, allow_nan=False, indent=indent)
        self._most = self._left = most

    def pieces(self, value: Any) -> Iterator[bytes]:
        """A value piece by piece, none of which is kept here.

        Raises:
            Refusal: it is too large, or JSON has no such thing: keys that are tuples, NaN, a depth.

        """
        try:
            for piece in self.iterencode(value):
                data = piece.encode()
                self._left -= len(data)
                if self._left < 0:
                    raise Refusal(f"has more than {self._most} bytes as JSON")
                yield data
        except (TypeError, ValueError, RecursionError) as error:
            raise Refusal(f"cannot be written as JSON ({type(error).__name__}: {error})") from None

    def default(self, o: Any) -> Any:
        """What JSON has not: sets as lists, bytes and instants as text."""
        if isinstance(o, set | frozenset):
            return sorted(o, key=lambda one: b"".join(self.pieces(one)))
        if isinstance(o, bytes | bytearray):
            return o.decode(errors="backslashreplace")
        return str(o)


def _as_file(value: Any, most: int) -> Iterator[bytes]:
    """Bytes and texts as they are, anything else as JSON."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        try:
            yield value.encode()
        except ValueError as error:  # half of a surrogate pair
            raise Refusal(f"cannot be written as a text ({error})") from None
    else:
        yield from _Json(most, indent=1).pieces(value)
        yield b"\n"


def _read(source: BinaryIO) -> Any:
    try:
        return _Reader(source).load()
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the pickle brought it about
        raise Refusal(f"cannot be read ({type(error).__name__}: {error})") from None


def main(form: str, most: int, seconds: int) -> int:
    """Read and write it; the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    try:
        value = _read(sys.stdin.buffer)
        sys.stdout.buffer.writelines(_as_file(value, most) if form == "file" else _Json(most).pieces(value))
        sys.stdout.buffer.flush()
    except Refusal as refusal:
        told = str(refusal)[:_TOLD_MAX]
    except MemoryError:
        told = f"takes more than {MEMORY >> 20} MiB of memory when it is read"
    else:
        return 0
    sys.stderr.write(told)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
