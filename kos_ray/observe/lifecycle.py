"""The journal's records as the lifecycle events that people know: `job_submitted`, `job_started`, `job_completed`.

A record may be about many jobs; each has an event of its own. `LIFECYCLE` says which record makes which event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from kos_ray.model.ids import item_id
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.reasons import Reason
from kos_ray.model.views import EventView
from kos_ray.observe.measured import loads_text
from kos_ray.observe.tables import band_name, format_duration, format_instant

#: what agents listen to: a job failed for good
TASK_FAILURE = "agent.signal.taskFailure"

#: the events that each record may make
LIFECYCLE: dict[str, tuple[str, ...]] = {
    "SchedulerStarted": ("scheduler_started",),
    "JobsSubmitted": ("job_submitted",),
    "AttemptsEntered": ("job_started",),
    "AttemptsEnded": ("job_started",),
    "RetryLater": ("job_retried",),
    "Finish": ("job_completed", "job_failed", TASK_FAILURE, "job_cancelled", "job_skipped"),
    "HoldRequested": ("job_held", "job_paused"),
    "ReleaseRequested": ("job_released",),
    "PriorityChanged": ("job_reprioritised",),
    "WindowsChanged": ("windows_changed",),
    "NodesMarked": ("node_draining", "node_cordoned", "node_marked"),
    "MarkMissed": ("deadline_missed",),
    "JudgeApprovals": ("job_approved", "job_rejected"),
    "PluginDisabled": ("plugin_disabled",),
    "JournalResumed": ("journal_trouble", "journal_resumed"),
    "JournalCompacted": ("journal_compacted",),
    "NodesJoined": ("node_joined",),
    "NodeLost": ("node_lost",),
    "NodePressed": ("node_pressed",),
    "NodeCalm": ("node_calm",),
    "Stop": ("job_moved", "job_suspended"),
    "LetBack": ("job_let_back",),
}
#: stops that take something away from a node that is pressed; others say nothing here
_AWAY = {int(Reason.MOVED): "job_moved", int(Reason.SUSPENDED): "job_suspended"}
_ENDS = {
    JobState.SUCCEEDED: ("job_completed",),
    JobState.FAILED: ("job_failed", TASK_FAILURE),
    JobState.LOST: ("job_failed", TASK_FAILURE),
    JobState.CANCELLED: ("job_cancelled",),
    JobState.SKIPPED: ("job_skipped",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent:
    """One thing that happened to one job (or node, or the scheduler); `seq` is its record's."""

    seq: int
    at_us: int
    name: str
    key: int = 0  #: of the job, 0 where it is about none
    job: str = ""  #: the public id, "" where it is not known here
    label: str = ""  #: what people call it
    attempt: int = 0
    node: str = ""
    detail: str = ""


class Lifecycle:
    """Reads records in their order, and knows the jobs and attempts that it has read of.

    Short attempts are never reported as entered, so that their end tells of the start as well. Where reading begins in
    the middle (`since` is not 0), an attempt that was entered before is not told of as started.
    """

    def __init__(self, since: int = 0) -> None:
        self._from_us: int | None = None if since else 0
        self._entered: set[tuple[int, int]] = set()
        self._names: dict[int, tuple[str, str]] = {}
        self._errors: dict[int, str] = {}

    def read(self, records: Iterable[EventView]) -> list[LifecycleEvent]:
        """The events of further records."""
        found: list[LifecycleEvent] = []
        for record in records:
            if self._from_us is None:
                self._from_us = record.at_us
            reader = self._readers.get(record.kind)
            if reader:
                found += reader(self, record)
        return found

    def unnamed(self, events: Iterable[LifecycleEvent]) -> set[int]:
        """Keys of jobs whose submission was not read."""
        return {event.key for event in events if event.key} - self._names.keys()

    def learn(self, names: dict[int, tuple[str, str]]) -> None:
        """Public ids and labels of jobs by key."""
        self._names |= names

    def named(self, event: LifecycleEvent) -> LifecycleEvent:
        """The event with its job's public id and label, as far as they are known."""
        job, label = self._names.get(event.key, ("", f"#{event.key}" if event.key else ""))
        return LifecycleEvent(
            seq=event.seq,
            at_us=event.at_us,
            name=event.name,
            key=event.key,
            job=job,
            label=label,
            attempt=event.attempt,
            node=event.node,
            detail=event.detail,
        )

    def _submitted(self, record: EventView) -> Iterator[LifecycleEvent]:
        key = _integer(record.detail["first"])
        names: dict[int, str] = dict(_items(record, "names"))
        for index, (array, count) in enumerate(zip(_items(record, "ids"), _items(record, "counts"), strict=True)):
            name = names.get(index, "")
            for item in range(abs(count)):
                position = None if count < 0 else item
                job = item_id(array, position)
                self._names[key] = (job, item_id(name, position) if name else job)
                yield _event(record, "job_submitted", key)
                key += 1

    def _started(self, record: EventView) -> Iterator[LifecycleEvent]:
        node = str(record.detail["node"])
        columns = zip(*(_items(record, name) for name in ("keys", "attempts", "entered_us")), strict=True)
        for key, attempt, entered_us in columns:
            self._entered.add((key, attempt))
            yield _event(record, "job_started", key, attempt=attempt, node=node, at_us=entered_us)

    def _ended(self, record: EventView) -> Iterator[LifecycleEvent]:
        """The start of attempts that were too short to be reported as entered; what went wrong is remembered."""
        node = str(record.detail["node"])
        columns = zip(*(_items(record, name) for name in ("keys", "attempts", "entered_us", "ends")), strict=True)
        errors = {error["index"]: f"{error['type']}: {error['message']}" for error in _items(record, "errors")}
        for index, (key, attempt, entered_us, end) in enumerate(columns):
            known = (key, attempt) in self._entered
            self._entered.discard((key, attempt))
            if not known and entered_us and entered_us >= (self._from_us or 0):
                yield _event(record, "job_started", key, attempt=attempt, node=node, at_us=entered_us)
            if end not in (AttemptEnd.SUCCEEDED, AttemptEnd.STOPPED):
                self._errors[key] = errors.get(index) or AttemptEnd(end).name.lower().replace("_", " ")

    def _retried(self, record: EventView) -> Iterator[LifecycleEvent]:
        for key, reason in zip(_items(record, "keys"), _items(record, "reasons"), strict=True):
            yield _event(record, "job_retried", key, detail=self._errors.pop(key, "") or _words(reason))

    def _finished(self, record: EventView) -> Iterator[LifecycleEvent]:
        state, reason = JobState(_integer(record.detail["state"])), _integer(record.detail["reason"])
        for key in _items(record, "keys"):
            error = self._errors.pop(key, "")
            detail = "" if state is JobState.SUCCEEDED else error or _words(reason)
            for name in _ENDS[state]:
                yield _event(record, name, key, detail=detail)

    def _held(self, record: EventView) -> Iterator[LifecycleEvent]:
        name = "job_paused" if record.detail.get("stop") else "job_held"
        for key in _items(record, "keys"):
            yield _event(record, name, key)

    def _released(self, record: EventView) -> Iterator[LifecycleEvent]:
        for key in _items(record, "keys"):
            yield _event(record, "job_released", key)

    def _moved(self, record: EventView) -> Iterator[LifecycleEvent]:
        to = f"to {band_name(_integer(record.detail['band']))}"
        for key in _items(record, "keys"):
            yield _event(record, "job_reprioritised", key, detail=to)

    def _windows(self, record: EventView) -> Iterator[LifecycleEvent]:
        windows: Any = record.detail["windows"]
        said = "other times" if windows.get("text") else "always open"
        detail = said if record.detail.get("request_id") else "more is known"
        yield _event(record, "windows_changed", node=windows["scope"], detail=detail)

    def _marked(self, record: EventView) -> Iterator[LifecycleEvent]:
        for mark in _items(record, "marks"):
            draining, cordoned = mark.get("draining", False), mark.get("cordoned", False)
            name = "node_draining" if draining else "node_cordoned" if cordoned else "node_marked"
            labels = [f"{key}={value}" for key, value in mark.get("labels", ())]
            detail = ", ".join(part for part in (mark.get("note", ""), *labels) if part)
            yield _event(record, name, node=mark["name"], detail=detail)

    def _too_late(self, record: EventView) -> Iterator[LifecycleEvent]:
        for key in _items(record, "keys"):
            yield _event(record, "deadline_missed", key, detail="it waits, and cannot end in time any more")

    def _judged(self, record: EventView) -> Iterator[LifecycleEvent]:
        name = "job_approved" if record.detail["approved"] else "job_rejected"
        words = (str(record.detail.get(part, "")) for part in ("by", "note"))
        for key in _items(record, "keys"):
            yield _event(record, name, key, detail=": ".join(filter(None, words)) or "nobody answered in time")

    def _plugin_disabled(self, record: EventView) -> Iterator[LifecycleEvent]:
        yield _event(record, "plugin_disabled", detail=f"{record.detail['plugin']}: {record.detail['why']}")

    def _resumed(self, record: EventView) -> Iterator[LifecycleEvent]:
        since_us, reason = _integer(record.detail["since_us"]), str(record.detail["reason"])
        yield _event(record, "journal_trouble", at_us=since_us, detail=reason)
        lasted = format_duration(max(0, record.at_us - since_us))
        yield _event(record, "journal_resumed", detail=f"after {lasted}")

    def _compacted(self, record: EventView) -> Iterator[LifecycleEvent]:
        when = format_instant(_integer(record.detail["cutoff_us"]))
        jobs, upto = record.detail.get("jobs", 0), record.detail["anchor_seq"]
        detail = f"{jobs} jobs that ended before {when} are removed, and events up to {upto}"
        yield _event(record, "journal_compacted", detail=detail)

    def _joined(self, record: EventView) -> Iterator[LifecycleEvent]:
        for node in _items(record, "nodes"):
            yield _event(record, "node_joined", node=node["id"], detail=node.get("name", ""))

    def _node_lost(self, record: EventView) -> Iterator[LifecycleEvent]:
        yield _event(record, "node_lost", node=str(record.detail["node"]), detail=str(record.detail["cause"]))

    def _pressed(self, record: EventView) -> Iterator[LifecycleEvent]:
        yield _event(record, "node_pressed", node=str(record.detail["node"]), detail=_loads(record))

    def _calm(self, record: EventView) -> Iterator[LifecycleEvent]:
        yield _event(record, "node_calm", node=str(record.detail["node"]), detail=_loads(record))

    def _sent_away(self, record: EventView) -> Iterator[LifecycleEvent]:
        name = _AWAY.get(_integer(record.detail["reason"]), "")
        node = str(record.detail["node"])
        for key, attempt in zip(_items(record, "keys"), _items(record, "attempts"), strict=True):
            if name:
                yield _event(record, name, key, attempt=attempt, node=node)

    def _let_back(self, record: EventView) -> Iterator[LifecycleEvent]:
        for key in _items(record, "keys"):
            yield _event(record, "job_let_back", key, detail=_words(_integer(record.detail["reason"])))

    def _scheduler(self, record: EventView) -> Iterator[LifecycleEvent]:
        yield _event(record, "scheduler_started", detail=f"epoch {record.epoch}, {record.detail.get('version', '')}")

    _readers: ClassVar[dict[str, Callable[["Lifecycle", EventView], Iterator[LifecycleEvent]]]] = {
        "SchedulerStarted": _scheduler,
        "JobsSubmitted": _submitted,
        "AttemptsEntered": _started,
        "AttemptsEnded": _ended,
        "RetryLater": _retried,
        "Finish": _finished,
        "HoldRequested": _held,
        "ReleaseRequested": _released,
        "PriorityChanged": _moved,
        "WindowsChanged": _windows,
        "NodesMarked": _marked,
        "MarkMissed": _too_late,
        "JudgeApprovals": _judged,
        "PluginDisabled": _plugin_disabled,
        "JournalResumed": _resumed,
        "JournalCompacted": _compacted,
        "NodesJoined": _joined,
        "NodeLost": _node_lost,
        "NodePressed": _pressed,
        "NodeCalm": _calm,
        "Stop": _sent_away,
        "LetBack": _let_back,
    }


def _event(
    record: EventView,
    name: str,
    key: int = 0,
    *,
    attempt: int = 0,
    node: str = "",
    detail: str = "",
    at_us: int = 0,
) -> LifecycleEvent:
    return LifecycleEvent(
        seq=record.seq, at_us=at_us or record.at_us, name=name, key=key, attempt=attempt, node=node, detail=detail
    )


def _loads(record: EventView) -> str:
    return loads_text(tuple(zip(_items(record, "kinds"), _items(record, "loads"), strict=True)))


def _items(record: EventView, name: str) -> Sequence[Any]:
    """A column; one that holds its default is not in the record."""
    return cast("Sequence[Any]", record.detail.get(name, ()))


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _words(reason: int) -> str:
    return Reason(reason).name.lower().replace("_", " ") if reason else ""
