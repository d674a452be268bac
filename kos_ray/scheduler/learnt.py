"""Learnt run times: how long jobs alike have run, for those that declare nothing.

Jobs are alike by namespace and type, by what they ask for, and by the size of their arguments. For each such *kind* a
histogram is kept whose buckets grow with the times they stand for (as in HdrHistogram: four for each power of two, so
a quantile is off by a quarter at most), and in which old runs count half as much as new ones after so many. All of it
is integers, folded from the ends of attempts, so that a replay learns the same.

Learnt from are attempts that succeeded, and those that ran into their timeout, which count as that long; not attempts
that were stopped, and none that may have gone on from a checkpoint. A learnt time is a forecast, never a promise: what
is declared goes before it, and a declared limit (`timeout`) bounds it.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from kos_ray.model.events import JobsSubmitted
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Spec
from kos_ray.model.resources import Resources

#: so many runs make a quantile: the largest of eight is as good as a 90 % quantile
RUNS_MIN = 8
#: kinds that are known; the one of which the longest nothing was learnt is forgotten first
KINDS_MAX = 4_096
#: quantiles, in percent: a run is hardly shorter than the first, and hardly longer than the last
_LOW, _MID, _HIGH = 10, 50, 90
#: what one run weighs; the histogram is halved when it holds so many
_RUN = 64
_MEMORY = 256 * _RUN
#: arguments below this many bytes are of size 0; above, each size is up to four times the one before
_SMALL_BITS = 10
_SIZE_BITS = 2
#: how large a payload that refers to a blob says its blob is; see `model.payload`
_BLOB, _BLOB_LENGTH = b"\x01", 41

ANY_SIZE = -1
#: namespace, type, what is asked for (None: whatever it is), size of the arguments
Kind = tuple[str, str, Resources | None, int]


class Source(StrEnum):
    """What an estimate rests on."""

    DECLARED = "declared"
    SIZE = "size"  #: runs of its type, with what it asks for and arguments of this size
    SHAPE = "shape"  #: runs of its type, with what it asks for
    TYPE = "type"  #: runs of its type
    LIMIT = "limit"  #: only its timeout is known: the longest that it may take
    UNKNOWN = "unknown"


class Estimate(NamedTuple):
    """How long a job runs: hardly less than `low_us`, as often more as less than `mid_us`, hardly more than `high_us`.

    All are 0 where nobody knows; of a limit alone, only `high_us` is not. `runs` is what a learnt one rests on.
    """

    low_us: int
    mid_us: int
    high_us: int
    source: Source
    runs: int = 0

    @property
    def sure(self) -> bool:
        """Whether room may be given away on it: it is declared, or rests on enough runs."""
        return self.source is Source.DECLARED or self.runs >= RUNS_MIN


UNKNOWN = Estimate(0, 0, 0, Source.UNKNOWN)


class Histogram:
    """The run times of one kind. Its quantiles are found anew after an eighth more runs, at most 256."""

    __slots__ = ("due", "quantiles", "runs", "weights")

    def __init__(self) -> None:
        self.weights: dict[int, int] = {}
        self.runs = 0
        #: low, mid, high, as they were found last
        self.quantiles = (0, 0, 0)
        #: with how many runs they are found anew
        self.due = 1

    def add(self, buckets: Mapping[int, int]) -> bool:
        """Take runs in, by bucket; whether the quantiles have changed, or there are enough of them now."""
        weights, few = self.weights, self.runs < RUNS_MIN
        for bucket, count in buckets.items():
            weights[bucket] = weights.get(bucket, 0) + count * _RUN
            self.runs += count
        while sum(weights.values()) > _MEMORY:
            weights = self.weights = {bucket: half for bucket, weight in weights.items() if (half := weight >> 1)}
        enough = few and self.runs >= RUNS_MIN
        if self.runs < self.due and not enough:
            return False
        self.due = self.runs + max(1, min(self.runs // 8, _MEMORY // _RUN))
        before, self.quantiles = self.quantiles, self._quantiles()
        return self.quantiles != before or enough

    def _quantiles(self) -> tuple[int, int, int]:
        """Nearest ranks: the lower edge of the low one's bucket, the middle, the upper edge of the high one's."""
        low, mid, high = (self._bucket(percent) for percent in (_LOW, _MID, _HIGH))
        return bounds(low)[0], sum(bounds(mid)) // 2, bounds(high)[1]

    def _bucket(self, percent: int) -> int:
        rank = -(-sum(self.weights.values()) * percent // 100)
        for bucket in sorted(self.weights):
            rank -= self.weights[bucket]
            if rank <= 0:
                return bucket
        raise AssertionError("no rank is beyond the last bucket")


class Learnt:
    """All kinds, the one of which the longest nothing was learnt first."""

    __slots__ = ("kinds", "version")

    def __init__(self) -> None:
        self.kinds: OrderedDict[Kind, Histogram] = OrderedDict()
        #: how often what is known has changed, for whoever keeps what it made of that; in no snapshot
        self.version = 0

    def add(self, spec: Spec, size: int, runs_us: Sequence[int]) -> None:
        """Jobs alike have run so long."""
        buckets = Counter(map(bucket_of, runs_us))
        for kind, _ in kinds_of(spec, size):
            histogram = self.kinds.pop(kind, None) or Histogram()
            self.kinds[kind] = histogram
            self.version += histogram.add(buckets)
        while len(self.kinds) > KINDS_MAX:
            self.kinds.popitem(last=False)

    def of(self, spec: Spec, size: int) -> Estimate:
        """What is known of jobs alike: of the narrowest kind with enough runs, else of the narrowest with any."""
        few = UNKNOWN
        for kind, source in kinds_of(spec, size):
            histogram = self.kinds.get(kind)
            if histogram is None:
                continue
            found = Estimate(*histogram.quantiles, source, histogram.runs)
            if found.sure:
                return found
            few = few if few.runs else found
        return few


def kinds_of(spec: Spec, size: int) -> Iterator[tuple[Kind, Source]]:
    """The kinds that a job is of, the narrowest first."""
    yield (spec.namespace, spec.type, spec.resources, size), Source.SIZE
    yield (spec.namespace, spec.type, spec.resources, ANY_SIZE), Source.SHAPE
    yield (spec.namespace, spec.type, None, ANY_SIZE), Source.TYPE


def estimated(spec: Spec, learnt: Estimate) -> Estimate:
    """What a job declares goes before what was learnt of its kind, which is bounded by its timeout."""
    if spec.run_ms:
        run_us = spec.run_ms * 1_000
        return Estimate(run_us, run_us, run_us, Source.DECLARED)
    if not spec.timeout_ms:
        return learnt
    most_us = spec.timeout_ms * 1_000
    if not learnt.runs:
        return Estimate(0, 0, most_us, Source.LIMIT)
    low_us, mid_us, high_us, source, runs = learnt
    return Estimate(min(low_us, most_us), min(mid_us, most_us), min(high_us, most_us), source, runs)


# --- buckets


def bucket_of(run_us: int) -> int:
    """The bucket of a run time: two bits behind the first one that is set."""
    shift = max(0, run_us.bit_length() - 3)
    return (shift << 2) + (run_us >> shift)


def bounds(bucket: int) -> tuple[int, int]:
    """The shortest and the longest run time of a bucket, in microseconds."""
    shift = max(0, (bucket >> 2) - 1)
    first = bucket - (shift << 2)
    return first << shift, ((first + 1) << shift) - 1


def size_of(payload: bytes) -> int:
    """The size of a job's arguments in steps of four times as much, 0 for small ones."""
    length = len(payload)
    if length == _BLOB_LENGTH and payload[:1] == _BLOB:
        length = int.from_bytes(payload[33:], "big")
    return -(-max(0, length.bit_length() - _SMALL_BITS) // _SIZE_BITS)


def stand_in(size: int) -> bytes:
    """A payload that counts as arguments of a size, for whoever has none at hand."""
    return _BLOB + bytes(_BLOB_LENGTH - 9) + sizes_of(size)[0].to_bytes(8, "big") if size else b""


def large_arguments(event: JobsSubmitted) -> dict[JobKey, int]:
    """The jobs of a submission whose arguments are not small, and of what size they are."""
    return {
        JobKey(key): size
        for key, payload in enumerate(event.args, event.first)
        if len(payload) >= _BLOB_LENGTH and (size := size_of(payload))
    }


def sizes_of(size: int) -> tuple[int, int]:
    """From how many bytes on arguments are of a size, and below how many."""
    most = 1 << (_SMALL_BITS + _SIZE_BITS * size)
    return (most >> _SIZE_BITS if size else 0), most
