"""The reader actor: answers about jobs, and the blobs, for whoever is not on the head; and it takes the snapshots.

It reads the journal beside the scheduler and never talks to it: lists, logs and plans cost the scheduler nothing.
"""

import threading
import time
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.reader import JournalReader
from kos_ray.model.errors import NotFound
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.plan import Plan
from kos_ray.model.protocol import Submit
from kos_ray.model.views import AttemptView, ClusterStatus, EventView, JobView, NodeView
from kos_ray.runtime.fold import Fold
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.planning import make_plan, suggestions

#: bytes that one blob may have
BLOB_BYTES_MAX = 16 * 2**30
_DAY_S = 86_400
#: plans that are remembered, to say what has changed since
_PLANS_MAX = 64


class ReaderActor:
    """One per cluster, on the head, without resources. Threads serve it; each has a connection of its own."""

    def __init__(self, state_dir: str) -> None:
        self._dir = Path(state_dir).expanduser()
        self._blobs = FileBlobStore(self._dir / "blobs", max_bytes=BLOB_BYTES_MAX)
        self._uploads = self._dir / "uploads"
        self._uploads.mkdir(mode=0o700, exist_ok=True)
        self._local = threading.local()
        self._fold = Fold(self._dir / "snapshots")
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    @property
    def _journal(self) -> JournalReader:
        reader: JournalReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = JournalReader(self._dir)
        return reader

    # --- jobs, nodes, events

    def resolve(self, namespace: str, refs: list[str]) -> list[tuple[JobKey, int]]:
        """First key and count (-1: one job) of each id or name.

        Raises:
            NotFound: one is none; the message has what comes near.

        """
        found = []
        for ref in refs:
            place = self._journal.resolve(namespace, ref)
            if place is None:
                self._journal.job(namespace, ref)  # raises NotFound, with near names
                raise NotFound(f"there is no job {ref!r}")
            found.append(place)
        return found

    def views(self, keys: list[JobKey]) -> list[JobView]:
        """Jobs by key, in the order of the keys."""
        return self._journal.views(keys)

    def jobs(self, **filters: Any) -> list[JobView]:
        """See `JournalReader.jobs`; `state` is a name."""
        state = filters.pop("state", None)
        return self._journal.jobs(state=JobState[state.upper()] if state else None, **filters)

    def again(self, namespace: str, ref: str, *, from_failed: bool) -> list[dict[str, Any]]:
        """What a job or an array was submitted as, as fields of drafts: see `JournalReader.again`."""
        return self._journal.again(namespace, ref, from_failed=from_failed)

    def attempts(self, key: JobKey) -> list[AttemptView]:
        """All attempts of a job."""
        return self._journal.attempts(key)

    def nodes(self) -> list[NodeView]:
        """All nodes that ever joined."""
        return self._journal.nodes()

    def events(self, since_seq: int, limit: int) -> list[EventView]:
        """Events and decisions after a sequence number."""
        return self._journal.events(since_seq, limit)

    def status(self) -> ClusterStatus:
        """The whole in a few numbers."""
        return self._journal.status()

    # --- blobs

    def blob_read(self, hash_: str, offset: int, size: int) -> bytes:
        """A part of a blob, b"" behind its end."""
        return self._blobs.read(hash_, offset, size)

    def blob_write(self, upload: str, chunk: bytes) -> None:
        """Add to an upload, which `blob_finish` makes a blob."""
        with self._upload(upload).open("ab") as file:
            file.write(chunk)

    def blob_finish(self, upload: str) -> tuple[str, int]:
        """Store what was uploaded; durable when this returns its hash and size."""
        path = self._upload(upload)
        try:
            with path.open("rb") as file:
                ref = self._blobs.put(iter(lambda: file.read(1 << 20), b""))
        finally:
            path.unlink(missing_ok=True)
        return ref.hash, ref.size

    def blob_put(self, data: bytes) -> tuple[str, int]:
        """Store a blob that fits one message."""
        ref = self._blobs.put([data])
        return ref.hash, ref.size

    def _upload(self, upload: str) -> Path:
        return self._uploads / uuid.UUID(upload).hex  # a path of ours, whatever was sent

    def remove_logs(self, days: int) -> int:
        """Remove stored logs that are older than so many days; how many. What is still on its node is left alone."""
        before_s = time.time() - days * _DAY_S
        return sum(self._blobs.remove_older(hash_, before_s) for hash_ in self._journal.log_blobs())

    # --- snapshots and plans

    def snapshot(self) -> int:
        """Fold the frames after the newest snapshot and save the state; the sequence number it holds."""
        return self._fold.save(self._journal)

    def plan(self, data: bytes, spread: int = 0) -> bytes:
        """What would become of a `Submit` now, as a `Plan`; declared run times may be off by `spread` thousandths.

        Raises:
            Refused: it would not be accepted.

        """
        folded = self._fold.newest(self._journal)
        now_us = max(_now_us(), folded.now_us)
        plan = make_plan(folded, self._journal, unpack(Submit, data), now_us, spread=spread)
        self._plans[plan.hash] = plan
        if len(self._plans) > _PLANS_MAX:
            self._plans.popitem(last=False)
        return pack(plan)

    def what_if(self, key: JobKey) -> bytes:
        """The smallest changes that would start a waiting job now, as `Suggestions`."""
        folded = self._fold.newest(self._journal)
        return pack(suggestions(folded, key, max(_now_us(), folded.now_us)))

    def plan_changes(self, before: str, after: str) -> list[str]:
        """What one plan says otherwise than another, by their hashes; nothing where one is not remembered."""
        plans = self._plans.get(before), self._plans.get(after)
        return plans[0].changes(plans[1]) if plans[0] and plans[1] else []


def _now_us() -> int:
    return time.time_ns() // 1_000
