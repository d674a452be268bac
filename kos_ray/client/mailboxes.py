"""Mailboxes and signals: `client.mailbox("orders").put(...)`, `.take()`; see docs/coordination.md."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import cloudpickle

from kos_ray.client.leases import Lease, here
from kos_ray.client.locking import Attempt, Locking, milliseconds, waiting_ms
from kos_ray.model.errors import InvalidSpec, LeaseLost, NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.mailboxes import DELIVERIES

#: a signal is handled as soon as it has come
_SIGNAL_TTL = "10s"


@dataclass(frozen=True, slots=True)
class Peeked:
    """A message as it lies in its mailbox."""

    id: str
    value: Any
    by: str
    at: datetime
    deliveries: int


class Posting(Locking):
    """The part of a client that is about mailboxes and signals."""

    def mailbox(self, name: str, *, attempt: Attempt | None = None) -> "Mailbox":
        """A mailbox of this namespace; it is there with its first message."""
        return Mailbox(self, name, attempt)

    def mailboxes(self) -> list[dict[str, Any]]:
        """All mailboxes of all namespaces: how many messages are `ready`, `taken` and `dead`, and `bytes`."""
        return self._look("mailboxes")

    def signal(self, name: str, value: Any = None, *, job: str = "", agent: str = "", dedup: str = "") -> bool:
        """Send a signal to a live job (by id or name), to an agent, or else to whoever waits for it first.

        It is durable when this returns, and waits until somebody asks for it, or its job is over. With a `dedup` id
        that was sent before to the same receiver nothing happens, and False comes back.

        Raises:
            Refused: the job is over, there is no such agent, or too many signals wait.

        """
        if job and agent:
            raise InvalidSpec("expected a job or an agent, found both")
        key = self._live(job) if job else 0
        fields = {"name": name, "namespace": self.namespace, "job": key, "agent": agent}
        found = self._coordinate("signal", {**fields, "messages": [(dedup or uuid.uuid4().hex, _packed(value))]})
        return not found["known"]

    def wait_signal(
        self, name: str, wait: str | float | None = None, *, attempt: Attempt | None = None, place: str = ""
    ) -> Any:
        """Wait for a signal that is for nobody in particular, and return its value; None: none came within `wait`.

        In a job `kos_ray.context().signal` also gets those that are for the job itself (`attempt`).
        """
        said = {"namespace": self.namespace, "name": name, "ttl_ms": milliseconds("ttl", _SIGNAL_TTL)}
        message = self._take("await_signal", {**said, "deliveries": DELIVERIES}, wait, attempt, place)
        if message is None:
            return None
        message.ack()
        return message.value

    def _live(self, ref: str) -> JobKey:
        (key, count), *_ = self._client._resolve([ref])
        if count >= 0:
            raise NotFound(f"{ref} is an array of {count} jobs; its items are {ref}.0 to {ref}.{count - 1}")
        return JobKey(key)

    def _take(
        self, verb: str, said: dict[str, Any], wait: str | float | None, attempt: Attempt | None, place: str
    ) -> "Message | None":
        lease = Lease(uuid.uuid4().hex, said["ttl_ms"] / 1_000)
        party = self._party(attempt, place or here())
        fields = {**said, "ticket": lease.ticket, "party": party, "wait_ms": waiting_ms(wait)}
        found = self._wait_for(verb, fields, lease, self._give_up)
        if found["state"] != "taken":
            return None
        self._leases.keep(lease)
        return Message(self, lease, found)

    def _give_up(self, ticket: str) -> None:
        self._coordinate("leave", {"tickets": [ticket]})

    def _settle(self, lease: Lease, *, handled: bool) -> bool:
        self._leases.drop(lease.ticket)
        return bool(self._coordinate("settle_takes", {"tickets": [lease.ticket], "handled": handled})["known"])


class Message:
    """What was taken from a mailbox: nobody else gets it until it is handled, given back, or this process is silent.

    with mailbox.take() as message: ...      handled at the end of the block, given back where that raises
    """

    def __init__(self, client: Posting, lease: Lease, found: dict[str, Any]) -> None:
        self._client = client
        self._lease = lease
        #: the id under which it was put
        self.id: str = found["id"]
        #: how often it was handed out, this time too
        self.deliveries: int = found["deliveries"]
        self.by: str = found["by"]
        self.value: Any = cloudpickle.loads(found["value"])

    def __repr__(self) -> str:
        return f"<Message {self.id}>"

    @property
    def lost(self) -> bool:
        """Whether somebody else may have it by now."""
        return self._lease.lost

    def ack(self) -> None:
        """It is handled, and goes.

        Raises:
            LeaseLost: it is somebody else's by now, who will handle it again.

        """
        if not self._client._settle(self._lease, handled=True):
            raise LeaseLost(f"message {self.id} was taken back: nothing was heard of this process in time")

    def back(self) -> None:
        """It was not handled: the next one who asks gets it."""
        self._client._settle(self._lease, handled=False)

    def __enter__(self) -> "Message":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.ack()
        else:
            self.back()


class Mailbox:
    """One mailbox, as whoever puts and takes sees it."""

    def __init__(self, client: Posting, name: str, attempt: Attempt | None) -> None:
        self._client = client
        self.name = name
        self._attempt = attempt

    def __repr__(self) -> str:
        return f"<Mailbox {self.name}>"

    def put(self, value: Any, *, dedup: str = "") -> bool:
        """Put a message; it is durable when this returns. What can be pickled, up to 64 KiB.

        With a `dedup` id that is among the last 10 000 of this mailbox nothing happens, and False comes back.

        Raises:
            Refused: the mailbox is full, or the message too large.

        """
        return not self.put_many({dedup or uuid.uuid4().hex: value})

    def put_many(self, values: dict[str, Any]) -> list[str]:
        """Put messages by their dedup ids, all or none; the ids that were known, and of which none was put."""
        messages = [(id_, _packed(value)) for id_, value in values.items()]
        return list(self._client._coordinate("put", {**self._fields(), "messages": messages})["known"])

    def take(
        self,
        *,
        wait: str | float | None = 0,
        ttl: str | float = "30s",
        deliveries: int = DELIVERIES,
        place: str = "",
    ) -> Message | None:
        """The first message, None where none came within `wait` (None: for as long as it takes).

        It is this process's until `ack` or `back`, or until nothing is heard of it for `ttl`. One that comes back after
        so many `deliveries` is dead: it is kept, and handed out no more until `revive`.
        """
        if deliveries < 1:
            raise InvalidSpec(f"deliveries: expected 1 or more, found {deliveries}")
        said = {**self._fields(), "ttl_ms": milliseconds("ttl", ttl), "deliveries": deliveries}
        return self._client._take("take", said, wait, self._attempt, place)

    def peek(self, *, most: int = 100, dead: bool = False) -> list[Peeked]:
        """The first messages that are ready, or those that are `dead`; nothing is taken."""
        found = self._client._look("messages", **self._fields(), most=most, dead=dead)
        return [
            Peeked(
                id=one["id"],
                value=cloudpickle.loads(one["value"]),
                by=one["by"],
                at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one["at_us"]),
                deliveries=one["deliveries"],
            )
            for one in found
        ]

    def revive(self) -> int:
        """Have the dead messages handed out again; how many there were."""
        return int(self._client._coordinate("revive", self._fields())["messages"])

    def _fields(self) -> dict[str, Any]:
        return {"namespace": self._client.namespace, "name": self.name}


def _packed(value: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value, 5))
    except Exception as error:
        raise InvalidSpec(f"a message: cannot be sent to another process: {error}") from error
