"""Arguments, ids and results in memory, so that the hot path does not read the journal back."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from kos_ray.engine.ports import Journal
from kos_ray.model.events import JobsSubmitted
from kos_ray.model.ids import JobKey, item_id

#: bytes of results that are kept for dependents, and what one takes besides; older ones are read from the journal
_RESULTS_BYTES_MAX = 4 * 2**20
_RESULT_BYTES = 230
#: bytes of arguments that are kept; of what is dropped, the journal has a copy
_ARGS_BYTES_MAX = 256 * 2**20


class _Batch:
    """One submission: where its arrays begin, their ids and counts, and the arguments of all its jobs."""

    __slots__ = ("args", "bytes", "counts", "end", "first", "firsts", "ids", "live")

    def __init__(self, event: JobsSubmitted) -> None:
        self.first = event.first
        self.ids = event.ids
        self.counts = event.counts
        self.args = event.args
        self.live = len(event.args)
        self.end = event.first + self.live
        self.bytes = sum(map(len, event.args)) + 64 * len(event.ids)
        self.firsts: Sequence[int] = range(event.first, event.first + 1)
        if len(event.ids) > 1:
            self.firsts = firsts = []
            key: int = event.first
            for count in event.counts:
                firsts.append(key)
                key += abs(count)

    def id_of(self, key: JobKey) -> str:
        i = bisect_right(self.firsts, key) - 1
        return item_id(self.ids[i], None if self.counts[i] < 0 else key - self.firsts[i])


class Payloads:
    """A cache over the journal: of live submissions by batch, of results by job."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._firsts: list[int] = []
        self._batches: list[_Batch] = []
        self._bytes = 0
        self._results: OrderedDict[JobKey, bytes] = OrderedDict()
        self._results_bytes = 0

    def submitted(self, event: JobsSubmitted) -> None:
        """Keep a submission that was committed."""
        batch = _Batch(event)
        self._firsts.append(batch.first)
        self._batches.append(batch)
        self._bytes += batch.bytes
        while self._bytes > _ARGS_BYTES_MAX:
            self._drop(0)

    def ended(self, results: Mapping[JobKey, bytes]) -> None:
        """Keep results for dependents, the newest ones."""
        for key, result in results.items():
            if result:
                self._results[key] = result
                self._results_bytes += len(result) + _RESULT_BYTES
        while self._results_bytes > _RESULTS_BYTES_MAX:
            _, oldest = self._results.popitem(last=False)
            self._results_bytes -= len(oldest) + _RESULT_BYTES

    def finished(self, keys: Iterable[JobKey]) -> None:
        """Forget submissions of which every job is over."""
        for key in keys:
            i = bisect_right(self._firsts, key) - 1
            if i >= 0 and key < self._batches[i].end:
                batch = self._batches[i]
                batch.live -= 1
                if not batch.live:
                    self._drop(i)

    def launch_data(self, keys: Sequence[JobKey]) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
        """Public ids and arguments of jobs about to be launched, in the order of `keys`."""
        ids: list[str] = []
        args: list[bytes] = []
        missing: list[int] = []
        batch: _Batch | None = None
        for position, key in enumerate(keys):
            if batch is None or not batch.first <= key < batch.end:
                i = bisect_right(self._firsts, key) - 1
                batch = self._batches[i] if i >= 0 and key < self._batches[i].end else None
            if batch is None:
                missing.append(position)
                ids.append("")
                args.append(b"")
            else:
                ids.append(batch.id_of(key))
                args.append(batch.args[key - batch.first])
        if missing:
            wanted = [keys[position] for position in missing]
            found_ids, found_args = self._journal.public_ids(wanted), self._journal.args(wanted)
            for position in missing:
                ids[position] = found_ids[keys[position]]
                args[position] = found_args[keys[position]]
        return tuple(ids), tuple(args)

    def results(self, keys: Sequence[JobKey]) -> dict[JobKey, bytes]:
        """Result payloads, b"" for a job that returned nothing or did not succeed."""
        found = {key: self._results[key] for key in keys if key in self._results}
        missing = [key for key in keys if key not in found]
        if missing:
            found |= self._journal.results(missing)
        return found

    def restored(
        self, keys: Sequence[JobKey], attempts: Sequence[int], heads: Mapping[JobKey, str]
    ) -> tuple[tuple[int, bytes], ...]:
        """The last checkpoints of jobs about to be launched, sparse: `(index into keys, payload)`.

        In `heads` are the snapshots of those that carry agents and go on from one.
        """
        again = {key: i for i, (key, attempt) in enumerate(zip(keys, attempts, strict=True)) if attempt > 1}
        if not again:
            return ()
        found = self._journal.checkpoints(again)
        if heads:
            found |= self._journal.snapshots(heads)
        return tuple((again[key], payload) for key, payload in found.items())

    def _drop(self, i: int) -> None:
        self._bytes -= self._batches[i].bytes
        del self._firsts[i]
        del self._batches[i]
