"""What reactions need of the state: who is for what, which ids were heard, and which ends of jobs are to be told.

A reaction is a schedule without rules: what becomes of its fires is decided as of any other's (`schedules.py`).
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.occasion import SEEN_MAX, ConditionsDue, Occasion, OccasionsNoted, Trigger
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.timing.conditions import EMPTY, Given, KeyState, given_of, heard, key_of, time_passed
from kos_ray.timing.occasions import is_for, told_of

#: values of `by` of which a reaction knows how they stand: beyond that, the one heard of the longest ago is forgotten
KEYS_MAX = 10_000


class End(NamedTuple):
    """A job is over, which some reaction may be for; `by` is the schedule that made it."""

    namespace: str
    type: str
    state: int
    reason: int
    attempts: int
    by: str = ""


@dataclass(slots=True)
class Reactions:
    """What is common to all of them."""

    #: by namespace and key of the schedule; derived
    triggers: dict[str, dict[str, Trigger]] = field(default_factory=dict)
    #: the last ids that were heard, the oldest first, with their namespaces
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    #: jobs that have ended and that nobody was told of yet
    ends: dict[JobKey, End] = field(default_factory=dict)
    #: by reaction and value of its `by`, of those that have conditions; the ones that were heard of last stand behind
    states: dict[str, dict[str, KeyState]] = field(default_factory=dict)
    #: a heap of `(due_us, reaction, value)`; an entry that is not the state's own is stale. Derived
    due: list[tuple[int, str, str]] = field(default_factory=list, compare=False)

    def add(self, namespace: str, key: str, trigger: Trigger | None) -> None:
        """A schedule is a reaction from now on, has another trigger, or (None) is none."""
        if self.triggers.get(namespace, {}).get(key) != trigger:
            self.states.pop(key, None)
        if trigger is not None:
            self.triggers.setdefault(namespace, {})[key] = trigger
        elif key in self.triggers.get(namespace, ()):
            del self.triggers[namespace][key]
            if not self.triggers[namespace]:
                del self.triggers[namespace]

    def concerned(self, occasion: Occasion, own: str = "") -> Iterator[tuple[str, Trigger]]:
        """Those that are for an occasion, by key, but for one whose own job has ended: it would go on for ever."""
        for key, trigger in self.triggers.get(occasion.namespace, {}).items():
            if key != own and is_for(trigger, occasion):
                yield key, trigger

    def state(self, key: str, value: str) -> KeyState:
        """How a reaction's conditions stand for a value of its `by`."""
        return self.states.get(key, {}).get(value, EMPTY)

    def next_due_us(self) -> int | None:
        """When time brings something for a condition, None: never."""
        while self.due and self._is_stale(*self.due[0]):
            heappop(self.due)
        return self.due[0][0] if self.due else None

    def due_now(self, now_us: int, most: int) -> list[tuple[str, str]]:
        """Those for which time brings something now, no more than `most`, the first due first. Nothing is changed."""
        entries: dict[tuple[int, str, str], None] = {}
        while self.due and self.due[0][0] <= now_us and len(entries) < most:
            entry = heappop(self.due)
            if not self._is_stale(*entry):
                entries[entry] = None
        for entry in entries:
            heappush(self.due, entry)
        return [(key, value) for _, key, value in entries]

    def _is_stale(self, due_us: int, key: str, value: str) -> bool:
        states = self.states.get(key)
        return states is None or value not in states or states[value].due_us(self.given(key)) != due_us

    def given(self, key: str) -> Given:
        """The conditions of a reaction, by its key."""
        return given_of(self.triggers[key.partition("\0")[0]][key])

    def _keep(self, key: str, value: str, state: KeyState) -> None:
        states = self.states.setdefault(key, {})
        states.pop(value, None)
        if state != EMPTY:
            states[value] = state
            if due_us := state.due_us(self.given(key)):
                heappush(self.due, (due_us, key, value))
        if len(states) > KEYS_MAX:
            del states[next(iter(states))]
        if not states:
            del self.states[key]

    def job_ended(self, key: JobKey, end: End) -> None:
        """Keep the end of a job that some reaction listens for."""
        name = end_name(end.state)
        listening = self.triggers.get(end.namespace, {}).values()
        if any(fnmatchcase(name, pattern) for trigger in listening for pattern in trigger.events):
            self.ends[key] = end

    def noted(self, event: OccasionsNoted) -> None:
        """Occasions were heard."""
        ends = [self.ends.pop(key, None) for key in event.ends]
        for number, occasion in enumerate(event.occasions):
            self.seen[seen_key(occasion)] = None
            end = ends[number] if number < len(ends) else None
            for key, trigger in self.concerned(occasion, end.by if end else ""):
                if trigger.given:
                    value = key_of(given_of(trigger), occasion)
                    state, _ = heard(trigger, self.state(key, value), occasion, told_of(occasion), event.at_us)
                    self._keep(key, value, state)
        while len(self.seen) > SEEN_MAX:
            self.seen.popitem(last=False)

    def wake(self) -> None:
        """Put all timers into the heap, after a snapshot was read."""
        self.due = [
            (due_us, key, value)
            for key, states in self.states.items()
            for value, state in states.items()
            if (due_us := state.due_us(self.given(key)))
        ]
        heapify(self.due)

    def time_came(self, event: ConditionsDue) -> None:
        """Timers of conditions have run."""
        for key, value in event.whom:
            if value in self.states.get(key, ()):
                state, _ = time_passed(self.given(key), self.state(key, value), event.at_us)
                self._keep(key, value, state)


def end_name(state: int) -> str:
    """The name of the event that a job has ended: `job.succeeded`."""
    return f"job.{JobState(state).name.lower()}"


def seen_key(occasion: Occasion) -> str:
    """What an occasion is known by."""
    return f"{occasion.namespace}\0{occasion.id}"


def to_snapshot(reactions: Reactions) -> Any:
    """Plain data; what is derived is left out."""
    states = [
        (key, [(value, to_plain(state)) for value, state in found.items()]) for key, found in reactions.states.items()
    ]
    return list(reactions.seen), [(key, tuple(end)) for key, end in reactions.ends.items()], states


def from_snapshot(plain: Any) -> Reactions:
    """The inverse, without triggers; `wake` when they are there."""
    seen, ends, states = plain
    found = Reactions(seen=OrderedDict.fromkeys(seen), ends={JobKey(key): End(*end) for key, end in ends})
    found.states = {key: {value: from_plain(KeyState, one) for value, one in ones} for key, ones in states}
    return found
