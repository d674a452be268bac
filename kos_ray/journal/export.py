"""All decisions, one plain mapping for each job that one is about: what an auditor reads without kos_ray."""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

from kos_ray.journal import shapes
from kos_ray.journal.codec import Frame
from kos_ray.journal.history import words
from kos_ray.journal.reader import JournalReader
from kos_ray.model.decisions import Decision
from kos_ray.model.ids import JobKey
from kos_ray.model.job import AttemptEnd, JobState
from kos_ray.model.wire import to_plain

#: columns of decisions, which become one line for each job
_COLUMNS = ("keys", "attempts", "due_us", "reasons", "reason")


def decisions(reader: JournalReader, from_seq: int = 0) -> Iterator[dict[str, Any]]:
    """Decisions with a sequence number of `from_seq` or more, the first one first.

    `outcome` is how the attempt ended that a decision is about ("" while it goes on); of a decision about a job as a
    whole, the state in which the job is by now. `frame` is the hash of the frame that holds the decision.

    Raises:
        JournalDamaged: a frame is not what its hash says.

    """
    for frame in reader.remaining(max(0, from_seq - 1)):
        yield from _lines(reader, frame, from_seq)


def _lines(reader: JournalReader, frame: Frame, from_seq: int) -> Iterator[dict[str, Any]]:
    keys = sorted({key for decision in frame.decisions for key in _keys(decision)})
    ids, states = reader.public_ids(keys), reader.states(keys)
    ends = reader.attempt_ends(keys)
    for seq, decision in enumerate(frame.decisions, frame.first_seq + len(frame.events)):
        if seq < from_seq:
            continue
        plain = shapes.readable(to_plain(decision))
        detail = {name: value for name, value in plain.items() if name not in _COLUMNS}
        head = {"seq": seq, "at_us": frame.now_us, "epoch": frame.epoch, "decision": type(decision).__name__}
        tail = {"detail": detail, "frame": frame.hash.hex()}
        reasons = getattr(decision, "reasons", None) or repeat(getattr(decision, "reason", 0))
        attempts = getattr(decision, "attempts", None) or repeat(0)
        dues = getattr(decision, "due_us", None) or repeat(0)
        for key, attempt, reason, due_us in zip(_keys(decision), attempts, reasons, dues, strict=False):
            outcome = _end(ends.get((key, attempt))) if attempt else _state(states.get(key))
            yield {
                **head,
                "job": ids.get(key, ""),
                "attempt": attempt,
                "reason": words(reason),
                "outcome": outcome,
                **({"due_us": due_us} if due_us else {}),
                **tail,
            }
        if not _keys(decision):
            yield {**head, "job": "", "attempt": 0, "reason": words(next(iter(reasons))), "outcome": "", **tail}


def _keys(decision: Decision) -> tuple[JobKey, ...]:
    return getattr(decision, "keys", ())


def _end(end: AttemptEnd | None) -> str:
    return "" if end is None else end.name.lower()


def _state(state: JobState | None) -> str:
    return "" if state is None else state.name.lower()
