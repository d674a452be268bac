"""The scheduler's state beside the scheduler: frames are folded as the journal grows, from the newest snapshot on."""

import threading
from pathlib import Path
from typing import Any, NamedTuple

from kos_ray.journal.reader import JournalReader
from kos_ray.journal.snapshots import FileSnapshots
from kos_ray.model.failpoints import reach
from kos_ray.scheduler.machine import recover
from kos_ray.scheduler.snapshot import resumed, state_to_plain
from kos_ray.scheduler.state import State


class Folded(NamedTuple):
    """The state after a frame, in the form of a snapshot: no part of it is shared with anybody."""

    seq: int
    hash: bytes
    now_us: int
    plain: Any


class Fold:
    """One state that is kept from one question to the next. Threads may share it."""

    def __init__(self, directory: Path) -> None:
        self._snapshots = FileSnapshots(directory)
        self._lock = threading.Lock()
        self._state: State | None = None
        self._seq = self._now_us = self._saved_seq = 0
        self._hash = b""

    def newest(self, journal: JournalReader) -> Folded:
        """The state after the last frame that is on disk."""
        with self._lock:
            return self._advance(journal)

    def save(self, journal: JournalReader) -> int:
        """Save it as a snapshot, where there is something new; the sequence number it holds."""
        with self._lock:
            found = self._advance(journal)
            reach("reader.folded")
            if found.seq > self._saved_seq:
                self._snapshots.save(found.seq, found.hash, found.plain)
                self._saved_seq = found.seq
            return found.seq

    def _advance(self, journal: JournalReader) -> Folded:
        state, self._state = self._state, None  # whatever breaks in between, the next one starts over
        if state is None:
            self._seq, state = resumed(self._snapshots.load_newest(journal))
            self._saved_seq = self._seq
        for frame in journal.frames(self._seq):
            recover(state, frame.events, frame.decisions, frame.now_us)
            self._seq, self._hash, self._now_us = frame.last_seq, frame.hash, frame.now_us
        self._state = state
        return Folded(self._seq, self._hash, self._now_us, state_to_plain(state))
