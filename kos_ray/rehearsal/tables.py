"""Reports as rows and text, for people."""

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
