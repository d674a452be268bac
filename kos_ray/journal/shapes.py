"""From rows and frames to what people see: the reader's queries, and the view that each row becomes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kos_ray.journal.codec import Frame
from kos_ray.model.dependency import kind_name
from kos_ray.model.ids import JobKey, item_id
from kos_ray.model.job import AttemptEnd, JobState, Spec
from kos_ray.model.reasons import Reason
from kos_ray.model.views import AttemptView, EventView, JobView, NodeView
from kos_ray.model.wire import to_plain

#: in such parts of the whole progress is counted
WHOLE = 10_000

#: A job that waits again has no current attempt: it shows its last one, which is a row of its own then.
JOBS = """
SELECT j.key, j.spec, a.id, CASE WHEN a.count < 0 THEN NULL ELSE j.key - a.first END, a.name, j.state, j.reason,
    j.attempt, coalesce(n.id, ''), coalesce(t.pid, j.pid), a.submitted_us, j.ready_us,
    coalesce(t.launched_us, j.launched_us), coalesce(t.entered_us, j.entered_us), coalesce(t.ended_us, j.ended_us),
    coalesce(x.type, ''), coalesce(x.message, ''), coalesce(x.traceback, ''), j.band, p.share, coalesce(p.text, ''),
    c.code, coalesce(i.key, ''), a.parent
FROM jobs j
CROSS JOIN arrays a ON a.first = j.array
LEFT JOIN attempts t ON t.key = j.key AND t.attempt = j.attempt
LEFT JOIN nodes n ON n.node = coalesce(t.node, j.node)
LEFT JOIN errors x ON x.key = j.key AND x.attempt = j.attempt
LEFT JOIN progress p ON p.key = j.key AND p.attempt = j.attempt
LEFT JOIN exit_codes c ON c.key = j.key AND c.attempt = j.attempt
LEFT JOIN idempotency i ON i.first = a.first"""

ATTEMPTS = """
WITH every (key, attempt, outcome, node, pid, launched_us, entered_us, ended_us) AS (
    SELECT key, attempt, outcome, node, pid, launched_us, entered_us, ended_us FROM attempts WHERE key = :key
    UNION ALL
    SELECT key, attempt, outcome, node, pid, launched_us, entered_us, ended_us FROM jobs j WHERE key = :key
    AND attempt > 0 AND NOT EXISTS (SELECT 1 FROM attempts t WHERE t.key = j.key AND t.attempt = j.attempt)
)
SELECT e.attempt, e.outcome, coalesce(n.id, ''), e.pid, e.launched_us, e.entered_us, e.ended_us,
    coalesce(x.type, ''), coalesce(x.message, ''), coalesce(x.traceback, ''),
    coalesce(l.file, ''), coalesce(l.start_at, 0), coalesce(l.end_at, 0), coalesce(b.blob, ''), c.code
FROM every e
LEFT JOIN nodes n ON n.node = e.node
LEFT JOIN errors x ON x.key = e.key AND x.attempt = e.attempt
LEFT JOIN logs l ON l.key = e.key AND l.attempt = e.attempt
LEFT JOIN log_blobs b ON b.node = n.id AND b.file = l.file
LEFT JOIN exit_codes c ON c.key = e.key AND c.attempt = e.attempt
ORDER BY e.attempt"""

#: a job's current attempt is in its own row
ENDS = (
    "SELECT key, attempt, outcome FROM attempts WHERE key IN {rows}",
    "SELECT key, attempt, outcome FROM jobs WHERE key IN {rows} AND outcome IS NOT NULL",
)

BROUGHT = "SELECT a.frame FROM jobs j CROSS JOIN arrays a ON a.first = j.array WHERE j.key = ?"

PARENTS = """
SELECT d.key, d.position, d.first, d.count, d.kind, a.id, a.first, a.count FROM dependencies d
CROSS JOIN jobs p ON p.key = d.first CROSS JOIN arrays a ON a.first = p.array WHERE d.key IN {rows}"""

RAISED = "SELECT key, memory FROM raised WHERE key IN {rows}"
NODES = "SELECT id, name, alive, head, resources, labels, since_us, cause, versions FROM nodes ORDER BY node"


def job_view(row: tuple[Any, ...], spec: Spec, after: tuple[tuple[str, str], ...], parent: str) -> JobView:
    """The view of a row of `JOBS`, whose last column is the key of its parent."""
    key, _, array, index, name, state, reason, attempt, node, pid, *times = row
    submitted, ready, launched, entered, ended, error_type, error, traceback, band, share, text, code, own, _ = times
    why = Reason(reason)
    return JobView(
        id=item_id(array, index),
        key=JobKey(key),
        name=name,
        type=spec.type,
        namespace=spec.namespace,
        band=spec.band if band is None else band,
        state=JobState(state).name.lower(),
        reason=why.name.lower(),
        remedy=why.remedy,
        attempt=attempt,
        node=node,
        pid=pid,
        submitted_us=submitted,
        ready_us=ready,
        launched_us=launched,
        entered_us=entered,
        ended_us=ended,
        resources=spec.resources.amounts,
        tags=spec.tags,
        error_type=error_type,
        error=error,
        traceback=traceback,
        after=after,
        progress=None if share is None else share / WHOLE,
        progress_text=text,
        parent=parent,
        exit_code=code,
        idempotency_key=own,
        deadline_us=spec.deadline_us,
        deadline=_kept(JobState(state), ended, spec.deadline_us),
        receiver=spec.receiver,
    )


def with_memory(view: JobView, amount: int) -> JobView:
    """The same of a job that ran out of memory and holds so much since."""
    return replace(view, resources=tuple(sorted((dict(view.resources) | {"memory": amount}).items())))


def _kept(state: JobState, ended_us: int, deadline_us: int) -> str:
    """Whether a job that succeeded did so in time; "" where that is no question, or not yet."""
    if not deadline_us or not state.final:
        return ""
    return "met" if state is JobState.SUCCEEDED and ended_us <= deadline_us else "missed"


def attempt_view(row: tuple[Any, ...]) -> AttemptView:
    """The view of a row of `ATTEMPTS`."""
    attempt, outcome, node, pid, launched, entered, ended, error_type, error, traceback, *output = row
    log, start, end, blob, code = output
    return AttemptView(
        attempt=attempt,
        end="" if outcome is None else AttemptEnd(outcome).name.lower(),
        node=node,
        pid=pid,
        launched_us=launched,
        entered_us=entered,
        ended_us=ended,
        error_type=error_type,
        error=error,
        traceback=traceback,
        log=log,
        log_start=start,
        log_end=end,
        log_blob=blob,
        exit_code=code,
    )


def node_view(row: tuple[Any, ...]) -> NodeView:
    """The view of a row of `NODES`."""
    node, name, alive, head, resources, labels, since, cause, versions = row
    return NodeView(
        id=node,
        name=name,
        alive=bool(alive),
        head=bool(head),
        resources=tuple(json.loads(resources).items()),
        labels=tuple(json.loads(labels).items()),
        since_us=since,
        cause=cause,
        versions=tuple(json.loads(versions).items()),
    )


def event_views(frame: Frame) -> Iterator[EventView]:
    """What a frame holds, one view for each sequence number."""
    for seq, record in enumerate((*frame.events, *frame.decisions), frame.first_seq):
        yield EventView(
            seq=seq,
            at_us=frame.now_us,
            epoch=frame.epoch,
            kind=type(record).__name__,
            detail=readable(to_plain(record)),
        )


def parent_ids(
    first: int, count: int, kind: int, array: str, array_first: int, array_count: int
) -> tuple[tuple[str, str], ...]:
    """Public ids of the parents `first` to `first + count - 1`, which are jobs of one array."""
    word = kind_name(kind)
    if first == array_first and count == abs(array_count):
        return ((array, word),)
    return tuple((item_id(array, key - array_first), word) for key in range(first, first + count))


def readable(plain: Any) -> Any:
    """Plain data with the length of bytes in their place."""
    if isinstance(plain, bytes):
        return f"{len(plain)} bytes"
    if isinstance(plain, dict):
        return {name: readable(item) for name, item in plain.items()}
    if isinstance(plain, tuple):
        return tuple([readable(item) for item in plain])
    return plain
