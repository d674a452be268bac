"""A plan for people: a row for each job, instants as they count from now."""

from kos_ray.model.plan import Plan, PlannedJob
from kos_ray.observe.tables import Table, format_duration, format_instant, format_resources

_COLUMNS = ("job", "node", "starts", "between", "ends", "preempts", "quota left", "deadline", "waits for")
_DEADLINES = {
    "meets": "met",
    "at_risk": "at risk",
    "missed": "missed",
    "unknown": "nobody knows",
}


def plan_table(plan: Plan) -> Table:
    """What would become of each job; columns that say nothing of any are left out."""
    rows = [_row(job, plan.now_us) for job in plan.jobs]
    shown = [index for index, _ in enumerate(_COLUMNS) if index < 3 or any(row[index] for row in rows)]
    return Table(
        columns=tuple(_COLUMNS[index] for index in shown),
        rows=tuple(tuple(row[index] for index in shown) for row in rows),
    )


def _row(job: PlannedJob, now_us: int) -> tuple[str, ...]:
    return (
        job.job,
        job.node or "-",
        _start(job, now_us),
        "" if job.sure == "exact" else _between(job, now_us),
        _from_now(job.end_us, now_us),
        ", ".join(job.preempts),
        format_resources(job.quota_left),
        _DEADLINES.get(job.deadline, ""),
        "" if job.reason == "none" else job.reason.replace("_", " "),
    )


def _start(job: PlannedJob, now_us: int) -> str:
    if job.start_us == now_us:
        return "at once"
    return _from_now(job.start_us, now_us) or "nobody knows"


def _between(job: PlannedJob, now_us: int) -> str:
    """The interval in which it starts."""
    if not job.earliest_us:
        return ""
    earliest = _short(job.earliest_us, now_us)
    return f"{earliest} and {_short(job.latest_us, now_us)}" if job.latest_us else f"{earliest} or any time later"


def _from_now(at_us: int, now_us: int) -> str:
    return f"{_short(at_us, now_us)} ({format_instant(at_us)})" if at_us else ""


def _short(at_us: int, now_us: int) -> str:
    return f"in {format_duration(at_us - now_us)}" if at_us > now_us else "now"
