"""How long jobs run, from the shortest to the longest: what plans are made with.

What is declared or learnt is what `models.estimate` says. Plans take it further: a spec's mean stands in where too
little was learnt, a spread widens what is declared, and of what runs already only the rest is left.
"""

from typing import NamedTuple

from kos_ray.model.ids import MS_US
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.models import estimate_of
from kos_ray.scheduler.state import State

#: nobody knows
NEVER_US = 1 << 62
#: the mean of a kind says little of one run: from a half of it to its double
_OF_MEAN = 2
_WHOLE = 1_000


class RunTime(NamedTuple):
    """Microseconds: the shortest, the one that is expected, the longest; the last two NEVER_US where nobody knows."""

    low_us: int
    mid_us: int
    high_us: int


def run_time(state: State, job: Job, spread: int = 0) -> RunTime:
    """How long an attempt of a job runs; a timeout bounds it in any case.

    What is declared is taken at its word, but for a `spread` of so many thousandths to both sides.
    """
    spec, learnt = job.entry.spec, estimate_of(state, job)
    mean_us = job.entry.mean_us or learnt.mid_us
    if spec.run_ms:
        mid_us = spec.run_ms * MS_US
        more_us = mid_us * spread // _WHOLE
        # one that goes on from what it saved has less to do, and nobody knows how much
        goes_on = job.evictions and job.entry.saves
        found = RunTime(1 if goes_on else mid_us - more_us, mid_us, mid_us + more_us)
    elif learnt.sure:
        found = RunTime(learnt.low_us, learnt.mid_us, learnt.high_us)
    elif mean_us:
        found = RunTime(mean_us // _OF_MEAN, mean_us, mean_us * _OF_MEAN)
    else:
        found = RunTime(1, NEVER_US, NEVER_US)
    most_us = spec.timeout_ms * MS_US or NEVER_US
    return RunTime(*(min(max(1, us), most_us) for us in found))


def left(state: State, job: Job, ran_us: int, spread: int = 0) -> RunTime:
    """What of that is still to be run when so much has been; of one that has run longer, nobody knows."""
    low_us, mid_us, high_us = run_time(state, job, spread)
    if high_us < ran_us:
        most_us = job.entry.spec.timeout_ms * MS_US
        return RunTime(0, 1, max(1, most_us - ran_us) if most_us else NEVER_US)
    if low_us == high_us:
        return RunTime(*(high_us - ran_us,) * 3)
    # of what is not exact, no end is expected at this very instant
    return RunTime(max(0, low_us - ran_us), max(1, mid_us - ran_us), max(1, high_us - ran_us))
