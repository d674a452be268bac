"""Policies side by side over seeds, with intervals that hold the true mean with 95 % confidence (Student's t).

All policies get the same seeds, so that differences to the first one are taken seed by seed: what chance did to all of
them alike does not count (common random numbers; Law, Simulation Modeling and Analysis, chapter 11).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kos_ray.rehearsal.report import Report

#: two-sided 95 % quantiles of Student's t by degrees of freedom; between two of them, the lower one's holds
_T = {
    **dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228), start=1)),
    **dict(enumerate((2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086), start=11)),
    **dict(enumerate((2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042), start=21)),
    40: 2.021,
    60: 2.000,
    120: 1.980,
}
_DIGITS = 6

#: what is compared: its value in a report
METRICS: dict[str, Callable[[Report], float]] = {
    "makespan_s": lambda report: report.makespan_s,
    "mean_wait_s": lambda report: report.wait_s.mean,
    "p95_wait_s": lambda report: report.wait_s.p95,
    "max_wait_s": lambda report: report.wait_s.max,
    "mean_completion_s": lambda report: report.completion_s.mean,
    "mean_slowdown": lambda report: report.slowdown.mean,
    "utilisation": lambda report: report.utilisation[report.main],
    "fragmentation": lambda report: report.fragmentation or 0.0,
    "jain": lambda report: report.jain,
    "preemptions": lambda report: float(report.preemptions),
    "deadlines_met": lambda report: float(report.deadlines_met),
    "unfinished": lambda report: float(report.unfinished),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds; the true one is within `half` of it. None: one seed tells nothing of that."""

    mean: float
    half: float | None

    @property
    def distinct(self) -> bool:
        """Whether it is surely not 0."""
        return self.half is not None and abs(self.mean) > self.half


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One policy: its estimates, and how much they are above those of the first policy."""

    policy: str
    metrics: dict[str, Estimate]
    differences: dict[str, Estimate]


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values that were drawn independently, with its interval."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Estimate(round(mean, _DIGITS), None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Estimate(round(mean, _DIGITS), round(_quantile(count - 1) * deviation / math.sqrt(count), _DIGITS))


def compared(reports: Mapping[str, Sequence[Report]]) -> list[Compared]:
    """Reports by policy, in the same order of seeds for each, the policy to compare with first."""
    values = {
        policy: {name: [value_of(report) for report in found] for name, value_of in METRICS.items()}
        for policy, found in reports.items()
    }
    first = next(iter(values.values()))
    return [
        Compared(
            policy=policy,
            metrics={name: estimate(found[name]) for name in METRICS},
            differences={
                name: estimate([one - other for one, other in zip(found[name], first[name], strict=True)])
                for name in METRICS
            },
        )
        for policy, found in values.items()
    ]


def _quantile(freedom: int) -> float:
    return _T[max(known for known in _T if known <= freedom)]
