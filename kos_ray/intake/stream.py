"""Entries of a Redis stream, through a consumer group: what was read and not told yet stays pending, whoever dies.

The client for Redis is redis-py, which comes with `pip install kos_ray[streams]`.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from kos_ray.intake import Emit
from kos_ray.model.errors import InvalidSpec, Refused

#: entries that are read together, and seconds that one read waits for new ones
_PORTION, _WAIT_S = 100, 5.0
#: seconds for an answer, a read's wait included
_ANSWER_S = 15.0
#: seconds before a server that does not answer is asked again
_AGAIN_S = 1.0
#: and before the cluster is told again what it has refused
_REFUSED_S = 30.0

Say = Callable[[str], None]
#: the id of an entry, and its fields
Entry = tuple[str, dict[str, str]]


class RedisStream:
    """One stream, read as one consumer of a group; who comes back under the same name has what was left open."""

    def __init__(self, url: str, stream: str, *, group: str = "kos_ray", consumer: str = "source") -> None:
        try:
            from redis import Redis  # noqa: PLC0415 - an extra
        except ImportError:
            raise Refused("expected redis-py for streams, found none: pip install 'kos_ray[streams]'") from None
        try:
            self._redis: Redis = Redis.from_url(url, decode_responses=True, socket_timeout=_ANSWER_S)
        except ValueError as error:
            raise Refused(f"expected an address as redis://HOST:6379/0, found {url!r}: {error}") from None
        self.stream, self._group, self._consumer = stream, group, consumer
        #: the last of those that were open when it began, "" when all of them have been seen
        self._open = "0"
        #: when those that were refused are told again
        self._again_at = math.inf

    def begin(self) -> None:
        """Make the group, from the stream's beginning, where there is none.

        Raises:
            Refused: there is no server, or what has that name is no stream.

        """
        from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415

        try:
            self._redis.xgroup_create(self.stream, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise Refused(f"expected a stream, found {self.stream!r}: {error}") from None
        except RedisError as error:
            raise Refused(f"no Redis answers: {error}") from None

    def entries(self) -> list[Entry]:
        """Some that are to be told: first those that were read and not told, then new ones, waited for a while."""
        if time.monotonic() > self._again_at:
            self.again()
        if self._open:
            left = self._read(self._open, None)
            self._open = left[-1][0] if left else ""
            if left:
                return left
        return self._read(">", int(_WAIT_S * 1e3))

    def _read(self, place: str, wait_ms: int | None) -> list[Entry]:
        streams: Any = {self.stream: place}
        found: Any = self._redis.xreadgroup(self._group, self._consumer, streams, count=_PORTION, block=wait_ms)
        return [entry for _, entries in found or () for entry in entries]

    def again(self) -> None:
        """What is open is to be read anew, as when the connection was lost."""
        self._open, self._again_at = "0", math.inf

    def refused(self) -> None:
        """One stays open: the journal may have no room just now."""
        self._again_at = min(self._again_at, time.monotonic() + _REFUSED_S)

    def done(self, entry: Entry) -> None:
        """It was told, and is not open any more."""
        self._redis.xack(self.stream, self._group, entry[0])


def pump_stream(emit: Emit, stream: RedisStream, name: str, say: Say) -> None:
    """Tell of entries until the process ends. What the cluster refuses stays open in the group, and comes again."""
    while True:
        for problem in drain_stream(emit, stream, name):
            say(problem)


def drain_stream(emit: Emit, stream: RedisStream, name: str) -> Iterator[str]:
    """Tell of some entries; what was wrong with some of them."""
    from redis.exceptions import ConnectionError as Unreachable  # noqa: PLC0415
    from redis.exceptions import TimeoutError as Late  # noqa: PLC0415

    try:
        for entry in stream.entries():
            data, key = _told(entry[1])
            try:
                emit(name, data, key=key, id=f"redis:{stream.stream}:{entry[0]}"[:500], source="redis")
            except (InvalidSpec, Refused) as error:
                stream.refused()
                yield f"entry {entry[0]} of {stream.stream} stays open: {error}"
                continue
            stream.done(entry)
    except (Unreachable, Late) as error:
        yield f"no Redis answers, it is asked again: {error}"
        stream.again()
        time.sleep(_AGAIN_S)


def _told(fields: dict[str, str]) -> tuple[Any, str]:
    """Data and key of an event: of an entry with the field `data` that JSON, else all its fields but the key."""
    key = fields.get("key", "")
    rest = {name: value for name, value in fields.items() if name != "key"}
    if list(rest) == ["data"]:
        try:
            return json.loads(rest["data"]), key
        except (ValueError, RecursionError):
            pass  # it is text
    return rest, key
