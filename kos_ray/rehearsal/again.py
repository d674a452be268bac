"""A journal decided again: its events, at the instants of their frames, through the present scheduler.

What is recorded is decided the same by the scheduler that recorded it, whatever happened then; where it is not, the
scheduler has changed, or there is a mistake in it. `kos journal rehearse` is the command.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kos_ray.journal.codec import Frame
from kos_ray.model.events import SchedulerStarted
from kos_ray.scheduler.machine import Difference, rehearse
from kos_ray.scheduler.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFrame:
    """The first frame that is decided otherwise."""

    first_seq: int
    last_seq: int
    now_us: int
    events: tuple[str, ...]  #: their kinds
    #: number of the decision in the frame, from 0, and it as text; "" where there is none
    number: int
    recorded: str
    decided: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What came of it. Behind a difference nothing is compared: from there on it is another history."""

    frames: int
    decisions: int
    #: of kos_ray, that recorded it, in their order
    versions: tuple[str, ...]
    difference: OtherFrame | None = None


def rehearse_frames(frames: Iterable[Frame], state: State | None = None) -> Rehearsed:
    """Decide frames again, from the first one of a journal on, up to the first that is decided otherwise.

    `state` is what they begin with, where retention has removed those before.
    """
    state = State() if state is None else state
    count = decisions = 0
    versions: dict[str, None] = {}
    for frame in frames:
        versions |= {event.version: None for event in frame.events if isinstance(event, SchedulerStarted)}
        found = rehearse(state, frame.events, frame.decisions, frame.now_us)
        count += 1
        decisions += len(frame.decisions)
        if found is not None:
            return Rehearsed(
                frames=count, decisions=decisions, versions=tuple(versions), difference=_other(frame, found)
            )
    return Rehearsed(frames=count, decisions=decisions, versions=tuple(versions))


def _other(frame: Frame, found: Difference) -> OtherFrame:
    return OtherFrame(
        first_seq=frame.first_seq,
        last_seq=frame.last_seq,
        now_us=frame.now_us,
        events=tuple(type(event).__name__ for event in frame.events),
        number=found.number,
        recorded="" if found.recorded is None else repr(found.recorded),
        decided="" if found.decided is None else repr(found.decided),
    )
