"""What a rehearsal came to, in rounded numbers: seconds, shares from 0 to 1, units of resources."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kos_ray.model.job import BANDS
from kos_ray.model.resources import UNIT
from kos_ray.rehearsal.record import Record, Times
from kos_ray.rehearsal.workload import SECOND_US, VirtualJob

#: shorter jobs count as this long for slowdowns, as in the literature on parallel jobs (Feitelson and Rudolph, 1998)
BOUND_US = 10 * SECOND_US
#: parts of the rehearsal's time in the timeline of utilisation
PARTS = 60
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How values are spread; all are 0 where there are none. The percentiles are the nearest ranks."""

    mean: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """The jobs of one band, or of one namespace. Jobs that never ended count as jobs only."""

    jobs: int
    wait_s: Spread
    slowdown: Spread
    #: of a namespace: its largest share of any of the cluster's resources, on average over the whole time
    dominant_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole rehearsal; docs/rehearsal.md says what each number means."""

    nodes: int
    capacity: dict[str, float]
    jobs: int
    succeeded: int
    unfinished: int
    makespan_s: float
    wait_s: Spread
    completion_s: Spread
    slowdown: Spread
    bands: dict[str, GroupReport]
    namespaces: dict[str, GroupReport]
    jain: float
    utilisation: dict[str, float]
    fragmentation: float | None
    preemptions: int
    work_lost: dict[str, float]
    deadlines: int
    deadlines_met: int
    attempts: int
    passes: int
    #: the resource of fragmentation and timeline; its utilisation, and how many jobs waited, in equal parts of the time
    main: str
    timeline: tuple[float, ...]
    waiting: tuple[float, ...]


def report_of(record: Record) -> Report:
    """The numbers of a record that is closed."""
    pairs = list(zip(record.jobs, record.times, strict=True))
    for job, times in pairs:
        times.ready_us = _ready_us(record, job)
    begin_us = record.start_us
    end_us = end_of(record)
    done = [(job, times) for job, times in pairs if times.end_us >= 0]
    span_us = end_us - begin_us
    namespaces = _grouped(pairs, lambda job: job.spec.namespace)
    by_namespace = {name: _group(found, _dominant(record, name, span_us)) for name, found in sorted(namespaces.items())}
    bands = _grouped(pairs, lambda job: BANDS[job.spec.band])
    with_deadline = [(job, times) for job, times in pairs if job.deadline_us]
    return Report(
        nodes=len(record.nodes),
        capacity={name: amount / UNIT for name, amount in sorted(record.capacity.items())},
        jobs=len(pairs),
        succeeded=sum(times.succeeded for _, times in done),
        unfinished=len(pairs) - len(done),
        makespan_s=_seconds(span_us),
        wait_s=_waits(done),
        completion_s=spread(_seconds(times.end_us - begin_us - job.at_us) for job, times in done),
        slowdown=_slowdowns(done),
        bands={name: _group(bands[name]) for name in BANDS if name in bands},
        namespaces=by_namespace,
        jain=jain([found.slowdown.mean for found in by_namespace.values() if found.slowdown.mean]),
        utilisation={name: _share(record, _used(record, name), name, span_us) for name in sorted(record.capacity)},
        fragmentation=None if record.fragmentation is None else round(record.fragmentation, _DIGITS),
        preemptions=record.preemptions,
        work_lost={name: round(lost / UNIT / SECOND_US, _DIGITS) for name, lost in sorted(record.lost.items())},
        deadlines=len(with_deadline),
        deadlines_met=sum(0 <= times.end_us <= begin_us + job.at_us + job.deadline_us for job, times in with_deadline),
        attempts=record.attempts,
        passes=record.passes,
        main=record.main,
        timeline=tuple(round(one, 4) for one in utilisation_over_time(record, PARTS)),
        waiting=tuple(round(sum(parts), 2) for parts in zip(*waiting_over_time(record, PARTS).values(), strict=True)),
    )


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness, 1 when all are equal, 1/n when one has all (Jain, Chiu and Hawe, 1984)."""
    squares = len(values) * sum(value * value for value in values)
    return round(sum(values) ** 2 / squares, _DIGITS) if squares else 1.0


def spread(values: Iterable[float]) -> Spread:
    """Mean, median, 95th percentile and maximum."""
    found = sorted(values)
    if not found:
        return Spread()
    return Spread(
        mean=round(sum(found) / len(found), _DIGITS),
        median=found[_rank(len(found), 50)],
        p95=found[_rank(len(found), 95)],
        max=found[-1],
    )


def _rank(count: int, percent: int) -> int:
    """The index of the nearest rank."""
    return max(0, -(-count * percent // 100) - 1)


_Pairs = Sequence[tuple[VirtualJob, Times]]


def _ready_us(record: Record, job: VirtualJob) -> int:
    """When a job could first have started: it had come, and its parents were over."""
    return max([record.start_us + job.at_us, *(record.times[parent].end_us for parent in job.after)])


def _seconds(us: int) -> float:
    return round(us / SECOND_US, _DIGITS)


def _waits(pairs: _Pairs) -> Spread:
    return spread(_seconds(times.start_us - times.ready_us) for _, times in pairs if times.start_us >= 0)


def _slowdowns(pairs: _Pairs) -> Spread:
    return spread(
        round(max(1.0, (times.end_us - times.ready_us) / max(job.run_us, BOUND_US)), _DIGITS) for job, times in pairs
    )


def _grouped(pairs: _Pairs, name_of: Callable[[VirtualJob], str]) -> dict[str, list[tuple[VirtualJob, Times]]]:
    found: dict[str, list[tuple[VirtualJob, Times]]] = {}
    for job, times in pairs:
        found.setdefault(name_of(job), []).append((job, times))
    return found


def _group(pairs: _Pairs, dominant_share: float | None = None) -> GroupReport:
    done = [(job, times) for job, times in pairs if times.end_us >= 0]
    return GroupReport(jobs=len(pairs), wait_s=_waits(done), slowdown=_slowdowns(done), dominant_share=dominant_share)


def _used(record: Record, name: str) -> int:
    return sum(used.get(name, 0) for used in record.used_by.values())


def _share(record: Record, used: int, name: str, span_us: int) -> float:
    """Amount-microseconds as a share of what there was."""
    return round(used / (record.capacity[name] * span_us), _DIGITS) if span_us else 0.0


def _dominant(record: Record, namespace: str, span_us: int) -> float:
    used = record.used_by.get(namespace, {})
    return max((_share(record, amount, name, span_us) for name, amount in used.items()), default=0.0)


def end_of(record: Record) -> int:
    """When the last job ended, or at the latest when nothing had happened yet."""
    return max([record.start_us, *(times.end_us for times in record.times)])


def utilisation_over_time(record: Record, parts: int) -> list[float]:
    """The mean use of the main resource in each part of the time, as a share of what there is."""
    capacity = record.capacity[record.main]
    return [min(1.0, used / capacity) for used in means(record.timeline, record.start_us, end_of(record), parts)]


def waiting_over_time(record: Record, parts: int) -> dict[str, list[float]]:
    """By band, the most urgent one first: how many jobs that could have started waited, on average in each part."""
    end_us = end_of(record)
    changes: dict[str, list[tuple[int, int]]] = {}
    for job, times in zip(record.jobs, record.times, strict=True):
        found = changes.setdefault(BANDS[job.spec.band], [])
        found += [(times.ready_us, 1), (times.start_us if times.start_us >= 0 else end_us, -1)]
    return {
        band: means(_sums(sorted(changes[band])), record.start_us, end_us, parts) for band in BANDS if band in changes
    }


def waits_by_band(record: Record) -> dict[str, list[float]]:
    """By band, the most urgent one first: how long each job that started had waited, in seconds, the shortest first."""
    found = _grouped(list(zip(record.jobs, record.times, strict=True)), lambda job: BANDS[job.spec.band])
    return {
        band: sorted(_seconds(times.start_us - times.ready_us) for _, times in found[band] if times.start_us >= 0)
        for band in BANDS
        if band in found
    }


def means(values: Sequence[tuple[int, int]], begin_us: int, end_us: int, parts: int) -> list[float]:
    """The means over equal parts of the time of what is `(instant, value from then on)`; none where no time passed."""
    span_us = end_us - begin_us
    if span_us <= 0:
        return []
    sums = [0.0] * parts
    for (since_us, value), (until_us, _) in pairwise([*values, (end_us, 0)]):
        since, until = (max(since_us, begin_us) - begin_us), (min(until_us, end_us) - begin_us)
        part = since * parts // span_us
        while value and since < until:
            next_us = min(until, -(-(part + 1) * span_us // parts))
            sums[part] += value * (next_us - since)
            since, part = next_us, part + 1
    return [one * parts / span_us for one in sums]


def _sums(changes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What changes come to, from each instant on."""
    found: dict[int, int] = {}
    value = 0
    for at_us, change in changes:
        value += change
        found[at_us] = value
    return list(found.items())
