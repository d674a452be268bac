"""Plans: where and when each job of a submission would start, and how sure that is.

One look ahead (`ahead.py`) has all run times as they are expected. Where some of them are not known exactly, others
follow with all at their shortest, all at their longest, and a few drawn in between: intervals hold what came of any.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

from kos_ray.model.events import JobsSubmitted
from kos_ray.model.ids import JobKey
from kos_ray.model.plan import PlannedJob
from kos_ray.rehearsal.ahead import Ahead, Fate
from kos_ray.scheduler.deadlines import Verdict
from kos_ray.scheduler.estimate import NEVER_US, RunTime, left
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.snapshot import state_from_plain

#: looks with drawn run times, as long as all looks have not taken so many passes
_DRAWS = 5
_PASSES_MAX = 2_000

_Choice = Callable[[RunTime, JobKey], int]


class _Instants(NamedTuple):
    """What is expected, the earliest and the latest; 0 where nobody knows."""

    mid_us: int
    low_us: int
    high_us: int


def plan_jobs(
    plain: Any,
    submitted: JobsSubmitted,
    now_us: int,
    labels: Mapping[JobKey, str],
    names_of: Callable[[Iterable[JobKey]], Mapping[JobKey, str]],
    *,
    entered: Mapping[tuple[JobKey, int], int] = MappingProxyType({}),
    spread: int = 0,
) -> tuple[PlannedJob, ...]:
    """What becomes of the jobs of a submission that is admitted now, in the order of their keys.

    `plain` is the state in a snapshot's form, `labels` what the new jobs are called, `names_of` tells what others are.
    `entered` is when attempts were entered, by job and number; where it does not say, their launch counts. Declared run
    times may be off by `spread` thousandths.
    """
    keys = [JobKey(submitted.first + index) for index in range(submitted.job_count)]
    looks = _Looks(plain, submitted, keys, now_us, entered, spread).all()
    told = state_from_plain(plain)
    victims = {key for fate in looks[0].values() for key in fate.victims}
    names = {**names_of(victims - set(keys)), **labels}
    specs = {**{key: entry.spec for key, entry in told.specs.items()}, **dict(submitted.new_specs)}
    found: list[PlannedJob] = []
    for key, spec_key in zip(keys, _spec_keys(submitted), strict=True):
        fate, spec = looks[0][key], specs[spec_key]
        start = _instants([look[key].start_us for look in looks])
        end = _instants([look[key].end_us for look in looks])
        node = told.nodes.get(fate.node)
        found.append(
            PlannedJob(
                job=labels[key],
                namespace=spec.namespace,
                node=node.node.name if node else "",
                node_id=fate.node,
                reason="none" if fate.start_us == now_us else fate.reason.name.lower(),
                remedy="" if fate.start_us == now_us else fate.reason.remedy,
                start_us=start.mid_us,
                earliest_us=start.low_us,
                latest_us=start.high_us,
                end_us=end.mid_us,
                earliest_end_us=end.low_us,
                latest_end_us=end.high_us,
                preempts=tuple(names[victim] for victim in fate.victims),
                quota_left=fate.quota,
                deadline_us=spec.deadline_us,
                deadline=_verdict(end, spec.deadline_us),
            )
        )
    return tuple(found)


class _Looks:
    """Looks ahead from one state, each on a copy."""

    def __init__(
        self,
        plain: Any,
        submitted: JobsSubmitted,
        keys: Sequence[JobKey],
        now_us: int,
        entered: Mapping[tuple[JobKey, int], int],
        spread: int,
    ) -> None:
        self._plain = plain
        self._submitted = submitted
        self._keys = keys
        self._now_us = now_us
        self._entered = entered
        self._spread = spread
        #: whether all run times that mattered so far are known exactly
        self._exact = True
        self._passes = 0

    def all(self) -> list[dict[JobKey, Fate]]:
        """What becomes of the jobs, first as it is expected, and in other ways where run times are not exact."""
        found = [self._look(lambda time, _: time.mid_us)]
        if not self._exact:
            found += [self._look(lambda time, _: time.low_us), self._look(lambda time, _: time.high_us)]
            found += [self._look(_drawn(number)) for number in range(_DRAWS) if self._passes < _PASSES_MAX]
        return found

    def _look(self, choice: _Choice) -> dict[JobKey, Fate]:
        state = state_from_plain(self._plain)

        def run_us(job: Job) -> int:
            since_us = self._entered.get((job.key, job.attempt), job.started_us)
            time = left(state, job, max(0, self._now_us - since_us), self._spread)
            self._exact = self._exact and time.low_us == time.high_us
            return choice(time, job.key)

        ahead = Ahead(state, self._now_us, run_us)
        fates = ahead.run([self._submitted], self._keys)
        self._passes += ahead.passes
        return fates


def _drawn(number: int) -> _Choice:
    """Run times drawn from a job's key: the same for the same plan."""

    def choose(time: RunTime, key: JobKey) -> int:
        chance = Random(f"{number}:{key}")
        if time.high_us == NEVER_US:
            return chance.choice((time.low_us, time.mid_us))
        return chance.randint(time.low_us, time.high_us)

    return choose


def _instants(found: Sequence[int]) -> _Instants:
    known = [at_us for at_us in found if at_us]
    return _Instants(found[0], min(known, default=0), 0 if len(known) < len(found) else max(known))


def _verdict(end: _Instants, deadline_us: int) -> str:
    if not deadline_us:
        return ""
    if end.low_us > deadline_us:
        found = Verdict.MISSED
    elif end.high_us and end.high_us <= deadline_us:
        found = Verdict.MEETS
    else:
        found = Verdict.AT_RISK if end.mid_us else Verdict.UNKNOWN
    return found.name.lower()


def _spec_keys(submitted: JobsSubmitted) -> list[Any]:
    return [
        spec_key for count, spec_key in zip(submitted.counts, submitted.specs, strict=True) for _ in range(abs(count))
    ]
