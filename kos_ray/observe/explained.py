"""An explanation for people: a sentence for each thing that holds a job."""

from collections import Counter

from kos_ray.model.job import BANDS
from kos_ray.model.views import Explanation, JobView
from kos_ray.observe.learnt import run_time_text
from kos_ray.observe.tables import DEADLINES, Table, format_duration, format_instant

#: shares are in millionths
_WHOLE = 1_000_000


def explained_panel(found: Explanation, view: JobView, now_us: int) -> list[tuple[str, str]]:
    """Labelled lines; what does not apply is left out."""
    lines = [
        ("job", f"{view.name}  {view.id}".strip()),
        ("state", found.state),
        ("made by", _made_by(found)),
        ("reason", _sentence(found.reason)),
        ("lacks", found.lacks),
        ("what helps", found.remedy if found.reason != "none" else ""),
        ("waits for", ", ".join(found.parent_names)),
        ("its gang", _gang(found)),
        ("agent", f"{found.agent}: {_sentence(found.chosen)}" if found.agent else ""),
        ("declined by", ", ".join(found.declined)),
        ("agents", _counted(found) if not found.agent else ""),
        ("room", _room(found)),
        ("boots", found.boots),
        ("ready since", format_duration(max(0, now_us - found.since_us)) + " ago" if found.since_us else ""),
        ("order", _order(found, view)),
        ("ahead of it", _ahead(found)),
        ("deadline", _deadline(found, now_us)),
        ("run time", run_time_text(found.run_time)),
        ("spared", _spared(found)),
    ]
    return [(label, text) for label, text in lines if text]


def _counted(found: Explanation) -> str:
    """How many agents do not have it for which reason."""
    reasons = Counter(one.why for one in found.passed)
    return ", ".join(f"{count} {_sentence(why)}" for why, count in sorted(reasons.items()))


def agents_table(found: Explanation) -> Table:
    """Why each agent does not have a message that is for a role."""
    return Table(
        columns=("agent", "why not", "done in", "skill"),
        rows=tuple(
            (
                one.agent,
                one.text,
                format_duration(one.delay_us) if one.delay_us else "",
                f"{one.skill / 1_000:.2f}" if one.skill else "",
            )
            for one in found.passed
        ),
    )


def _deadline(found: Explanation, now_us: int) -> str:
    """The verdict, with the instants that it rests on."""
    if not found.deadline_us:
        return ""
    left = format_duration(max(0, found.deadline_us - now_us))
    when = f"in {left}" if found.deadline_us > now_us else "over"
    said = "it cannot be met any more" if found.deadline == "missed" else DEADLINES.get(found.deadline, "")
    early = f"; at the earliest it ends in {format_duration(max(0, found.earliest_us - now_us))}"
    late = f", likely in {format_duration(max(0, found.likely_us - now_us))}" if found.likely_us else ""
    return f"{when}: {said}{early}{late}"


def _made_by(found: Explanation) -> str:
    if not found.nominal_us:
        return ""
    due = f"it was due at {format_instant(found.nominal_us)}"
    return f"the schedule {found.schedule}; {due}" if found.schedule else f"a schedule that is gone; {due}"


def _spared(found: Explanation) -> str:
    said = []
    if found.spared:
        said.append(f"{found.spared} agents of lower bands run and are left alone (`allow_agent_preemption: false`)")
    if found.worn:
        said.append(f"{found.worn} jobs of lower bands run that have given way as often as they may (`max_evictions`)")
    return "; ".join(said)


def nodes_table(found: Explanation) -> Table:
    """What each node says to it."""
    return Table(
        columns=("node", "what it lacks"),
        rows=tuple((verdict.node, verdict.lacks or "nothing: it would fit") for verdict in found.nodes),
    )


def suggested_panel(found: Explanation) -> list[tuple[str, str]]:
    """What would start it now, a line for each change."""
    lines = [f"{change.text}{': ' if change.ends else ''}{', '.join(change.end_names)}" for change in found.suggestions]
    return [("starts it now", "\n".join(lines))]


def _sentence(reason: str) -> str:
    return "nothing: it is on its way" if reason == "none" else reason.replace("_", " ")


def _gang(found: Explanation) -> str:
    if not found.gang:
        return ""
    return f"needs {found.gang_needs} members at once: {found.gang_ready} may start, {found.gang_fits} would fit now"


def _room(found: Explanation) -> str:
    if not found.target:
        return ""
    if found.making_room:
        return f"{found.making_room} attempts were asked to make room for it"
    return "made for it; it starts in a moment"


def _order(found: Explanation, view: JobView) -> str:
    if found.overdue:
        return "it has waited as long as its band allows, and goes before everything that came later"
    if found.order >= len(BANDS):
        return "it is to start just in time, and until it must it goes behind all others"
    band = BANDS[view.band]
    where = "" if found.order == view.band else f", ordered as {BANDS[found.order]}"
    shares = ", ".join(f"{share / _WHOLE:.1%}" for share in found.standing)
    return f"band {band}{where}; its accounts have had {shares} of the cluster of late"


def _ahead(found: Explanation) -> str:
    if found.state != "ready":
        return ""
    if not found.ahead:
        return "nobody of its account or of a more urgent order"
    more = f" and {found.ahead - len(found.ahead_names)} more" if found.ahead > len(found.ahead_names) else ""
    return f"{', '.join(found.ahead_names)}{more}"
