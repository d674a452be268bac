"""Barriers: `with client.barrier("epoch", parties=4) as barrier: barrier.wait()`; see docs/coordination.md."""

import uuid
from types import TracebackType
from typing import Any

from kos_ray.client.approving import Approving
from kos_ray.client.leases import Lease, here
from kos_ray.client.locking import Attempt, milliseconds, waiting_ms
from kos_ray.model.barriers import OnLoss
from kos_ray.model.errors import BrokenBarrier, InvalidSpec, LeaseLost

_MODES = ("all", "batch")


class Meeting(Approving):
    """The part of a client that is about barriers."""

    def barrier(
        self,
        name: str,
        *,
        parties: int,
        timeout: str | float | None = None,
        mode: str = "all",
        on_loss: str = "break",
        ttl: str | float = "30s",
        attempt: Attempt | None = None,
    ) -> "Barrier":
        """A barrier that `parties` take part in: each `wait` returns when all of them have come, round after round.

        With `mode="batch"` anybody may take part, and so many go on together, whoever they are; when one has waited for
        `timeout`, whoever is there goes on. Otherwise the barrier is broken when one has waited so long (None: for as
        long as it takes). What is lost (it raises within the block, or nothing is heard of it for `ttl`) breaks it, and
        the error names who it was; with `on_loss="go_on"` the others go on without it. Who leaves the block at its end
        is done: the others are so many less.

        Raises:
            InvalidSpec: something of that is not as it should be.

        """
        losses = {one.name.lower(): one for one in OnLoss}
        if mode not in _MODES or on_loss not in losses:
            raise InvalidSpec(f"expected mode all or batch, on_loss break or go_on; found {mode!r} and {on_loss!r}")
        fields = {"name": name, "namespace": self.namespace, "parties": parties, "batch": mode == "batch"}
        times = {"ttl_ms": milliseconds("ttl", ttl), "wait_ms": waiting_ms(timeout)}
        return Barrier(self, {**fields, **times, "on_loss": int(losses[on_loss])}, attempt)

    def barriers(self) -> list[dict[str, Any]]:
        """All barriers of all namespaces: `parties`, who is `there`, who is `waiting`, `round`, why it is `broken`."""
        return self._look("barriers")


class Barrier:
    """One party's part in a barrier: a context manager."""

    def __init__(self, client: Meeting, fields: dict[str, Any], attempt: Attempt | None) -> None:
        self._client = client
        self._fields = fields
        self._attempt = attempt
        self._lease: Lease | None = None
        self._reached = 0

    def join(self, *, place: str = "") -> "Barrier":
        """Take part from now on.

        Raises:
            Refused: it is full or broken, or the others have said something else of it.

        """
        lease = Lease(uuid.uuid4().hex, self._fields["ttl_ms"] / 1_000)
        party = self._client._party(self._attempt, place or here())
        said = {name: value for name, value in self._fields.items() if name != "wait_ms"}
        self._client._coordinate("join", {**said, "ticket": lease.ticket, "party": party})
        self._client._leases.keep(lease)
        self._lease, self._reached = lease, 0
        return self

    def wait(self) -> int:
        """Wait for the others; the number of the round that is over, from 1.

        Raises:
            BrokenBarrier: a party was lost, or one has waited too long; the message names it.
            LeaseLost: nothing was heard of this process in time: it takes part no more.

        """
        if self._lease is None:
            raise LeaseLost(f"barrier {self._fields['name']}: expected `with` around `wait`, found nobody")
        self._reached += 1
        fields = {"ticket": self._lease.ticket, "number": self._reached, "wait_ms": self._fields["wait_ms"]}
        found = self._client._wait_for("reach", fields, self._lease, lambda _: self.leave(lost=True))
        if found["state"] == "gone":
            raise LeaseLost(f"barrier {self._fields['name']}: nothing was heard of this process in time")
        if found["state"] != "open":
            raise BrokenBarrier(f"barrier {self._fields['name']}: {found['told']}; {found['remedy']}", found["state"])
        return int(found["round"])

    def leave(self, *, lost: bool = False) -> None:
        """Take part no more: this party is done, or it failed."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._client._leases.drop(lease.ticket)
            self._client._coordinate("leave_barrier", {"ticket": lease.ticket, "lost": lost})

    def __enter__(self) -> "Barrier":
        return self.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave(lost=kind is not None and not issubclass(kind, BrokenBarrier))
