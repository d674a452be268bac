"""Views as rows and text: what the command line and other readers draw. Instants are microseconds, like the views'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kos_ray.model.ids import split_item_id
from kos_ray.model.job import BANDS, JobState
from kos_ray.model.views import AttemptView, ClusterStatus, JobView, NodeView, SchedulingView

FINAL_STATES = frozenset(state.name.lower() for state in JobState if state.final)


@dataclass(frozen=True, slots=True)
class Table:
    """Column titles and rows of text; `numbers` are the columns that are set to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()


def wait_us(view: JobView, now_us: int) -> int:
    """How long the job was ready and not running: the scheduler's share of its delay, in microseconds.

    Waiting for dependencies and for a retry's backoff is not in it.
    """
    if not view.ready_us:
        return 0
    return max((view.entered_us or view.ended_us or now_us) - view.ready_us, 0)


def run_us(view: JobView, now_us: int) -> int:
    """How long its last attempt ran or has run so far, in microseconds."""
    if not view.entered_us:
        return 0
    return max((view.ended_us or now_us) - view.entered_us, 0)


def final(view: JobView) -> bool:
    """Whether the job has ended."""
    return view.state in FINAL_STATES


def label(view: JobView) -> str:
    """What people call the job: its name, of an item of an array with its index behind it; else its id."""
    index = split_item_id(view.id)[1]
    if not view.name:
        return view.id
    return view.name if index is None else f"{view.name}.{index}"


def band_name(band: int) -> str:
    """The band's first word."""
    return BANDS[band] if 0 <= band < len(BANDS) else str(band)


def format_duration(us: int) -> str:
    """`0`, `850 µs`, `12 ms`, `3.2 s`, `4 m 05 s`, `2 h 07 m`, `3 d 04 h`."""
    if us < 1_000:
        return f"{us} µs" if us else "0"
    if us < 999_500:
        return f"{us / 1_000:.0f} ms"
    if us < 59_950_000:
        return f"{us / 1_000_000:.1f} s"
    seconds = round(us / 1_000_000)
    if seconds < 3_600:
        return f"{seconds // 60} m {seconds % 60:02} s"
    if seconds < 86_400:
        return f"{seconds // 3_600} h {seconds % 3_600 // 60:02} m"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3_600:02} h"


def format_bytes(size: int) -> str:
    """`900 B`, `1.5 KiB`, `3.0 GiB`."""
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def format_instant(us: int) -> str:
    """`2026-05-04 13:37:00 UTC`, and nothing for 0."""
    return f"{datetime.fromtimestamp(us / 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC" if us else ""


def format_resources(amounts: Sequence[tuple[str, int]]) -> str:
    """`CPU 1, GPU 0.5, memory 2.0 GiB`, from amounts of 1/10 000."""
    return ", ".join(
        f"{name} {format_bytes(amount // 10_000) if name.endswith(_IN_BYTES) else f'{amount / 10_000:g}'}"
        for name, amount in amounts
    )


#: how the names of resources end that count bytes
_IN_BYTES = ("memory", "disk")
_PROGRESS = "progress"

#: columns of the job table: title, text, and the width of the terminal from which on it is shown
_JOB_COLUMNS: tuple[tuple[str, Callable[[JobView, int], str], int], ...] = (
    ("job", lambda view, _: label(view), 0),
    ("state", lambda view, _: view.state, 0),
    ("type", lambda view, _: view.type, 70),
    ("priority", lambda view, _: band_name(view.band), 110),
    ("namespace", lambda view, _: view.namespace, 130),
    ("node", lambda view, _: short_node(view.node), 100),
    ("attempt", lambda view, _: str(view.attempt), 120),
    ("wait", lambda view, now: format_duration(wait_us(view, now)), 50),
    ("run", lambda view, now: format_duration(run_us(view, now)), 40),
    (_PROGRESS, lambda view, _: progress_text(view), 60),
    ("why", lambda view, _: why(view), 80),
)


def progress_text(view: JobView) -> str:
    """`40 %: epoch 4 of 10`, nothing where the job said nothing."""
    if view.progress is None:
        return ""
    share = f"{int(view.progress * 100)} %"
    return f"{share}: {first_line(view.progress_text)}" if view.progress_text else share


def job_table(views: Sequence[JobView], now_us: int, width: int) -> Table:
    """One row a job; narrow terminals (`width` in characters) get the columns that matter most.

    How far jobs are has a column where one of them has said so.
    """
    said = any(view.progress is not None for view in views)
    columns = [column for column in _JOB_COLUMNS if said or column[0] != _PROGRESS]
    shown = [(title, text) for title, text, least in columns if width >= least]
    return Table(
        columns=tuple(title for title, _ in shown),
        rows=tuple(tuple(text(view, now_us) for _, text in shown) for view in views),
        numbers=frozenset({"attempt", "wait", "run"}),
    )


def attempt_table(attempts: Sequence[AttemptView], now_us: int) -> Table:
    """One row an attempt."""
    return Table(
        columns=("attempt", "end", "node", "pid", "started", "run", "error"),
        rows=tuple(
            (
                str(one.attempt),
                one.end or "goes on",
                short_node(one.node),
                str(one.pid or ""),
                format_instant(one.entered_us),
                format_duration((one.ended_us or now_us) - one.entered_us if one.entered_us else 0),
                first_line(f"{one.error_type}: {one.error}" if one.error_type else one.error),
            )
            for one in attempts
        ),
        numbers=frozenset({"attempt", "pid", "run"}),
    )


def node_table(nodes: Sequence[NodeView]) -> Table:
    """One row a node, the head first."""
    return Table(
        columns=("node", "name", "state", "resources"),
        rows=tuple(
            (
                short_node(node.id),
                f"{node.name} (head)" if node.head else node.name,
                "alive" if node.alive else f"lost: {node.cause}" if node.cause else "lost",
                format_resources(node.resources),
            )
            for node in sorted(nodes, key=lambda node: (not node.head, node.id))
        ),
    )


def status_panel(status: ClusterStatus) -> list[tuple[str, str]]:
    """The cluster in a few labelled lines."""
    jobs = [f"{count} {state}" for state, count in sorted(status.jobs.items()) if count]
    alive = sum(node.alive for node in status.nodes)
    journal = f"{format_bytes(status.journal_bytes)} (+ {format_bytes(status.wal_bytes)} write-ahead log)"
    return [
        ("cluster", status.cluster_id),
        ("nodes", f"{alive} alive, {len(status.nodes) - alive} lost"),
        ("jobs", ", ".join(jobs) or "none yet"),
        ("journal", f"{status.state_dir}, {journal}, event {status.seq}, epoch {status.epoch}"),
        *trouble_panel(status),
        *scheduling_panel(status.scheduling),
    ]


def trouble_panel(status: ClusterStatus) -> list[tuple[str, str]]:
    """What is wrong with the journal: why, since when, what it means and what to do; nothing while it writes."""
    found = status.scheduling
    if found is None or not found.trouble:
        return []
    since = format_instant(found.trouble_since_us)
    text = f"cannot write since {since}: {found.trouble}\nnothing is accepted, nothing starts; what runs goes on"
    return [("TROUBLE", f"{text}\n-> {trouble_remedy(found.trouble, status.state_dir)}")]


def trouble_remedy(reason: str, state_dir: str) -> str:
    """What mends it, by what the disk said."""
    said = reason.lower()
    if "full" in said or "space" in said or "quota" in said:
        what = f"make room on the disk of {state_dir}"
    elif "read-only" in said or "readonly" in said:
        what = f"make {state_dir} writable: mount it read-write, or mend its rights"
    else:
        what = f"see to the disk of {state_dir} (its kernel log), and keep a copy: kos journal backup"
    return f"{what}; it goes on by itself within seconds"


def scheduling_panel(found: SchedulingView | None) -> list[tuple[str, str]]:
    """How the scheduling stands in labelled lines; what does not apply is left out."""
    if found is None:
        return []
    agents = f"{found.agents} of at most {found.agents_max}" if found.agents_max else str(found.agents or "")
    lines = [
        ("queue", queue_text(found)),
        ("plug-ins", "\n".join(plugin_text(name, why) for name, why in found.plugins)),
        ("load", f"evenness {found.evenness:.3f} (Jain's index: 1 is even)"),
        ("agents", agents),
        ("too late", f"{found.too_late} waiting jobs cannot meet their deadlines" if found.too_late else ""),
        ("schedules", schedules_text(found)),
        ("tier", f"it is the slot of tier {found.tier}" if found.tier else ""),
        ("boots", "\n".join(found.boots)),
        ("leaks", _leaks_text(found)),
        ("counted", ", ".join(f"{count} {name}" for name, count in found.counts)),
    ]
    return [(label, text) for label, text in lines if text]


def schedules_text(found: SchedulingView) -> str:
    """How many there are, and the next fire; "" where there are none."""
    if not found.schedules:
        return ""
    paused = f" ({found.schedules_paused} paused)" if found.schedules_paused else ""
    following = f", next {found.next_fire} at {format_instant(found.next_fire_us)}" if found.next_fire else ""
    return f"{found.schedules}{paused}{following}"


def _leaks_text(found: SchedulingView) -> str:
    """What nobody answers for, "" where there is and was nothing."""
    if not found.leaks and not found.leaks_ended:
        return ""
    return f"{found.leaks} that nobody answers for, {found.leaks_ended} ended since the scheduler started: kos doctor"


def queue_text(found: SchedulingView) -> str:
    """Where jobs come from, and what was asked for instead."""
    if found.queue == found.queue_wanted:
        return found.queue
    return f"{found.queue}; {found.queue_wanted} was asked for (`default_queue`), and there is no adapter for it"


def plugin_text(name: str, why: str) -> str:
    """A plug-in, and why it is disabled."""
    return f"{name} is disabled: {why}" if why else f"{name} is in force"


def job_panel(view: JobView, now_us: int) -> list[tuple[str, str]]:
    """One job in labelled lines; what is empty is left out."""
    error = f"{view.error_type}: {view.error}" if view.error_type else view.error
    lines = [
        ("id", view.id),
        ("name", label(view) if view.name else ""),
        ("state", view.state),
        ("why", why(view)),
        ("type", view.type),
        ("namespace", view.namespace),
        ("priority", band_name(view.band)),
        ("resources", format_resources(view.resources)),
        ("child of", view.parent),
        ("idempotency key", view.idempotency_key),
        ("after", ", ".join(f"{parent} ({kind})" for parent, kind in view.after)),
        ("tags", ", ".join(view.tags)),
        ("node", f"{view.node}, process {view.pid}" if view.pid else view.node),
        ("attempt", str(view.attempt or "")),
        ("submitted", format_instant(view.submitted_us)),
        ("waited", format_duration(wait_us(view, now_us)) if view.ready_us else ""),
        ("ran", format_duration(run_us(view, now_us)) if view.entered_us else ""),
        ("progress", progress_text(view)),
        ("ended", format_instant(view.ended_us)),
        ("deadline", deadline_text(view)),
        ("exit code", "" if view.exit_code is None else str(view.exit_code)),
        ("error", error),
        ("traceback", view.traceback),
    ]
    return [(label, text) for label, text in lines if text]


#: what is said of a deadline
DEADLINES = {
    "met": "met",
    "missed": "missed",
    "meets": "it will be met as things stand",
    "at_risk": "at risk: there is too much work before it",
    "unknown": "nobody knows whether it can be met: run times are not declared",
}


def deadline_text(view: JobView) -> str:
    """A job's deadline and whether it is met, "" where there is none."""
    if not view.deadline_us:
        return ""
    said = DEADLINES.get(view.deadline, "")
    return f"{format_instant(view.deadline_us)}{': ' if said else ''}{said}"


def why(view: JobView) -> str:
    """The reason and what would change it, nothing where all is well."""
    if view.reason in ("", "none", "succeeded"):
        return ""
    reason = view.reason.replace("_", " ")
    return f"{reason}: {view.remedy}" if view.remedy else reason


def short_node(node: str) -> str:
    """The first twelve characters of Ray's long id: as many as tell nodes apart."""
    return node[:12]


def first_line(text: str, limit: int = 80) -> str:
    """The first line, cut."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
