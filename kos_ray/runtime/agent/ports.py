"""What a node agent needs from outside, and its limits."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kos_ray.model.job import SlotKind
from kos_ray.model.protocol import Accepted, Acked, Renew, Renewed, Report, Submit


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """Bounds and delays of a node agent."""

    #: how long attempts of a kind wait for the process of its first slot to be there, from its request
    admission_ms: int = 10_000
    #: and how long after that: it loads code, perhaps from a cold disk, and another one would not be quicker
    boot_ms: int = 600_000
    #: how long one delivery of a report may take before it counts as failed
    send_ms: int = 10_000
    #: a report that is not acknowledged by then is sent again
    resend_ms: int = 1_000
    #: attempts that run longer are reported as entered, and what stands behind them is taken back (see `told_after_us`)
    report_entered_after_ms: int = 50
    #: how much work a slot has ahead of it, by the mean run time it has shown
    handed_ahead_us: int = 2_000
    #: attempts that a slot has ahead of it at most
    handed_max: int = 64
    #: from the request to stop because of a timeout to the kill
    timeout_grace_ms: int = 500
    #: a slot that was to kill a command by itself gets so much longer before it is killed
    command_margin_ms: int = 1_000
    #: how long a crash waits for the starter's word about its cause
    crash_cause_ms: int = 250
    #: a kind whose slots ended so many times in a row before they connected is given up
    failed_starts_max: int = 3
    #: outcomes in one report at most, and about so many bytes of results
    report_outcomes_max: int = 5_000
    report_bytes_max: int = 4 * 1024 * 1024
    #: what attempts say of their progress goes into reports so often; of each the newest word
    progress_ms: int = 1_000
    #: acknowledged attempts that are remembered, so that a late copy of their launch changes nothing
    remembered_max: int = 100_000
    #: fetched and produced blobs that are kept for the next attempt
    blob_cache_bytes: int = 4 * 1024**3


class SlotHandle(Protocol):
    """One started slot, or one that is being started."""

    @property
    def done(self) -> asyncio.Future[str]:
        """Resolves when the process ended or will never start, with the cause in words ("" for a clean end)."""
        ...

    def cancel(self) -> None:
        """Withdraw a start that has not been admitted; a slot that runs already is told by its line."""
        ...

    def kill(self) -> None:
        """End the process by force."""
        ...


class SlotStarter(Protocol):
    """Starts processes that call `worker.slot.run_slot`."""

    def start(self, slot_id: str, kind: SlotKind, socket_path: str) -> SlotHandle:
        """Begin to start a slot with the kind's resources and environment; never blocks."""
        ...

    def node_alive(self) -> bool:
        """False when the node dies under us: processes that end now are lost with it, they did not crash."""
        ...


class Blobs(Protocol):
    """Where blobs come from and go to. Calls may raise; what they leave at a path is whole or not there."""

    async def fetch(self, hash_: str, path: Path) -> None:
        """Bring a blob to `path`."""
        ...

    async def store(self, path: Path) -> None:
        """Store the file, whose name is its SHA-256 in hexadecimal; durable when it returns."""
        ...

    async def bundle(self, hash_: str, directory: Path) -> None:
        """Unpack a code bundle into `directory`, which appears at once and whole."""
        ...


class Uplink(Protocol):
    """The way to the scheduler."""

    async def send(self, report: Report) -> Acked:
        """Deliver a report; the answer says up to which number reports are on disk. May raise: it is sent again."""
        ...

    async def submit(self, submit: Submit) -> Accepted:
        """Deliver a job's request for a child. May raise: it is sent again."""
        ...

    async def renew(self, renew: Renew) -> Renewed:
        """Ask for time for exclusive work. May raise: it is asked for again."""
        ...
