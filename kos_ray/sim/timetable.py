"""Schedules of a world: what is wanted of them, which jobs they may make, and what must have come of each fire.

All of it is drawn from a generator of its own, so that worlds without schedules keep their histories. Instants are
whole seconds, so what a rule names is counted here without reading it.
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from kos_ray.engine.inbox import ScheduleWish
from kos_ray.journal.store import Journal
from kos_ray.model.errors import Refused
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.job import Backoff, Spec
from kos_ray.model.payload import inline
from kos_ray.model.resources import Resources
from kos_ray.model.schedule import (
    HOUR_US,
    CatchUp,
    Outcome,
    Overlap,
    Schedule,
    ScheduleFired,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleSet,
)
from kos_ray.scheduler.state import State
from kos_ray.sim.auditor import Auditor, Story
from kos_ray.sim.code import Fate, Run
from kos_ray.sim.network import Network
from kos_ray.sim.process import Process
from kos_ray.sim.setting import NAMESPACES, Setting
from kos_ray.sim.workload import ArrayPlan, Plan
from kos_ray.sim.world import EPOCH_US, MS_US, SECOND_US, World

#: longer than a message and its answer may take
_AGAIN_US = 8 * SECOND_US
#: how schedules fire, and each how many seconds that is
_RULES = (("every second", 1), ("every 2 seconds", 2), ("*/3 * * * * *", 3), ("* * * * * *", 1))
#: what may come of a fire
FIRES = ("submitted", "buffered", "skipped", "asked for")
#: one job of them at a time
_ALONE = (Overlap.SKIP, Overlap.BUFFER_ONE, Overlap.BUFFER_ALL, Overlap.CANCEL_OTHER)


@dataclass(slots=True)
class Scheduled:
    """One schedule, and the jobs that it may make: by public id, when each is due (0: when somebody asks for it)."""

    schedule: Schedule
    every_us: int
    hash: str
    jobs: dict[str, int] = field(default_factory=dict)


class Timetable:
    """The schedules of one world; mostly none. `open` counts wishes without an answer."""

    def __init__(self, world: World, setting: Setting, network: Network, auditor: Auditor) -> None:
        self.entries: list[Scheduled] = []
        self.open = 0
        #: what has come of fires, by outcome
        self.fires: Counter[str] = Counter()
        self._world, self._network, self._auditor = world, network, auditor
        self._random = random = Random(f"timetable of {world.seed}")
        if random.random() < 0.35:
            for number in range(random.choice((1, 2, 4))):
                self.entries.append(self._drawn(number, setting))
        if self.entries:
            auditor.scheduled = self._story
        for entry in self.entries:
            self._want_of(entry, setting.busy_us)

    def _drawn(self, number: int, setting: Setting) -> Scheduled:
        random = self._random
        rule, seconds = random.choice(_RULES)
        smallest = min(dict(node.amounts)["CPU"] for node in setting.nodes) / 10_000
        spec = Spec(
            type=f"tick{number}",
            namespace=random.choice(NAMESPACES),
            band=random.choice((0, 3, 5)),
            resources=Resources.of({"CPU": min(random.choice((0, 0.5, 1)), smallest)}),
            entry="module:tick",
            timeout_ms=random.choice((0, 1_000)),
            retries=random.choice((0, 2)),
            backoff=Backoff(first_ms=5, factor=2.0, max_ms=500, jitter=0.0),
        )
        schedule = Schedule(
            name=f"schedule {number}",
            rules=(rule,),
            spec=spec,
            namespace=spec.namespace,
            args=inline(f"tick of {number}".encode()),
            end_us=EPOCH_US + random.randint(2, 12) * SECOND_US,
            fires_max=random.choice((0, 0, 1, 5)),
            jitter_us=random.choice((0, 0, 300 * MS_US)),
            overlap=random.choice(tuple(Overlap)),
            catch_up=random.choice(tuple(CatchUp)),
            window_us=random.choice((SECOND_US, HOUR_US)),
            pause_on_failure=random.random() < 0.2,
        )
        entry = Scheduled(schedule, seconds * SECOND_US, spec_hash(spec))
        for nominal_us in range(EPOCH_US, schedule.end_us + 1, entry.every_us):
            whose = f"schedule:{schedule.namespace}/schedule%20{number}@{nominal_us}"
            digest = hashlib.sha256(whose.encode()).digest()
            entry.jobs[str(uuid.UUID(bytes=digest[:16], version=4))] = nominal_us
        return entry

    def _want_of(self, entry: Scheduled, busy_us: int) -> None:
        """It is set; later maybe paused and resumed, asked to fire now, or taken away."""
        random, key = self._random, entry.schedule.key
        set_us = random.randint(0, busy_us // 2)

        def later(verb: str, at_us: int, **more: Any) -> int:
            self.open += 1
            wish = ScheduleWish(request_id=f"{random.getrandbits(64):016x}", verb=verb, **more)
            self._world.after(at_us, self._say, wish, [])
            if verb == "trigger":
                entry.jobs[str(uuid.uuid5(uuid.NAMESPACE_OID, wish.request_id))] = 0
            return at_us

        later("set", set_us, schedule=entry.schedule)
        if random.random() < 0.3:
            paused_us = later("pause", set_us + random.randint(0, busy_us), key=key, note="a rest")
            later("resume", paused_us + random.randint(0, 3 * SECOND_US), key=key)
        for _ in range(random.choice((0, 0, 1, 2))):
            later("trigger", set_us + random.randint(0, busy_us), key=key)
        if random.random() < 0.15:
            later("remove", set_us + random.randint(0, 2 * busy_us), key=key)

    # --- asking

    def _say(self, wish: ScheduleWish, answers: list[object]) -> None:
        """Send a wish until it is answered."""
        if answers:
            return

        def replied(answer: object) -> None:
            self._network.answer(self._answered, wish, answer, answers)

        def arrive(process: Process) -> None:
            process.engine.wish(wish, replied)
            process.kick()

        self._network.to_scheduler(arrive, once=True)
        self._world.after(_AGAIN_US, self._say, wish, answers)

    def _answered(self, wish: ScheduleWish, answer: object, answers: list[object]) -> None:
        refused = isinstance(answer, Refused)
        if answers or (refused and "journal cannot write" in str(answer)):
            return  # known, or said again when its time is over
        # one that was taken away, or was not set yet, is not there
        lawful = refused and wish.verb != "set" and "there is no schedule" in str(answer)
        self._auditor.expect(not refused or lawful, "a good wish was refused", (wish, answer))
        answers.append(answer)
        self.open -= 1

    def quiet(self, state: State) -> bool:
        """Whether nothing is to come of any of them."""
        if self.open or state.schedules.nominal:
            return False
        return all(not (one.next_us or one.buffer) for one in state.schedules.by_key.values())

    # --- what comes of them

    def _story(self, public_id: str) -> Story | None:
        """The story of a job that a schedule has made; None where none may make it, or not yet."""
        for entry in self.entries:
            nominal_us = entry.jobs.get(public_id)
            if nominal_us is None:
                continue
            early = nominal_us > self._world.now_us and not self._auditor.jumped
            self._auditor.expect(not early, "a schedule fires before its time", (public_id, nominal_us))
            return self._story_of(entry, public_id)
        return None

    def _story_of(self, entry: Scheduled, public_id: str) -> Story:
        spec = entry.schedule.spec
        array = ArrayPlan(public_id, spec, entry.hash, -1, "", (), ())
        luck = Random(public_id)
        fates = (Fate.SUCCEED, Fate.SUCCEED, Fate.SUCCEED, Fate.FAIL, Fate.CRASH)
        runs = tuple(Run(luck.choice(fates), luck.choice((10, MS_US, 1_500 * MS_US)), 100) for _ in range(3))
        plan = Plan(public_id, array, entry.schedule.args, runs)
        array.jobs.append(plan)
        story = Story(plan)
        story.sent = True
        story.cancel_asked = entry.schedule.overlap in (Overlap.CANCEL_OTHER, Overlap.TERMINATE_OTHER)
        return story

    def judge(self, journal: Journal) -> None:
        """Every instant has one fate, every fire that started its one job; a pause holds, and nobody overlaps."""
        if not self.entries:
            return
        books = {entry.schedule.key: _Book(self._auditor, entry) for entry in self.entries}
        for frame in journal.frames():
            for event in frame.events:
                if isinstance(event, ScheduleSet):
                    books[event.schedule.key].begins(frame.now_us)
                elif isinstance(event, ScheduleFired | SchedulePaused | ScheduleResumed | ScheduleRemoved):
                    books[event.key].take(event)
        for book in books.values():
            book.close()
            self.fires.update(book.fires)


class _Book:
    """What one schedule did, from its events in their order."""

    def __init__(self, auditor: Auditor, entry: Scheduled) -> None:
        self._auditor, self._entry = auditor, entry
        self._begun_us = 0
        self._paused = self._removed = False
        self._fates: dict[int, Outcome] = {}
        self._jobs: set[JobKey] = set()
        self.fires: Counter[str] = Counter()
        #: a stretch of instants that were skipped together
        self._skipped_to_us = 0

    def begins(self, now_us: int) -> None:
        """It was set."""
        self._begun_us = now_us

    def take(self, event: ScheduleFired | SchedulePaused | ScheduleResumed | ScheduleRemoved) -> None:
        """One event of it."""
        if isinstance(event, ScheduleFired):
            self._fired(event)
        elif isinstance(event, ScheduleRemoved):
            self._removed = True
        else:
            self._paused = isinstance(event, SchedulePaused)

    def _fired(self, event: ScheduleFired) -> None:
        about = (self._entry.schedule.name, event)
        expect = self._auditor.expect
        self.fires["asked for" if event.asked else event.outcome.name.lower()] += 1
        if event.job:
            expect(event.outcome is Outcome.SUBMITTED, "a fire that was skipped has a job", about)
            self._jobs.add(event.job)
        if event.asked:
            return
        before = self._fates.get(event.nominal_us)
        expect(before in (None, Outcome.BUFFERED), "an instant has two fates", (about, before))
        expect(not event.nominal_us % self._entry.every_us, "an instant that its rule does not name", about)
        started = event.outcome is not Outcome.SKIPPED and before is None
        expect(not (started and self._paused), "it fires though it is paused", about)
        self._fates[event.nominal_us] = event.outcome
        self._skipped_to_us = max(self._skipped_to_us, event.until_us)

    def close(self) -> None:
        """At the end, when all its jobs are over."""
        schedule, expect = self._entry.schedule, self._auditor.expect
        made = {key for key, story in self._auditor.by_key.items() if story.plan.id in self._entry.jobs}
        expect(made == self._jobs, "jobs and fires differ", (schedule.name, made ^ self._jobs))
        started = [at for at, outcome in self._fates.items() if outcome is Outcome.SUBMITTED]
        most = schedule.fires_max
        expect(not most or len(started) <= most, "it has fired too often", (schedule.name, len(started)))
        if not (self._removed or (most and len(started) >= most)):
            buffered = [at for at, outcome in self._fates.items() if outcome is Outcome.BUFFERED]
            expect(not buffered, "fires wait for ever", (schedule.name, buffered))
            missing = [at for at in self._instants() if at not in self._fates and at >= self._skipped_to_us]
            expect(not missing, "instants have no fate", (schedule.name, missing))
        if schedule.overlap in _ALONE:
            self._check_alone()

    def _instants(self) -> Iterator[int]:
        every_us = self._entry.every_us
        first_us = (self._begun_us // every_us + 1) * every_us
        return iter(range(first_us, self._entry.schedule.end_us, every_us))

    def _check_alone(self) -> None:
        """Of those that it made itself, no two were in user code at one time, where that could be seen to end."""
        asked = {public_id for public_id, nominal_us in self._entry.jobs.items() if not nominal_us}
        spans: list[tuple[int, int, str]] = []
        for public_id in self._entry.jobs.keys() - asked:
            story = self._auditor.stories.get(public_id)
            seen = [entry for entry in story.entries if entry.end is not None] if story else []
            spans += [(e.at_us, e.ended_us, public_id) for e in seen if e.machine not in self._auditor.tainted]
        spans.sort()
        for (_, ended_us, one), (at_us, _, other) in pairwise(spans):
            about = (self._entry.schedule.name, one, other)
            self._auditor.expect(one == other or ended_us <= at_us, "two of one schedule run at once", about)
