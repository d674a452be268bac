"""Whether something has changed that a plan may rest on: submissions that rest on one ask."""

from kos_ray.engine.ports import Frame
from kos_ray.model import events as e
from kos_ray.scheduler.machine import next_due_us
from kos_ray.scheduler.state import State

#: what is only kept
_SAID = (e.ProgressMade, e.LogsStored, e.JournalResumed, e.JournalCompacted)


class Moved:
    """Listens to what is committed."""

    def __init__(self) -> None:
        self._seq = 0

    def note(self, frame: Frame) -> None:
        """A frame is on disk."""
        if frame.decisions or not all(isinstance(event, _SAID) for event in frame.events):
            self._seq = frame.last_seq

    def since(self, seq: int, state: State, last_us: int, now_us: int) -> bool:
        """Whether something changed after a sequence number, or time alone changes something now."""
        due_us = next_due_us(state, last_us)
        return seq < self._seq or (due_us is not None and due_us <= now_us)
