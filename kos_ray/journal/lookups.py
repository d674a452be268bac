"""Questions to the journal that the writer and the readers both have; those about many jobs take one query."""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from kos_ray.journal import bulk
from kos_ray.journal import chain as frame_chain
from kos_ray.journal.base import anchored
from kos_ray.journal.codec import Frame, decode, decode_spec
from kos_ray.model.errors import JournalDamaged, NotFound
from kos_ray.model.events import AttemptsEnded, CheckpointsStored, JobsSubmitted
from kos_ray.model.ids import JobKey, SpecKey, item_id, split_item_id
from kos_ray.model.job import JobState, Spec
from kos_ray.model.payload import raised_by
from kos_ray.model.protocol import Outcomes

#: decoded frames kept, by the size of their bodies in bytes
_CACHE_BYTES = 32 * 1024 * 1024
#: decoded specs kept
_SPECS_MAX = 4096

_STATES = "SELECT key, state FROM jobs WHERE key IN {rows}"
_LAST_NODES = "SELECT jobs.key, nodes.id FROM jobs JOIN nodes USING (node) WHERE jobs.key IN {rows}"
_STANDS = "SELECT key, state, reason, attempt FROM jobs WHERE key IN {rows}"
_ARGS = """
SELECT j.key, a.frame, a.args_at + j.key - a.first FROM jobs j CROSS JOIN arrays a ON a.first = j.array
WHERE j.key IN {rows}"""
_RESULTS = "SELECT key, result_frame, result_at FROM jobs WHERE key IN {rows} AND result_frame > 0"
_IDS = """
SELECT j.key, a.id, CASE WHEN a.count < 0 THEN NULL ELSE j.key - a.first END
FROM jobs j CROSS JOIN arrays a ON a.first = j.array WHERE j.key IN {rows}"""
_NAMES = """
SELECT j.key, a.id, CASE WHEN a.count < 0 THEN NULL ELSE j.key - a.first END, a.name
FROM jobs j CROSS JOIN arrays a ON a.first = j.array WHERE j.key IN {rows}"""
_OF_IDS = "SELECT id, first FROM arrays WHERE id IN {rows}"
_OF_NAMES = """
SELECT namespace, name, first FROM arrays WHERE (namespace, name) IN {rows} AND name <> ''"""
_KEYED = """
SELECT first, payload, arrays.id FROM idempotency JOIN arrays USING (first)
WHERE idempotency.namespace = ? AND idempotency.key = ?"""
_CHECKPOINTS = "SELECT key, frame, place, attempt, number FROM checkpoints WHERE key IN {rows}"
_SNAPSHOTS = "SELECT s.key, s.frame, s.place FROM {rows} r JOIN snapshots s ON s.key = r.column1 AND s.hash = r.column2"
_ENDS = "SELECT key, state, reason FROM jobs WHERE key IN {rows}"
_ERRORS = """
SELECT j.key, x.type, x.message, x.traceback FROM jobs j
CROSS JOIN errors x ON x.key = j.key AND x.attempt = j.attempt WHERE j.key IN {rows}"""


class _Payloads:
    """The payload columns of one frame: arguments, results, checkpoints of all its events, one after another."""

    def __init__(self, frame: Frame, size: int) -> None:
        self.size = size
        self.args = _joined([event.args for event in frame.events if isinstance(event, JobsSubmitted)])
        self.results = _joined([event.results for event in frame.events if isinstance(event, AttemptsEnded)])
        said = [event.payloads for event in frame.events if isinstance(event, CheckpointsStored)]
        self.checkpoints = _joined(said)


class Lookups:
    """Answers from current rows, and from frames where rows only say where something is."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._payloads: OrderedDict[int, _Payloads] = OrderedDict()
        self._payload_bytes = 0
        self._specs: OrderedDict[int, Spec] = OrderedDict()

    def request(self, request_id: str) -> tuple[JobKey, int] | None:
        """`(first key, jobs)` that a submission got; None where it is not known."""
        text = "SELECT first, job_count FROM requests WHERE request_id = ?"
        row = self._connection.execute(text, (request_id,)).fetchone()
        return (JobKey(row[0]), row[1]) if row else None

    def keyed(self, namespace: str, idempotency_key: str) -> tuple[JobKey, str, str] | None:
        """Who has an idempotency key: first job, hash of what was submitted, public id; None where nobody has."""
        row = self._connection.execute(_KEYED, (namespace, idempotency_key)).fetchone()
        return (JobKey(row[0]), row[1], row[2]) if row else None

    def spec_by_hash(self, hash_: str) -> tuple[SpecKey, Spec] | None:
        """A spec by its `model.hashing.spec_hash`, with its key; None where it is not known."""
        row = self._connection.execute("SELECT spec FROM specs WHERE hash = ?", (hash_,)).fetchone()
        return (SpecKey(row[0]), self.spec(row[0])) if row else None

    def spec(self, key: SpecKey) -> Spec:
        """A spec by its key.

        Raises:
            NotFound: there is none.

        """
        known = self._specs.get(key)
        if known is not None:
            self._specs.move_to_end(key)
            return known
        row = self._connection.execute("SELECT body FROM specs WHERE spec = ?", (key,)).fetchone()
        if row is None:
            raise NotFound(f"there is no spec {key}")
        spec = self._specs[key] = decode_spec(row[0])
        if len(self._specs) > _SPECS_MAX:
            self._specs.popitem(last=False)
        return spec

    @property
    def next_spec_key(self) -> SpecKey:
        """The key that the next new spec is to get; the first is 1."""
        return SpecKey(self._connection.execute("SELECT coalesce(max(spec), 0) + 1 FROM specs").fetchone()[0])

    @property
    def next_job_key(self) -> JobKey:
        """The key that the next job is to get; the first is 1."""
        return JobKey(self._connection.execute("SELECT coalesce(max(key), 0) + 1 FROM jobs").fetchone()[0])

    def resolve(self, namespace: str, id_or_name: str) -> tuple[JobKey, int] | None:
        """What a text means: an array or one of its items, by public id or by name in `namespace`.

        Returns:
            `(first key, jobs)`, where -1 jobs is one single job; None where it means nothing.

        """
        row = self._connection.execute("SELECT first, count FROM arrays WHERE id = ?", (id_or_name,)).fetchone()
        if row:
            return JobKey(row[0]), row[1]
        array, index = split_item_id(id_or_name)
        if index is not None:
            text = "SELECT first FROM arrays WHERE id = ? AND count > ?"
            row = self._connection.execute(text, (array, index)).fetchone()
            if row:
                return JobKey(row[0] + index), -1
        text = "SELECT first, count FROM arrays WHERE namespace = ? AND name = ? AND name <> ''"
        row = self._connection.execute(text, (namespace, id_or_name)).fetchone()
        if row is None and index is not None:
            row = self._connection.execute(text, (namespace, array)).fetchone()
            return (JobKey(row[0] + index), -1) if row and index < row[1] else None
        return (JobKey(row[0]), row[1]) if row else None

    def taken(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], JobKey]:
        """Those of `(namespace, id or name)` that mean something, with the first job of what they mean."""
        of_ids = bulk.select(self._connection, _OF_IDS, (), [text for _, text in places])
        firsts = dict(of_ids)
        found = {place: JobKey(firsts[place[1]]) for place in places if place[1] in firsts}
        of_names = bulk.select(self._connection, _OF_NAMES, (), *zip(*places, strict=True))
        found |= {(namespace, name): JobKey(first) for namespace, name, first in of_names}
        for namespace, text in places:
            if split_item_id(text)[1] is not None and (meant := Lookups.resolve(self, namespace, text)):
                found[namespace, text] = meant[0]
        return found

    def states(self, keys: Iterable[JobKey]) -> dict[JobKey, JobState]:
        """The states of those jobs that exist."""
        return {JobKey(key): JobState(state) for key, state in bulk.select(self._connection, _STATES, (), list(keys))}

    def ends(self, keys: Iterable[JobKey]) -> dict[JobKey, tuple[JobState, int, int]]:
        """State, `Reason` and attempts of those jobs that exist."""
        rows = bulk.select(self._connection, _STANDS, (), list(keys))
        return {JobKey(key): (JobState(state), reason, attempt) for key, state, reason, attempt in rows}

    def last_nodes(self, keys: Iterable[JobKey]) -> list[str]:
        """Ids of the nodes on which those of the jobs that exist ran last, each once, in their order."""
        rows = bulk.select(self._connection, _LAST_NODES, (), list(keys))
        return sorted({node for _, node in rows})

    def public_ids(self, keys: Iterable[JobKey]) -> dict[JobKey, str]:
        """The public ids of those jobs that exist."""
        rows = bulk.select(self._connection, _IDS, (), list(keys))
        return {JobKey(key): item_id(array, index) for key, array, index in rows}

    def names(self, keys: Iterable[JobKey]) -> dict[JobKey, tuple[str, str]]:
        """The public ids of those jobs that exist, and their names: "" for none, of items as their ids."""
        rows = bulk.select(self._connection, _NAMES, (), list(keys))
        return {
            JobKey(key): (item_id(array, index), item_id(name, index) if name else "")
            for key, array, index, name in rows
        }

    def args(self, keys: Iterable[JobKey]) -> dict[JobKey, bytes]:
        """The argument payloads of those jobs that exist, as they were submitted."""
        found = bulk.select(self._connection, _ARGS, (), list(keys))
        return {JobKey(key): self._payloads_of(frame).args[place] for key, frame, place in _by_frame(found)}

    def results(self, keys: Iterable[JobKey]) -> dict[JobKey, bytes]:
        """The result payloads of those jobs whose current attempt has ended."""
        found = bulk.select(self._connection, _RESULTS, (), list(keys))
        return {JobKey(key): self._payloads_of(frame).results[place] for key, frame, place in _by_frame(found)}

    def checkpoints(self, keys: Iterable[JobKey]) -> dict[JobKey, bytes]:
        """The payloads of the newest checkpoints of those of the jobs that have one and are not over."""
        found = [row[:3] for row in bulk.select(self._connection, _CHECKPOINTS, (), list(keys))]
        return {JobKey(key): self._payloads_of(frame).checkpoints[place] for key, frame, place in _by_frame(found)}

    def snapshots(self, wanted: Mapping[JobKey, str]) -> dict[JobKey, bytes]:
        """The payloads of snapshots of agents, of each carrier that of one hash."""
        found = bulk.select(self._connection, _SNAPSHOTS, (), list(wanted), list(wanted.values()))
        return {JobKey(key): self._payloads_of(frame).checkpoints[place] for key, frame, place in _by_frame(found)}

    def checkpoint_numbers(self, keys: Iterable[JobKey]) -> dict[JobKey, tuple[int, int]]:
        """Attempt and number of the newest checkpoints; see `checkpoints`."""
        rows = bulk.select(self._connection, _CHECKPOINTS, (), list(keys))
        return {JobKey(key): (attempt, number) for key, _, _, attempt, number in rows}

    def outcomes(self, keys: Iterable[JobKey]) -> Outcomes:
        """How those of the jobs ended that are over: results of the ones that succeeded, errors of the others.

        The result of one that failed is the exception that its code raised, where that could travel.
        """
        ends = [row for row in bulk.select(self._connection, _ENDS, (), list(keys)) if JobState(row[1]).final]
        succeeded = [JobKey(key) for key, state, _ in ends if state == JobState.SUCCEEDED]
        failed = [JobKey(key) for key, state, _ in ends if state != JobState.SUCCEEDED]
        raised = self.results([JobKey(key) for key, state, _ in ends if state == JobState.FAILED])
        results = self.results(succeeded) | {key: result for key, result in raised.items() if raised_by(result)}
        place = {key: index for index, (key, _, _) in enumerate(ends)}
        errors = bulk.select(self._connection, _ERRORS, (), failed)
        return Outcomes(
            number=0,
            keys=tuple([JobKey(key) for key, _, _ in ends]),
            states=tuple([state for _, state, _ in ends]),
            reasons=tuple([reason for _, _, reason in ends]),
            results=tuple([results.get(JobKey(key), b"") for key, _, _ in ends]),
            errors=tuple([(place[key], type_, message, trace) for key, type_, message, trace in errors]),
        )

    def hash_at(self, seq: int) -> bytes | None:
        """The hash of the frame that ends with the sequence number `seq`; None where no frame does."""
        stored = frame_chain.holding(self._connection, seq)
        if stored and stored.last_seq == seq:
            return stored.hash
        begin = anchored(self._connection)
        return bytes.fromhex(begin.hash) if begin and begin.seq == seq else None

    def _payloads_of(self, first_seq: int) -> _Payloads:
        known = self._payloads.get(first_seq)
        if known is not None:
            self._payloads.move_to_end(first_seq)
            return known
        stored = frame_chain.holding(self._connection, first_seq)
        if stored is None:
            raise JournalDamaged(f"rows refer to frame {first_seq}, which is not there")
        found = _Payloads(decode(stored), len(stored.body))
        self._payloads[first_seq] = found
        self._payload_bytes += found.size
        while self._payload_bytes > _CACHE_BYTES and len(self._payloads) > 1:
            self._payload_bytes -= self._payloads.popitem(last=False)[1].size
        return found


def _by_frame(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """In the order of frames, so that each is decoded once however small the cache is."""
    return sorted(rows, key=lambda row: row[1])


def _joined(columns: Sequence[tuple[bytes, ...]]) -> tuple[bytes, ...]:
    return columns[0] if len(columns) == 1 else tuple(chain.from_iterable(columns))
