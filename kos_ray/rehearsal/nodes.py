"""Virtual nodes: slots that run attempts for their true run times, as node agents do, without messages on the way.

An attempt that is asked to stop saves its state and ends at once where its job can save it; any other goes on until its
grace is over, as code does that does not listen.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from kos_ray.model import decisions as d
from kos_ray.model import events as e
from kos_ray.model.ids import MS_US, JobKey, NodeId
from kos_ray.model.job import AttemptEnd, SlotKind
from kos_ray.model.protocol import told_after_us
from kos_ray.scheduler.jobs import Job

#: attempts that run for longer are reported as entered, as by the agents: see `told_after_us`
REPORT_ENTERED_US = 50_000
_ENDS, _ENTERS = 0, 1


class Attempt:
    """One attempt on a node; `entered_us` is -1 while it waits there for a slot."""

    __slots__ = ("end", "end_us", "entered_us", "key", "kind", "node", "number", "order", "run_us", "saves", "told",
                 "usual_us")  # fmt: skip

    def __init__(
        self, key: JobKey, number: int, node: NodeId, kind: SlotKind, run_us: int, usual_us: int, *, saves: bool
    ) -> None:
        self.key = key
        self.number = number
        self.node = node
        self.kind = kind
        #: how long it has to run yet, and how long those like it have run; agents know that of a slot's own
        self.run_us = run_us
        self.usual_us = 0 if kind.single_use else usual_us
        self.saves = saves
        #: of what happens at one instant that is told first which was launched first
        self.order = 0
        self.entered_us = -1
        #: whether that was reported
        self.told = False
        self.end_us = -1
        self.end = AttemptEnd.SUCCEEDED


def attempt_of(job: Job, run_us: int) -> Attempt:
    """The attempt of a job that is on a node, with so long to run."""
    assert job.node is not None
    return Attempt(job.key, job.attempt, job.node, job.kind, run_us, job.entry.mean_us, saves=job.entry.saves)


@dataclass(slots=True)
class _Lane:
    """The slots of one kind on one node."""

    slots: int = 0
    queue: deque[Attempt] = field(default_factory=deque)
    running: int = 0


class Nodes:
    """All of them. `started` and `ended` are read, and emptied, by whoever keeps the record."""

    def __init__(self, now_us: int = 0) -> None:
        self.now_us = now_us
        self._lanes: dict[tuple[NodeId, SlotKind], _Lane] = {}
        self._held: dict[JobKey, Attempt] = {}
        #: heap of `(instant, what, order, attempt)`; entries that do not hold any more are skipped
        self._due: list[tuple[int, int, int, Attempt]] = []
        self._launched = 0
        #: attempts that ended at this instant without having been entered
        self._recalled: list[Attempt] = []
        self.started: list[Attempt] = []
        self.ended: list[Attempt] = []

    def next_us(self) -> int | None:
        """When something happens there next."""
        if self._recalled:
            return self.now_us
        while self._due and not self._holds(self._due[0]):
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def events(self, now_us: int) -> Iterator[e.Event]:
        """What happened up to now, and has not been told."""
        self.now_us = now_us
        ended, self._recalled = self._recalled, []
        entered: list[Attempt] = []
        while self._due and self._due[0][0] <= now_us:
            entry = heappop(self._due)
            if self._holds(entry):
                (ended if entry[1] == _ENDS else entered).append(entry[3])
                if entry[1] == _ENDS:
                    self._leave(entry[3])
        yield from _entered_events(entered)
        yield from _ended_events(ended, now_us)

    # --- what the scheduler says

    def carry_out(self, decision: d.Decision, launched: Callable[[JobKey], Attempt]) -> None:
        """Do what a decision asks of nodes; `launched` makes the attempt of a job."""
        match decision:
            case d.Launch():
                self.hold(decision.node, decision.kind, decision.slots, list(map(launched, decision.keys)))
            case d.ResizeSlots():
                self.hold(decision.node, decision.kind, decision.slots, [])
            case d.Recall() | d.Stop() | d.Evict():
                self._stop(decision)
            case _:
                pass  # what concerns the scheduler alone

    def hold(self, node: NodeId, kind: SlotKind, slots: int, attempts: list[Attempt]) -> None:
        """Take attempts in, and keep so many slots of a kind. One that was entered elsewhere, before, goes on."""
        lane = self._lanes.setdefault((node, kind), _Lane())
        lane.slots = slots
        for attempt in attempts:
            self._held[attempt.key] = attempt
            self._launched += 1
            attempt.order = self._launched
            if attempt.entered_us >= 0:
                self._run(lane, attempt)
            else:
                lane.queue.append(attempt)
        self._pump(lane)

    def _stop(self, order: d.Recall | d.Stop | d.Evict) -> None:
        """Take back what has not been entered; unless it is a recall, have the others end."""
        for key, number in zip(order.keys, order.attempts, strict=True):
            attempt = self._held.get(key)
            if attempt is None or attempt.number != number:
                continue
            if attempt.entered_us < 0:
                self._take_back(attempt)
            elif not isinstance(order, d.Recall) and attempt.end is AttemptEnd.SUCCEEDED:
                grace_us = 0 if attempt.saves else order.grace_ms * MS_US
                self.end_by(attempt, self.now_us + grace_us)

    def end_by(self, attempt: Attempt, at_us: int) -> None:
        """Have an attempt that was entered end then, where it would have run longer."""
        if at_us < attempt.end_us:
            attempt.end, attempt.end_us = AttemptEnd.STOPPED, at_us
            self._push(at_us, _ENDS, attempt)

    # --- inside

    def _take_back(self, attempt: Attempt) -> None:
        attempt.end, attempt.end_us = AttemptEnd.RECALLED, self.now_us
        self._lanes[attempt.node, attempt.kind].queue.remove(attempt)
        del self._held[attempt.key]
        self._recalled.append(attempt)

    def _pump(self, lane: _Lane) -> None:
        """Enter what has a slot."""
        while lane.queue and lane.running < lane.slots:
            attempt = lane.queue.popleft()
            attempt.entered_us = self.now_us
            self._run(lane, attempt)
            self.started.append(attempt)

    def _run(self, lane: _Lane, attempt: Attempt) -> None:
        """An attempt that was entered has so long to run from now on."""
        lane.running += 1
        attempt.end_us = self.now_us + attempt.run_us
        self._push(attempt.end_us, _ENDS, attempt)
        told_us = attempt.entered_us + round(told_after_us(REPORT_ENTERED_US, attempt.usual_us))
        if not attempt.told and told_us < attempt.end_us:
            self._push(max(self.now_us, told_us), _ENTERS, attempt)

    def _push(self, at_us: int, what: int, attempt: Attempt) -> None:
        heappush(self._due, (at_us, what, attempt.order, attempt))

    def _holds(self, entry: tuple[int, int, int, Attempt]) -> bool:
        at_us, what, _, attempt = entry
        return self._held.get(attempt.key) is attempt and (what == _ENTERS or attempt.end_us == at_us)

    def _leave(self, attempt: Attempt) -> None:
        del self._held[attempt.key]
        self.ended.append(attempt)
        lane = self._lanes[attempt.node, attempt.kind]
        lane.running -= 1
        self._pump(lane)


def _by_node(attempts: list[Attempt]) -> dict[NodeId, list[Attempt]]:
    found: dict[NodeId, list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault(attempt.node, []).append(attempt)
    return found


def _entered_events(attempts: list[Attempt]) -> Iterator[e.Event]:
    for node, found in _by_node(attempts).items():
        yield e.AttemptsEntered(
            node=node,
            keys=tuple(one.key for one in found),
            attempts=tuple(one.number for one in found),
            entered_us=tuple(one.entered_us for one in found),
        )


def _ended_events(attempts: list[Attempt], now_us: int) -> Iterator[e.Event]:
    """How attempts ended, and before that what they saved."""
    for node, found in _by_node(attempts).items():
        saved = [one for one in found if one.saves and one.end is AttemptEnd.STOPPED]
        if saved:
            yield e.CheckpointsStored(
                node=node,
                keys=tuple(one.key for one in saved),
                attempts=tuple(one.number for one in saved),
                numbers=(1,) * len(saved),
                payloads=(b"",) * len(saved),
                at_us=(now_us,) * len(saved),
            )
        yield e.AttemptsEnded(
            node=node,
            keys=tuple(one.key for one in found),
            attempts=tuple(one.number for one in found),
            ends=tuple(int(one.end) for one in found),
            entered_us=tuple(max(one.entered_us, 0) for one in found),
            ended_us=tuple(one.end_us for one in found),
            pids=(1,) * len(found),
            results=(b"",) * len(found),
        )
