"""One attempt at a node agent, and the memory of all that it holds."""

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING

from kos_ray.model.ids import JobKey
from kos_ray.model.payload import BlobRef, open_payload
from kos_ray.runtime.agent.files import SpecEntry
from kos_ray.worker.packets import pack
from kos_ray.worker.prepare import Inputs

if TYPE_CHECKING:
    from kos_ray.runtime.agent.pool import Pool


class Stage(IntEnum):
    """Where an attempt stands. It moves downwards only, but for a return from `HANDED` to `WAITING`."""

    PREPARING = 0  #: blobs that it needs are on their way
    WAITING = 1  #: in its pool's queue
    HANDED = 2  #: in a slot's queue, or entered: the kernel knows which
    ENDING = 3  #: over, but its result, its log or the cause of its crash is still being brought in
    ENDED = 4


class Attempt:
    """One attempt. `rank` orders the queue, lowest first."""

    __slots__ = ("args", "asked", "blobs", "group", "inputs", "key", "kill_at", "latest", "number", "pool", "public_id",
                 "rank", "ready", "reported", "restored", "scheduled_us", "spec", "stage", "told", "wrong")  # fmt: skip

    def __init__(
        self,
        key: JobKey,
        number: int,
        rank: int,
        public_id: str,
        spec: SpecEntry,
        args: bytes,
        inputs: Inputs,
        pool: "Pool",
        restored: bytes = b"",
    ) -> None:
        self.key = key
        self.number = number
        self.rank = rank
        self.public_id = public_id
        self.spec = spec
        self.args = args
        self.inputs = inputs
        self.pool = pool
        #: payload of the job's last checkpoint, b"" where there is none
        self.restored = restored
        #: of a schedule's: when it was due, what the last that succeeded returned, and the event it is for, as JSON
        self.scheduled_us = 0
        self.latest = b""
        self.told = ""
        self.stage = Stage.WAITING
        #: hashes of blobs that it uses
        self.blobs: tuple[str, ...] = ()
        #: reported as entered
        self.reported = False
        #: the end it has been asked to come to (an `AttemptEnd`), and the loop time at which it is killed
        self.asked: int | None = None
        self.kill_at = 0.0
        #: the agent that it carries takes messages
        self.ready = False
        #: why it was ended here, (type, message, traceback), where that makes it a failed one
        self.wrong: tuple[str, str, str] | None = None
        #: process group of its command, 0 for none
        self.group = 0

    @property
    def name(self) -> str:
        """Its name among files."""
        return f"{self.key}-{self.number}"

    def packet(self) -> bytes:
        """What the slot is handed, after the head."""
        if self.scheduled_us:
            whole = self.public_id, self.spec.name, self.args, self.inputs, self.restored, self.scheduled_us
            return pack((*whole, self.latest, self.told) if self.latest or self.told else whole)
        if self.restored:
            return pack((self.public_id, self.spec.name, self.args, self.inputs, self.restored))
        return pack((self.public_id, self.spec.name, self.args, self.inputs))


def blob_hashes(args: bytes, inputs: Inputs) -> tuple[str, ...]:
    """Hashes of the blobs that payloads refer to."""
    found: list[str] = []
    for item in (args, *inputs):
        for payload in item if isinstance(item, tuple) else (item,):
            # The second byte of a payload is looked at only where the first says that it refers to a blob.
            if payload[:1] == b"\x01":
                opened = open_payload(payload)
                if isinstance(opened, BlobRef):
                    found.append(opened.hash)
    return tuple(found)


class Ledger:
    """What is held, and what has been seen: an attempt is taken in once, however often it is launched."""

    def __init__(self, remembered_max: int) -> None:
        self.held: dict[tuple[JobKey, int], Attempt] = {}
        self._highest: dict[JobKey, int] = {}
        self._acked: deque[tuple[JobKey, int]] = deque()
        self._remembered_max = remembered_max

    def is_new(self, key: JobKey, number: int) -> bool:
        """Whether this attempt is higher than every one seen of its job."""
        return self._highest.get(key, 0) < number

    def take_in(self, attempt: Attempt) -> None:
        """Hold an attempt that is new."""
        self._highest[attempt.key] = attempt.number
        self.held[attempt.key, attempt.number] = attempt

    def let_go(self, attempt: Attempt) -> None:
        """Hold an ended attempt no more; it stays seen."""
        del self.held[attempt.key, attempt.number]

    def acked(self, keys: tuple[JobKey, ...], numbers: tuple[int, ...]) -> None:
        """The ends of these attempts are on disk: forget them when they are the oldest of too many."""
        self._acked.extend(zip(keys, numbers, strict=True))
        while len(self._acked) > self._remembered_max:
            key, number = self._acked.popleft()
            if self._highest.get(key) == number:
                del self._highest[key]
