"""Webhooks in the form of Standard Webhooks (https://www.standardwebhooks.com): POST /EVENT.NAME, signed, with JSON.

A small server for HTTP/1.1 that knows nothing else. A sender that gets no 200 sends again, under the same id.
"""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kos_ray.intake import Emit
from kos_ray.model.errors import InvalidSpec, KosError, Refused
from kos_ray.model.occasion import DATA_MAX
from kos_ray.observe.webhook import sign

_log = logging.getLogger("kos_ray.intake")
#: seconds by which a sender's clock may differ from ours, and in which it has said all
_TOLERANCE_S = 300
_PATIENCE_S = 15.0
_HEAD_MAX = 16 * 1024
_CONNECTIONS_MAX = 64


class Answer(NamedTuple):
    """What a sender is told: a status of HTTP, and why."""

    status: int
    said: str


_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    405: "Method Not Allowed",
    413: "Too Large",
    503: "Later",
}


def judge(
    path: str, headers: Mapping[str, str], body: bytes, secret: str, now_s: int
) -> tuple[str, str, object] | Answer:
    """The event's name, id and data, or why it is none; headers have small letters."""
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not headers.get(name)]
    if missing:
        return Answer(401, f"expected the header {missing[0]}, found none")
    id_, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not stamp.isdecimal() or abs(now_s - int(stamp)) > _TOLERANCE_S:
        return Answer(401, f"expected a webhook-timestamp of the last {_TOLERANCE_S} s, found {stamp}")
    wanted = sign(secret, id_, int(stamp), body)
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in headers["webhook-signature"].split()):
        return Answer(401, "the signature is not one of ours")
    try:
        data = json.loads(body) if body else None
    except (ValueError, RecursionError) as error:
        return Answer(400, f"expected JSON: {error}")
    return path.partition("?")[0].strip("/"), id_, data


class Receiver:
    """The server. `emit` may block: it runs in threads."""

    def __init__(self, emit: Emit, secret: str, source: str) -> None:
        sign(secret, "", 0, b"")
        self._emit = emit
        self._secret = secret
        self._source = source
        self._room = asyncio.Semaphore(_CONNECTIONS_MAX)

    async def run(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Serve until it is cancelled; `ready` gets the port."""
        server = await asyncio.start_server(self._serve, host, port, limit=_HEAD_MAX)
        async with server:
            ready(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._room:
                try:
                    answer = await asyncio.wait_for(self._answer(reader), _PATIENCE_S)
                except (asyncio.LimitOverrunError, ValueError):
                    answer = Answer(400, "expected a request of HTTP/1.1")
                body = json.dumps({"said": answer.said}).encode()
                head = f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\ncontent-type: application/json\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # whoever it was has gone, and sends again
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if method != "POST":
            return Answer(405, "expected POST")
        size = int(headers.get("content-length", "0"))
        if not 0 <= size <= DATA_MAX:
            return Answer(413, f"expected at most {DATA_MAX} bytes, found {size}")
        found = judge(path, headers, await reader.readexactly(size), self._secret, int(time.time()))
        return found if isinstance(found, Answer) else await asyncio.to_thread(self._told, *found)

    def _told(self, name: str, id_: str, data: object) -> Answer:
        try:
            fresh = self._emit(name, data, id=f"{self._source}:{id_}", source=self._source)
        except (InvalidSpec, Refused) as error:
            return Answer(400, str(error))
        except KosError as error:
            _log.warning("event %s waits: %s", name, error)
            return Answer(503, "the cluster does not answer: send it again")
        return Answer(200, "taken" if fresh else "heard before")


def serve_webhooks(emit: Emit, *, host: str, port: int, secret: str, source: str, ready: Callable[[int], None]) -> None:
    """Serve until the process ends.

    Raises:
        ValueError: the secret is none.
        OSError: the port is taken.

    """

    async def main() -> None:
        await Receiver(emit, secret, source).run(host, port, ready)

    asyncio.run(main())
