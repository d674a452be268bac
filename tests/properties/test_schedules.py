"""Overlap, catch-up, window and pause against a model of their own, with restarts and clocks that jump in between.

The model goes over instants one after another and knows nothing of heaps, snapshots or verdicts: what it says of each
nominal instant is compared with what the scheduler's events came to. The rule fires each 10 seconds.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState, Spec
from kos_ray.model.schedule import (
    CatchUp,
    Outcome,
    Overlap,
    Schedule,
    ScheduleFired,
    SchedulePaused,
    ScheduleResumed,
    ScheduleSet,
)
from kos_ray.scheduler.schedule_snapshot import from_snapshot, to_snapshot
from kos_ray.scheduler.schedules import Schedules, fold, job_ended, judge_fires

SECOND = 1_000_000
EVERY, GRACE = 10, 10


@dataclass
class Model:
    """What is promised, in seconds: `fates` by nominal instant."""

    schedule: Schedule
    paused: bool = False
    live: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)
    fates: dict[int, str] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)

    def start(self, at: int) -> None:
        assert at not in self.live
        self.live.append(at)
        self.fates[at] = "started"

    def time_comes(self, instants: list[int], now: int) -> None:
        if self.waits and not self.live:
            self.start(self.waits.pop(0))
        before = set(self.live) & {at for at in self.live if at not in instants}
        late = [at for at in instants if now - at > GRACE and now - at <= self.schedule.window_us // SECOND]
        caught = {
            CatchUp.NONE: [],
            CatchUp.LATEST: late[len(late) - 1 :],
            CatchUp.EARLIEST: late[:1],
            CatchUp.ALL: late,
        }[self.schedule.catch_up]
        for at in instants:
            if self.paused or (now - at > GRACE and at not in caught):
                self.fates[at] = "skipped"
            else:
                self.comes(at, before)

    def comes(self, at: int, before: set[int]) -> None:
        overlap = self.schedule.overlap
        busy = bool(self.live or self.waits)
        if busy and overlap in (Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER):
            self.cancelled |= before
        if not busy or overlap in (Overlap.ALLOW_ALL, Overlap.TERMINATE_OTHER):
            self.start(at)
        elif overlap is Overlap.SKIP or (overlap is Overlap.BUFFER_ONE and self.waits):
            self.fates[at] = "skipped"
        else:
            if overlap is Overlap.CANCEL_OTHER:
                self.fates.update(dict.fromkeys(self.waits, "skipped"))
                self.waits.clear()
            self.waits.append(at)
            self.fates[at] = "waits"


class Real:
    """The scheduler's part, through events alone, as the engine makes them of verdicts."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedules = Schedules()
        self.key = schedule.key
        self.fates: dict[int, str] = {}
        self.cancelled: set[int] = set()
        self.events: list[object] = []
        self.put(ScheduleSet(request_id="", schedule=schedule, next_us=EVERY * SECOND, due_us=EVERY * SECOND))

    def put(self, event: object) -> None:
        self.events.append(event)
        fold(self.schedules, event)

    @property
    def standing(self):  # type: ignore[no-untyped-def]
        return self.schedules.by_key[self.key]

    def tick(self, now: int) -> list[int]:
        """What is due now happens; the nominal instants that were new."""
        due = self.schedules.next_due_us()
        if due is None or due > now * SECOND:
            return []
        first = self.standing.next_us // SECOND
        instants = list(range(first, now + 1, EVERY))
        live = dict(self.standing.live)
        fires, cancel = judge_fires(self.standing, [at * SECOND for at in instants], now * SECOND)
        self.cancelled |= {live[key] // SECOND for key in cancel}
        for fire in fires:
            at = fire.nominal_us // SECOND
            started = fire.outcome is Outcome.SUBMITTED
            assert not (started and self.fates.get(at) == "started"), "one job for each fire"
            self.fates[at] = {Outcome.SUBMITTED: "started", Outcome.SKIPPED: "skipped", Outcome.BUFFERED: "waits"}[
                fire.outcome
            ]
            self.put(
                ScheduleFired(
                    key=self.key,
                    nominal_us=fire.nominal_us,
                    outcome=fire.outcome,
                    reason=fire.reason,
                    job=JobKey(at if started else 0),
                    next_us=(at + EVERY) * SECOND,
                    due_us=(at + EVERY) * SECOND,
                )
            )
        return instants

    def end(self, at: int) -> None:
        self.events.append(at)
        job_ended(self.schedules, JobKey(at), JobState.SUCCEEDED)

    def restart(self) -> None:
        """From a snapshot; and the fold of all that happened is the same."""
        plain = to_snapshot(self.schedules)
        folded = Schedules()
        for event in self.events:
            if isinstance(event, int):
                job_ended(folded, JobKey(event), JobState.SUCCEEDED)
            else:
                fold(folded, event)
        assert to_snapshot(folded) == plain
        self.schedules = from_snapshot(plain)
        assert (self.schedules.ready, self.schedules.next_due_us()) == (folded.ready, folded.next_due_us())


ACTS = st.one_of(
    # time goes on by a little, or by a lot while there is no scheduler, or not at all
    st.tuples(st.just("on"), st.integers(0, 25)),
    st.tuples(st.just("down"), st.integers(0, 400)),
    st.tuples(st.sampled_from(["end", "pause", "resume", "restart"]), st.integers(0, 5)),
)


@settings(max_examples=300, deadline=None)
@given(
    overlap=st.sampled_from(Overlap),
    catch_up=st.sampled_from(CatchUp),
    window=st.sampled_from([20, 100, 3_600]),
    acts=st.lists(ACTS, max_size=40),
)
def test_every_fire_has_the_fate_that_is_promised(
    overlap: Overlap, catch_up: CatchUp, window: int, acts: list[tuple[str, int]]
) -> None:
    schedule = Schedule(
        name="s", rules=("every 10 seconds",), spec=Spec(entry="m:f"), overlap=overlap, catch_up=catch_up,
        window_us=window * SECOND,
    )  # fmt: skip
    model, real, now = Model(schedule), Real(schedule), 0
    for act, number in acts:
        if act in ("on", "down"):
            now += number
        elif act == "end" and model.live:
            at = model.live.pop(number % len(model.live))
            real.end(at)
        elif act == "pause":
            model.paused = True
            real.put(SchedulePaused(request_id="", key=real.key))
        elif act == "resume":
            model.paused = False
            real.put(ScheduleResumed(request_id="", key=real.key))
        else:
            real.restart()
        model.time_comes(real.tick(now), now)
        assert real.fates == model.fates
        assert sorted(real.standing.live.values()) == sorted(at * SECOND for at in model.live)
        assert [at // SECOND for at in real.standing.buffer] == model.waits
        assert real.cancelled == model.cancelled
    assert set(real.fates) == set(range(EVERY, now + 1, EVERY)), "each instant has its fate"
