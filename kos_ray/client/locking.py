"""Named locks and leases: `with client.lock("db/migration") as held: held.fence`; see docs/coordination.md."""

import getpass
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import msgpack

from kos_ray.client.agent_snapshots import Remembering
from kos_ray.client.leases import Keeper, Lease, clock_s, here
from kos_ray.model.errors import Deadlock, InvalidSpec, LeaseLost, LockTimeout, NotGranted
from kos_ray.model.locks import LockMode
from kos_ray.runtime.connect import Connection
from kos_ray.spec.fields import band_of
from kos_ray.spec.settings import current
from kos_ray.spec.units import parse_milliseconds

#: a job, its attempt, and what people call it
Attempt = tuple[int, int, str]
#: milliseconds that one question waits at the scheduler, and of a lease at most this share
_POLL_MS = 2_000
_POLL_SHARE = 4
_FOR_EVER = -1
#: as the job that asks has it, or normal
_AS_JOB = -1
#: what nobody grants, and how it is raised
_ERRORS: dict[str, type[NotGranted]] = {"lock_timeout": LockTimeout, "lock_deadlock": Deadlock}


def milliseconds(word: str, value: object) -> int:
    """A time as people write it.

    Raises:
        InvalidSpec: it is none.

    """
    try:
        return parse_milliseconds(value)
    except ValueError as error:
        raise InvalidSpec(f"{word}: {error}") from None


def waiting_ms(value: object | None) -> int:
    """How long to wait; None: for as long as it takes."""
    return _FOR_EVER if value is None else milliseconds("wait", value)


class Locking(Remembering):
    """The part of a client that is about locks, and what all that is held under leases has in common."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        super().__init__(connection, namespace)
        self._session = uuid.uuid4().hex
        self._leases = Keeper(lambda tickets: connection.ask_scheduler("renew_leases", tickets))

    def lock(
        self,
        name: str,
        *,
        mode: str = "exclusive",
        ttl: str | float = "30s",
        wait: str | float | None = None,
        priority: str | int | None = None,
        attempt: Attempt | None = None,
    ) -> "LockHandle":
        """A named lock: `with client.lock("db/migration", wait="1m") as held: write(fence=held.fence)`.

        `mode` is exclusive or shared. It is held until the block ends, or until nothing is heard of this process for
        `ttl`; a thread renews it. Whoever waits does so in the order of priority (a job's own where none is said), then
        of arrival, for `wait` at most (None: as long as it takes; 0: not at all). Who has it already, in the same
        thread or task, has it once more.

        `attempt` (job, attempt, name) is what `kos_ray.context().lock` says of itself.

        Raises:
            InvalidSpec: something of that is not as it should be.

        """
        modes = {one.name.lower(): one for one in LockMode}
        if mode not in modes:
            raise InvalidSpec(f"mode: expected exclusive or shared, found {mode!r}")
        try:
            band = _AS_JOB if priority is None else band_of(priority, current())
        except ValueError as error:
            raise InvalidSpec(f"priority: {error}") from None
        fields = {"name": name, "namespace": self.namespace, "mode": int(modes[mode]), "band": band}
        times = {"ttl_ms": milliseconds("ttl", ttl), "wait_ms": waiting_ms(wait)}
        return LockHandle(self, {**fields, **times}, attempt)

    def locks(self) -> list[dict[str, Any]]:
        """All locks of all namespaces that somebody has or waits for: `holders`, `waiting`, `fence` and so on."""
        return self._look("locks")

    def break_lock(self, name: str, note: str = "") -> list[str]:
        """Take a lock away from who has it; who that was. What they write later is refused by sinks that look.

        Raises:
            Refused: nobody has it.

        """
        found = self._coordinate("break_lock", {"name": name, "namespace": self.namespace, "note": note})
        return list(found["had"])

    def release_lock(self, ticket: str) -> bool:
        """Release what was acquired under a ticket, by whichever process; whether it was held or waited for."""
        self._leases.drop(ticket)
        return bool(self._coordinate("leave", {"tickets": [ticket]})["released"])

    # --- what all that is under leases has in common

    def _party(self, attempt: Attempt | None, place: str) -> dict[str, Any]:
        """Who asks: a thread or a task, of an attempt where there is one."""
        job, number, told = attempt or (0, 0, f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}")
        return {"id": f"{self._session}/{place}", "told": told, "job": job, "attempt": number}

    def _coordinate(self, verb: str, fields: dict[str, Any], poll_ms: int = 0) -> dict[str, Any]:
        plain = {"verb": verb, "fields": fields, "by": getpass.getuser(), "poll_ms": poll_ms}
        packed = msgpack.packb(plain)
        return dict(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("coordinate", packed))))

    def _look(self, what: str, **fields: Any) -> list[dict[str, Any]]:
        packed = msgpack.packb({"what": what, "fields": fields})
        return list(msgpack.unpackb(self._call(lambda: self._connection.ask_scheduler("look", packed))))

    def _wait_for(
        self, verb: str, fields: dict[str, Any], lease: Lease, give_up: Callable[[str], object]
    ) -> dict[str, Any]:
        """Ask until it is decided. Whatever ends this before gives the ticket up."""
        poll_ms = min(_POLL_MS, int(lease.ttl_s * 1_000 / _POLL_SHARE))
        try:
            while True:
                asked_s = clock_s()
                found = self._coordinate(verb, fields, poll_ms)
                if found["state"] != "waiting":
                    lease.heard_s = asked_s
                    return found
        except BaseException:
            give_up(lease.ticket)
            raise

    def _goodbye(self) -> None:
        """What this client holds is free: it leaves."""
        if tickets := self._leases.drop_all():
            plain = {"verb": "leave", "fields": {"tickets": tickets}, "by": getpass.getuser()}
            with suppress(Exception):  # asked once: where nobody answers, the leases end by themselves
                self._connection.ask_scheduler("coordinate", msgpack.packb(plain))


class Held:
    """A lock that is held. Sinks that are handed its `fence` refuse whoever had the lock before."""

    def __init__(self, name: str, namespace: str, fence: int, lease: Lease) -> None:
        self.name = name
        self.fence = fence
        #: what stands for the lock at a sink (`kos_ray.effects`)
        self.token = f"lock:{namespace}/{name}"
        self._lease = lease

    def __repr__(self) -> str:
        return f"<Held {self.name}, fence {self.fence}>"

    @property
    def ticket(self) -> str:
        """The id of this grant: `kos lock release --ticket`."""
        return self._lease.ticket

    @property
    def left_s(self) -> float:
        """Seconds for which it is held for certain, if nothing is heard of this process from now on."""
        return self._lease.left_s

    @property
    def lost(self) -> bool:
        """Whether it may be somebody else's by now."""
        return self._lease.lost

    def check(self) -> None:
        """Go on only while it is held. Between this and what follows time passes: the fence is what protects a sink.

        Raises:
            LeaseLost: it may be somebody else's.

        """
        if self.lost:
            raise LeaseLost(
                f"lock {self.name} (fence {self.fence}) is lost: nothing was heard of this process for as long as its "
                "lease lasts, or somebody took it away; ask for it again"
            )


class LockHandle:
    """A lock that can be acquired: a context manager, as often as wanted, by one thread or task after another."""

    def __init__(self, client: Locking, fields: dict[str, Any], attempt: Attempt | None) -> None:
        self._client = client
        self._fields = fields
        self._attempt = attempt
        #: those that were acquired last, by thread or task
        self._held: dict[str, list[Held]] = {}

    def acquire(self, *, place: str = "", renewed: bool = True) -> Held:
        """Wait for it. What is not `renewed` is free when its ttl is over, or by its ticket; else `release` it.

        `place` stands for who asks, where that is not this thread or task.

        Raises:
            LockTimeout: somebody else had it for as long as it was waited for.
            Deadlock: those who wait would wait for one another for ever.

        """
        place = place or here()
        lease = Lease(uuid.uuid4().hex, self._fields["ttl_ms"] / 1_000)
        party = self._client._party(self._attempt, place)
        fields = {**self._fields, "ticket": lease.ticket, "party": party}
        found = self._client._wait_for("lock", fields, lease, self._client.release_lock)
        name = self._fields["name"]
        if found["state"] != "held":
            error = _ERRORS.get(found["state"], NotGranted)
            raise error(f"lock {name}: {found['told'] or 'gone'}; {found['remedy']}", found["state"])
        held = Held(name, self._fields["namespace"], found["fence"], lease)
        if renewed:
            self._client._leases.keep(lease)
        self._held.setdefault(place, []).append(held)
        return held

    def release(self, *, place: str = "") -> None:
        """Let go of what was acquired last here.

        Raises:
            LeaseLost: it was not held any more, or nothing was acquired.

        """
        place = place or here()
        if not self._held.get(place):
            raise LeaseLost(f"lock {self._fields['name']} is not held here: it was released, or never acquired")
        held = self._held[place].pop()
        if not self._held[place]:
            del self._held[place]
        try:
            held.check()
        finally:
            self._client.release_lock(held.ticket)

    def __enter__(self) -> Held:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it.

        Raises:
            LeaseLost: the block has ended well, but without the lock.

        """
        self.leave(kind, here())

    def leave(self, kind: type[BaseException] | None, place: str) -> None:
        """The end of a block, which an exception of `kind` has ended."""
        try:
            self.release(place=place)
        except LeaseLost:
            if kind is None:
                raise
