"""The way to one cluster: calls that outlive a restart of the actors, blobs, and the outbox of this client."""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar

import msgpack

from kos_ray.client.code import Bundles
from kos_ray.client.outcomes import Outbox
from kos_ray.model import payload
from kos_ray.model.ids import JobKey
from kos_ray.model.protocol import Outcomes
from kos_ray.model.wire import from_plain
from kos_ray.runtime import connect as connections

T = TypeVar("T")

#: seconds that a request is tried again while the scheduler is away
_AWAY_S = 120.0
#: seconds after which a blob is sent once more: one that no job refers to any more is removed two days after it came
_RESEND_S = 43_200.0


class Link:
    """What submitting, waiting and asking have in common."""

    def __init__(self, connection: connections.Connection, namespace: str) -> None:
        self.namespace = namespace
        self.address = connection.address
        self._connection = connection
        self._bundles = Bundles()
        #: when each was sent
        self._sent_blobs: dict[str, float] = {}
        self._sent_specs: set[str] = set()
        self._outbox = Outbox(self._poll, self._watch, connections.Away)

    def _poll(self, session: str, epoch: int, acked: int, timeout_s: float) -> Outcomes:
        return unpack(Outcomes, self._connection.ask_scheduler("poll", session, epoch, acked, timeout_s))

    def _watch(self, session: str, keys: list[JobKey]) -> int:
        return int(self._connection.ask_scheduler("watch", session, keys))

    def _payload(self, data: bytes) -> bytes:
        """Inline where it is small, else stored as a blob."""
        if not data:
            return b""
        if len(data) <= payload.INLINE_LIMIT:
            return payload.inline(data)
        hash_ = sha256(data).hexdigest()
        self._store(hash_, data)
        return payload.referring(payload.BlobRef(hash_, len(data)))

    def _store(self, hash_: str, data: bytes) -> None:
        now = time.monotonic()
        if now - self._sent_blobs.get(hash_, -_RESEND_S) >= _RESEND_S:
            self._ask("blob_put", data)
            self._sent_blobs[hash_] = now

    def _read_blob(self, ref: payload.BlobRef) -> bytes:
        return bytes(self._ask("blob_read", ref.hash, 0, ref.size))

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A question to the reader."""
        return self._call(lambda: self._connection.ask_reader(method, *args, **kwargs))

    def _call(self, ask: Callable[[], Any]) -> Any:
        """Ask, again while the actor restarts: every call is idempotent.

        Raises:
            ClusterUnreachable: it did not come back in time.

        """
        deadline = time.monotonic() + _AWAY_S
        while True:
            try:
                return ask()
            except connections.Away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def unpack(cls: type[T], data: bytes) -> T:
    """A message's dataclass from its bytes."""
    return from_plain(cls, msgpack.unpackb(data, use_list=False, strict_map_key=False))
