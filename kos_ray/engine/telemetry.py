"""What the scheduler has done since it started, counted frame by frame while the policy asks for it (`telemetry`)."""

from collections import Counter
from collections.abc import Callable

from kos_ray.engine.ports import Frame
from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.job import JobState


class Telemetry:
    """A listener of the engine. Counting costs a few additions for each record, whatever it holds."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._counts: Counter[str] = Counter()

    def __call__(self, frame: Frame) -> None:
        """Count one frame."""
        if not self._wanted():
            return
        counts = self._counts
        counts["frames"] += 1
        for event in frame.events:
            if isinstance(event, e.JobsSubmitted):
                counts["submitted"] += event.job_count
        for decision in frame.decisions:
            name = _name(decision)
            if name:
                counts[name] += len(decision.keys)  # type: ignore[union-attr]

    def counts(self) -> tuple[tuple[str, int], ...]:
        """`(what, how often)`; empty where nothing is counted."""
        return tuple(sorted(self._counts.items())) if self._wanted() else ()


def _name(decision: d.Decision) -> str:
    if isinstance(decision, d.Finish):
        return JobState(decision.state).name.lower()
    return _COUNTED.get(type(decision), "")


_COUNTED: dict[type, str] = {d.Launch: "started", d.RetryLater: "retried", d.Evict: "evicted"}
