"""Reports as rows and text, for people."""

from collections.abc import Sequence

from kos_ray.rehearsal.compare import METRICS, Compared, Estimate
from kos_ray.rehearsal.report import GroupReport, Report, Spread

COLUMNS = ("jobs", "wait", "median", "p95", "max", "slowdown", "share")


def report_lines(report: Report) -> list[tuple[str, str]]:
    """What holds for the whole rehearsal, as labelled lines."""
    lost = ", ".join(f"{units:g} {name} s" for name, units in report.work_lost.items() if name != "memory")
    lines = [
        ("cluster", f"{report.nodes} nodes: " + ", ".join(f"{name} {n:g}" for name, n in report.capacity.items())),
        ("jobs", f"{report.jobs}, {report.succeeded} succeeded, {report.unfinished} never ended"),
        ("makespan", f"{report.makespan_s:g} s"),
        ("wait", _spread(report.wait_s, " s")),
        ("completion", _spread(report.completion_s, " s")),
        ("slowdown", _spread(report.slowdown, "")),
        ("utilisation", ", ".join(f"{name} {_percent(share)}" for name, share in report.utilisation.items())),
        ("fragmentation", "none" if report.fragmentation is None else _percent(report.fragmentation)),
        ("preemptions", f"{report.preemptions}" + (f", lost {lost}" if lost else "")),
        ("fairness", f"{report.jain:.3f} (Jain's index of slowdowns by namespace, 1 is even)"),
    ]
    if report.deadlines:
        lines.append(("deadlines", f"{report.deadlines_met} of {report.deadlines} met"))
    return lines


def group_rows(report: Report) -> list[tuple[str, ...]]:
    """One row for each band, and for each namespace: its name, then `COLUMNS`."""
    rows = [_row(name, found) for name, found in report.bands.items()]
    return rows + [_row(f"namespace {name}", found) for name, found in report.namespaces.items()]


def _row(name: str, found: GroupReport) -> tuple[str, ...]:
    wait = found.wait_s
    share = "" if found.dominant_share is None else _percent(found.dominant_share)
    waits = (f"{one:.1f} s" for one in (wait.mean, wait.median, wait.p95, wait.max))
    return (name, str(found.jobs), *waits, f"{found.slowdown.mean:.2f}", share)


def _spread(found: Spread, unit: str) -> str:
    named = {"mean": found.mean, "median": found.median, "p95": found.p95, "max": found.max}
    return ", ".join(f"{name} {value:.2f}{unit}" for name, value in named.items())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def compared_rows(found: Sequence[Compared]) -> list[tuple[str, ...]]:
    """One row for each metric: its name, then a cell for each policy; those behind the first say what differs."""
    return [
        (
            name,
            *(
                _estimate(one.metrics[name]) + (_difference(one.differences[name]) if index else "")
                for index, one in enumerate(found)
            ),
        )
        for name in METRICS
    ]


def _estimate(found: Estimate) -> str:
    return f"{found.mean:.4g}" + ("" if found.half is None else f" ± {found.half:.2g}")


def _difference(found: Estimate) -> str:
    """The difference to the first policy, where it is none of chance."""
    return f" ({found.mean:+.3g} ± {found.half:.2g})" if found.distinct else ""
