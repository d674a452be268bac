"""Current rows: the fold of frames into tables, a few statements a frame, none of them per job.

`apply` moves rows as the scheduler's fold moves its state: events in their order, then decisions in theirs. An event
is what others report, so a stale one (another attempt, a job that is over) changes nothing. A decision is ours, so one
that does not fit the row is a programmer's error.
"""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from typing import Any

from kos_ray.journal import bulk, reports
from kos_ray.journal.codec import Frame
from kos_ray.journal.submissions import jobs_submitted
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.agent_snapshots import ForgetSnapshots
from kos_ray.model.errors import IllegalMove
from kos_ray.model.job import LEGAL_MOVES, AttemptEnd, JobState
from kos_ray.model.reasons import UNCHARGED, Reason

#: states in which a job has an attempt somewhere
_SENT = f"({JobState.LAUNCHED}, {JobState.RUNNING}, {JobState.STOPPING})"


def _sources(target: JobState) -> str:
    """The states from which `target` is a legal move, as SQL."""
    return "(" + ", ".join(str(int(state)) for state, targets in LEGAL_MOVES.items() if target in targets) + ")"


_LAUNCH = f"""
WITH r (key, attempt, node) AS {{rows}}
UPDATE jobs SET state = {JobState.LAUNCHED}, reason = 0, attempt = r.attempt, node = r.node, launched_us = ?1
FROM r WHERE jobs.key = r.key AND jobs.state IN {_sources(JobState.LAUNCHED)} AND r.attempt > jobs.attempt
AND r.node IS NOT NULL"""

#: a job that goes back to the queue leaves its attempt behind as a row of its own
_SUPERSEDE = f"""
INSERT INTO attempts (key, attempt, outcome, node, pid, launched_us, entered_us, ended_us)
SELECT key, attempt, coalesce(outcome, {AttemptEnd.LOST}), node, pid, launched_us, entered_us,
    CASE WHEN ended_us > 0 THEN ended_us ELSE ?1 END
FROM jobs WHERE key IN {{rows}} AND state IN {_SENT}"""

_NO_ATTEMPT = """
node = NULL, pid = 0, outcome = NULL, launched_us = 0, entered_us = 0, ended_us = 0, result_frame = 0, result_at = 0"""

_MAKE_READY = f"""
UPDATE jobs SET state = {JobState.READY}, reason = ?1, ready_us = ?2, due_us = 0, {_NO_ATTEMPT}
WHERE key IN {{rows}} AND state IN {_sources(JobState.READY)}"""

_HOLD = f"""
UPDATE jobs SET state = {JobState.HELD}, reason = ?1, due_us = 0, {_NO_ATTEMPT}
WHERE key IN {{rows}} AND state IN {_sources(JobState.HELD)}"""

_PRIORITY = f"""
UPDATE jobs SET band = ?1 WHERE key IN {{rows}} AND state < {JobState.SUCCEEDED}"""

_RETRY_LATER = f"""
WITH r (key, due, reason) AS {{rows}}
UPDATE jobs SET state = {JobState.BACKOFF}, reason = r.reason, due_us = r.due,
    failures = failures + (r.reason NOT IN ({", ".join(map(str, map(int, UNCHARGED)))})), {_NO_ATTEMPT}
FROM r WHERE jobs.key = r.key AND jobs.state IN {_sources(JobState.BACKOFF)}"""

_RAISED = """
INSERT INTO raised (key, memory) SELECT * FROM {rows} WHERE column1 IS NOT NULL
ON CONFLICT (key) DO UPDATE SET memory = excluded.memory"""

_STOP = f"""
WITH r (key, attempt) AS {{rows}}
UPDATE jobs SET state = {JobState.STOPPING}, reason = ?1
FROM r WHERE jobs.key = r.key AND jobs.attempt = r.attempt AND jobs.state IN {_sources(JobState.STOPPING)}"""

_FINISH = {
    state: f"""
UPDATE jobs SET state = {state}, reason = ?1, due_us = 0,
    ended_us = CASE WHEN ended_us > 0 THEN ended_us ELSE ?2 END,
    outcome = CASE WHEN outcome IS NULL AND state IN {_SENT} THEN {AttemptEnd.LOST} ELSE outcome END
WHERE key IN {{rows}} AND state IN {_sources(state)}"""
    for state in JobState
    if state.final
}

_NODES_JOINED = """
WITH r (id, name, resources, labels, head, versions) AS {rows}
INSERT INTO nodes (id, name, resources, labels, head, alive, since_us, cause, versions)
SELECT id, name, resources, labels, head, 1, ?1, '', versions FROM r WHERE id IS NOT NULL
ON CONFLICT (id) DO UPDATE SET name = excluded.name, resources = excluded.resources, labels = excluded.labels,
    head = excluded.head, versions = excluded.versions, alive = 1, cause = '',
    since_us = CASE WHEN alive THEN since_us ELSE excluded.since_us END"""

_NODE_LOST = "UPDATE nodes SET alive = 0, since_us = ?, cause = ? WHERE id = ? AND alive"

_LOGS_STORED = """
INSERT INTO log_blobs (node, file, blob, size) SELECT * FROM {rows} WHERE column1 IS NOT NULL
ON CONFLICT (node, file) DO UPDATE SET blob = excluded.blob, size = excluded.size"""


def apply(connection: sqlite3.Connection, frame: Frame) -> None:
    """Move the rows by one frame, inside the open transaction.

    Raises:
        IllegalMove: a decision does not fit the row of its job.
        ValueError: a submission contradicts itself.
        sqlite3.Error: the database refuses, as for a name that is taken.

    """
    _Fold(connection, frame).run()


class _Fold:
    """One frame on its way into the tables."""

    def __init__(self, connection: sqlite3.Connection, frame: Frame) -> None:
        self.connection = connection
        self.frame = frame
        #: how many arguments and results of the frame have been passed: rows refer to them by position
        self.args_at = 0
        self.results_at = 0
        self.checkpoints_at = 0
        #: nodes lost in this frame: what they still report is stale
        self.lost: set[str] = set()
        self.numbers: dict[str, int | None] = {}

    def run(self) -> None:
        for kind, records in groupby(chain[Any](self.frame.events, self.frame.decisions), key=type):
            step = _STEPS.get(kind)
            if step:
                step(self, tuple(records))

    def node(self, node_id: str) -> int | None:
        """The number of a node in the rows; None where it never joined."""
        if node_id not in self.numbers:
            row = self.connection.execute("SELECT node FROM nodes WHERE id = ?", (node_id,)).fetchone()
            self.numbers[node_id] = row[0] if row else None
        return self.numbers[node_id]

    # --- events

    def jobs_submitted(self, events: Sequence[e.JobsSubmitted]) -> None:
        jobs_submitted(self.connection, self.frame, events, self.args_at)
        self.args_at += sum(event.job_count for event in events)

    def nodes_joined(self, events: Sequence[e.NodesJoined]) -> None:
        nodes = [node for event in events for node in event.nodes]
        self.numbers.clear()
        if nodes:
            pairs = reports.pairs
            rows = [
                (n.id, n.name, pairs(n.resources.amounts), pairs(n.labels), n.head, pairs(n.versions)) for n in nodes
            ]
            bulk.change(self.connection, _NODES_JOINED, (self.frame.now_us,), *zip(*rows, strict=True))

    def node_lost(self, events: Sequence[e.NodeLost]) -> None:
        for event in events:
            self.lost.add(event.node)
            self.connection.execute(_NODE_LOST, (self.frame.now_us, event.cause, event.node))

    def attempts_entered(self, events: Sequence[e.AttemptsEntered]) -> None:
        reports.entered(self.connection, [event for event in events if event.node not in self.lost])

    def attempts_ended(self, events: Sequence[e.AttemptsEnded]) -> None:
        nodes = self.reporting(events)
        reports.ended(self.connection, events, nodes, frame=self.frame.first_seq, results_at=self.results_at)
        self.results_at += sum(len(event.keys) for event in events)

    def progress_made(self, events: Sequence[e.ProgressMade]) -> None:
        reports.progress(self.connection, events, self.reporting(events), self.frame.now_us)

    def checkpoints_stored(self, events: Sequence[e.CheckpointsStored]) -> None:
        frame, place = self.frame.first_seq, self.checkpoints_at
        reports.checkpoints(self.connection, events, self.reporting(events), frame=frame, place=place)
        self.checkpoints_at += sum(len(event.keys) for event in events)

    def reporting(self, events: Sequence[e.AttemptsEnded | e.ProgressMade | e.CheckpointsStored]) -> list[int | None]:
        """The number of each event's node, None where its reports are stale."""
        return [None if event.node in self.lost else self.node(event.node) for event in events]

    def logs_stored(self, events: Sequence[e.LogsStored]) -> None:
        rows = [(event.node, event.file, event.blob, event.size) for event in events]
        bulk.change(self.connection, _LOGS_STORED, (), *zip(*rows, strict=True))

    def priority_changed(self, events: Sequence[e.PriorityChanged]) -> None:
        for event in events:
            bulk.change(self.connection, _PRIORITY, (event.band,), event.keys)

    # --- decisions

    def make_ready(self, decisions: Sequence[d.MakeReady]) -> None:
        for decision in decisions:
            self._supersede(decision.keys)
            self._move(_MAKE_READY, (decision.reason, self.frame.now_us), JobState.READY, decision.keys)

    def hold(self, decisions: Sequence[d.Hold]) -> None:
        for decision in decisions:
            self._supersede(decision.keys)
            self._move(_HOLD, (decision.reason,), JobState.HELD, decision.keys)

    def retry_later(self, decisions: Sequence[d.RetryLater]) -> None:
        for decision in decisions:
            self._supersede(decision.keys)
            columns = (decision.keys, decision.due_us, decision.reasons)
            self._move(_RETRY_LATER, (), JobState.BACKOFF, *columns)

    def raise_memory(self, decisions: Sequence[d.RaiseMemory]) -> None:
        for decision in decisions:
            bulk.change(self.connection, _RAISED, (), decision.keys, decision.amounts)

    def finish(self, decisions: Sequence[d.Finish]) -> None:
        for decision in decisions:
            state = JobState(decision.state)
            self._move(_FINISH[state], (decision.reason, self.frame.now_us), state, decision.keys)
        reports.forget_checkpoints(self.connection, [key for decision in decisions for key in decision.keys])

    def forget_snapshots(self, decisions: Sequence[ForgetSnapshots]) -> None:
        for decision in decisions:
            reports.forget_snapshots(self.connection, decision)

    def launch(self, decisions: Sequence[d.Launch]) -> None:
        keys = tuple(chain.from_iterable(decision.keys for decision in decisions))
        attempts = tuple(chain.from_iterable(decision.attempts for decision in decisions))
        nodes = list(chain.from_iterable([self.node(decision.node)] * len(decision.keys) for decision in decisions))
        self._move(_LAUNCH, (self.frame.now_us,), JobState.LAUNCHED, keys, attempts, nodes)

    def stop(self, decisions: Sequence[d.Stop]) -> None:
        for decision in decisions:
            self._move(_STOP, (decision.reason,), JobState.STOPPING, decision.keys, decision.attempts)

    def _supersede(self, keys: Sequence[int]) -> None:
        bulk.change(self.connection, _SUPERSEDE, (self.frame.now_us,), keys)

    def _move(self, text: str, constants: Sequence[Any], target: JobState, keys: Sequence[int], *more: Any) -> None:
        """Move each of `keys` to `target`, or raise with the story of those that cannot go there."""
        if bulk.change(self.connection, text, constants, keys, *more) != len(keys):
            # What fitted has been moved by now, so that the rows before this frame tell the story.
            self.connection.rollback()
            raise IllegalMove(f"{self._stories(keys)}: cannot become {target.name.lower()}")

    def _stories(self, keys: Sequence[int]) -> str:
        text = "SELECT key, state, attempt, reason FROM jobs WHERE key IN {rows}"
        rows = {row[0]: row[1:] for row in bulk.select(self.connection, text, (), keys[:8])}
        return "; ".join(_story(key, rows.get(key)) for key in keys[:8])


def _story(key: int, row: tuple[int, int, int] | None) -> str:
    if row is None:
        return f"job {key} (not in the journal before this frame)"
    state, attempt, reason = row
    return f"job {key} ({JobState(state).name.lower()}, attempt {attempt}, reason {Reason(reason).name.lower()})"


_STEPS: dict[type, Callable[[_Fold, Any], None]] = {
    e.JobsSubmitted: _Fold.jobs_submitted,
    e.NodesJoined: _Fold.nodes_joined,
    e.NodeLost: _Fold.node_lost,
    e.AttemptsEntered: _Fold.attempts_entered,
    e.AttemptsEnded: _Fold.attempts_ended,
    e.LogsStored: _Fold.logs_stored,
    e.ProgressMade: _Fold.progress_made,
    e.CheckpointsStored: _Fold.checkpoints_stored,
    e.PriorityChanged: _Fold.priority_changed,
    d.MakeReady: _Fold.make_ready,
    d.Hold: _Fold.hold,
    d.RetryLater: _Fold.retry_later,
    d.RaiseMemory: _Fold.raise_memory,
    d.Finish: _Fold.finish,
    d.Launch: _Fold.launch,
    d.Stop: _Fold.stop,
    ForgetSnapshots: _Fold.forget_snapshots,
}
