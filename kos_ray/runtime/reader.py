"""The reader actor: answers about jobs, and the blobs, for whoever is not on the head; and it takes the snapshots.

It reads the journal beside the scheduler and never talks to it: lists, logs and plans cost the scheduler nothing.
"""

import contextlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack

import kos_ray
from kos_ray.journal.blobs import FileBlobStore
from kos_ray.journal.history import story
from kos_ray.journal.place import REFUSALS
from kos_ray.journal.reader import JournalReader
from kos_ray.model.errors import NotFound, Refused
from kos_ray.model.failpoints import reach
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.plan import Plan
from kos_ray.model.policy import Policy
from kos_ray.model.protocol import Accepted, Submit
from kos_ray.model.views import AttemptView, ClusterStatus, EventView, JobView, NodeView, StoryLine
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.runtime.compaction import GRACE_S, prepare, sweep_blobs
from kos_ray.runtime.fold import Fold
from kos_ray.runtime.herald import Herald
from kos_ray.runtime.messages import pack, unpack
from kos_ray.runtime.names import RAY_NAMESPACE, SCHEDULER
from kos_ray.runtime.planning import make_plan, suggestions
from kos_ray.worker import failpoint

#: bytes that one blob may have
BLOB_BYTES_MAX = 16 * 2**30
_DAY_S = 86_400
#: seconds for the scheduler to accept a hook's job
_HAND_IN_S = 30.0
#: plans that are remembered, to say what has changed since
_PLANS_MAX = 64


class ReaderActor:
    """One per cluster, on the head, without resources. Threads serve it; each has a connection of its own."""

    def __init__(self, state_dir: str) -> None:
        failpoint.arm()
        self._dir = Path(state_dir).expanduser()
        self._blobs = FileBlobStore(self._dir / "blobs", max_bytes=BLOB_BYTES_MAX)
        self._uploads = self._dir / "uploads"
        self._uploads.mkdir(mode=0o700, exist_ok=True)
        # whoever was sending when the last reader died begins anew
        for left in self._uploads.iterdir():
            left.unlink()
        self._local = threading.local()
        self._one = threading.Lock()
        self._fold = Fold(self._dir / "snapshots")
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._herald: Herald | None = None

    def whose(self) -> dict[str, str]:
        """Whose journal it reads, and its version."""
        return {"state_dir": str(self._dir), "version": kos_ray.__version__}

    # --- notifications and hooks

    def herald(self) -> None:
        """Begin to carry out what the ends of jobs call for; a second time is nothing."""
        self._heralding.start()

    @property
    def _heralding(self) -> Herald:
        with self._one:
            if self._herald is None:
                self._herald = Herald(self._dir, _hand_in, self._policy, _post)
            return self._herald

    def _policy(self) -> Policy:
        """The settings in force."""
        return from_plain(Policy, self._fold.newest(self._journal).plain["policy"])

    def notifications(self) -> list[dict[str, Any]]:
        """See `Herald.entries`."""
        return self._heralding.entries()

    def redrive(self, ids: list[str]) -> int:
        """See `Herald.redrive`."""
        return self._heralding.redrive(ids)

    def test_notify(self, url: str) -> list[dict[str, str]]:
        """See `Herald.test`."""
        return self._heralding.test(url)

    def notify_secret(self) -> str:
        """See `Herald.secret`."""
        return self._heralding.secret

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

    def stories(self, keys: list[JobKey]) -> list[list[StoryLine]]:
        """What happened to jobs, in the order of the keys: see `history.story`; nothing of those that are removed."""
        found = {view.key: story(self._journal, view) for view in self._journal.views(map(JobKey, keys))}
        return [found.get(JobKey(key), []) for key in keys]

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
        """Add to an upload, which `blob_finish` makes a blob; one that finds no room is gone.

        Raises:
            Refused: the disk refuses.

        """
        path = self._upload(upload)
        with _stored(path), path.open("ab") as file:
            file.write(chunk)

    def blob_finish(self, upload: str) -> tuple[str, int]:
        """Store what was uploaded; durable when this returns its hash and size."""
        path = self._upload(upload)
        reach("reader.uploaded")
        try:
            with _stored(path), path.open("rb") as file:
                ref = self._blobs.put(iter(lambda: file.read(1 << 20), b""))
        finally:
            path.unlink(missing_ok=True)
        return ref.hash, ref.size

    def blob_put(self, data: bytes) -> tuple[str, int]:
        """Store a blob that fits one message.

        Raises:
            Refused: the disk refuses; nothing of it is there.

        """
        with _stored():
            ref = self._blobs.put([data])
        return ref.hash, ref.size

    def _upload(self, upload: str) -> Path:
        return self._uploads / uuid.UUID(upload).hex  # a path of ours, whatever was sent

    def remove_logs(self, days: int) -> int:
        """Remove stored logs that are older than so many days; how many. What is still on its node is left alone."""
        before_s = time.time() - days * _DAY_S
        return sum(self._blobs.remove_older(hash_, before_s) for hash_ in self._journal.log_blobs())

    # --- retention

    def compaction(self, cutoffs: dict[JobState, int], bytes_max: int) -> dict[str, Any] | None:
        """Write what stands for the frames that would go: the event that says so, and what it comes to.

        See `compaction.prepare`. None where nothing would go.
        """
        found = prepare(self._dir, cutoffs, bytes_max=bytes_max)
        return {"event": to_plain(found.event), "found": asdict(found.found)} if found and found.found else None

    def sweep(self) -> int:
        """Remove blobs that nothing refers to, and uploads that nobody went on with; how many files."""
        before_s = time.time() - GRACE_S
        uploads = [path for path in self._uploads.iterdir() if path.stat().st_mtime < before_s]
        for path in uploads:
            path.unlink(missing_ok=True)
        return len(uploads) + sweep_blobs(self._dir, before_s)

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


@contextlib.contextmanager
def _stored(*partial: Path) -> Iterator[None]:
    """A disk that refuses is said to; what it has of these files then goes, since it needs the room."""
    try:
        yield
    except OSError as error:
        for path in partial:
            path.unlink(missing_ok=True)
        if error.errno not in REFUSALS:
            raise
        why = f"the disk of the state directory refuses: {error.strerror}"
        raise Refused(f"{why}; nothing of it was stored: see kos status, and send it again") from None


def _hand_in(submit: Submit) -> Accepted:
    """A job for the scheduler, as a client hands it in."""
    import ray  # noqa: PLC0415 - the rest of the reader works without

    scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
    return unpack(Accepted, ray.get(scheduler.submit.remote(pack(submit)), timeout=_HAND_IN_S))


def _post(namespace: str, mailbox: str, message_id: str, value: bytes) -> None:
    """A message for a mailbox, as a client puts it; one that was put before is put no more.

    Raises:
        Refused: there is no room for it.

    """
    import ray  # noqa: PLC0415 - the rest of the reader works without

    fields = {"namespace": namespace, "name": mailbox, "messages": [(message_id, value)]}
    wish = msgpack.packb({"verb": "put", "fields": fields, "by": "results_to"})
    scheduler = ray.get_actor(SCHEDULER, namespace=RAY_NAMESPACE)
    ray.get(scheduler.coordinate.remote(wish), timeout=_HAND_IN_S)


def _now_us() -> int:
    return time.time_ns() // 1_000
