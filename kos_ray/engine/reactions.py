"""Reactions at work: what happened becomes events of the journal, and in the same frame the jobs that are made for it.

`OccasionsNoted`, `ScheduleFired` and `JobsSubmitted` are one commit, and a job's request id is made of reaction and
occasion besides: one job for each event, whatever dies. Ends of jobs are kept in the state with the decision that ends
them, and told in the next round.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from kos_ray.engine.admission import Admission
from kos_ray.engine.inbox import OccasionsWish
from kos_ray.engine.schedules import Cause, fires_of
from kos_ray.model import events as e
from kos_ray.model.errors import InvalidSpec, Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.occasion import DATA_MAX, OCCASIONS_MAX, ConditionsDue, Occasion, OccasionsNoted
from kos_ray.model.reasons import Reason
from kos_ray.model.schedule import Outcome, ScheduleFired, ScheduleRemoved
from kos_ray.scheduler.reactions import End, Reactions, end_name, seen_key
from kos_ray.scheduler.schedules import Standing, judge_fires
from kos_ray.scheduler.state import State
from kos_ray.timing.conditions import Fire, KeyState, given_of, heard, key_of, time_passed
from kos_ray.timing.occasions import check_name, told_of, told_together

#: signs of an id, of a key
_WORD_MAX = 500
#: lists and objects within one another in an event's data: whoever reads it may stand deep in calls already
_DEPTH_MAX = 100

#: of jobs: public ids and names
Names = Callable[[Iterable[JobKey]], dict[JobKey, tuple[str, str]]]


def noted(wish: OccasionsWish, state: State, now_us: int, before: Sequence[e.Event]) -> tuple[list[e.Event], object]:
    """The event that somebody's occasions make, without those that were heard before; and the answer."""
    try:
        _check_all(wish.occasions)
    except Refused as refused:
        return [], refused
    seen = {seen_key(one) for event in before if isinstance(event, OccasionsNoted) for one in event.occasions}
    fresh: dict[str, Occasion] = {}
    for occasion in wish.occasions:
        key = seen_key(occasion)
        if key not in seen and key not in state.schedules.reactions.seen:
            fresh.setdefault(key, occasion)
    answer = {"known": [one.id for one in wish.occasions if fresh.get(seen_key(one)) is not one]}
    event = OccasionsNoted(occasions=tuple(fresh.values()), by=wish.by, at_us=now_us)
    return ([event] if fresh else []), answer


def _check_all(occasions: Sequence[Occasion]) -> None:
    if not 0 < len(occasions) <= OCCASIONS_MAX:
        raise Refused(f"expected 1 to {OCCASIONS_MAX} events, found {len(occasions)}")
    for occasion in occasions:
        _check(occasion)


def _check(occasion: Occasion) -> None:
    try:
        check_name(occasion.name)
        deep = _is_deep(occasion.data)
    except InvalidSpec as error:
        raise Refused(str(error)) from None
    except ValueError as error:
        raise Refused(f"event {occasion.name}: expected data as JSON: {error}") from None
    if deep:
        raise Refused(
            f"event {occasion.name}: expected data with at most {_DEPTH_MAX} lists and objects in one another"
        )
    if set(occasion.name) & {"*", "?"}:
        raise Refused(f"expected the name of one event, found {occasion.name!r}")
    if len(occasion.data.encode()) > DATA_MAX:
        raise Refused(f"event {occasion.name}: expected at most {DATA_MAX} bytes of data, found {len(occasion.data)}")
    if not 0 < len(occasion.id) <= _WORD_MAX or len(occasion.key) > _WORD_MAX:
        raise Refused(f"event {occasion.name}: expected an id (and a key) of at most {_WORD_MAX} signs")


def _is_deep(data: str) -> bool:
    """Whether data has more within one another than is allowed.

    Raises:
        ValueError: it is no JSON.

    """
    try:
        level = [json.loads(data or "0")]
    except RecursionError:
        return True
    for _ in range(_DEPTH_MAX):
        level = [
            one
            for found in level
            if isinstance(found, dict | list)
            for one in (found.values() if isinstance(found, dict) else found)
        ]
    return any(isinstance(one, dict | list) for one in level)


def _heard_first(events: list[e.Event]) -> None:
    """Put what was heard in a round before changes of schedules.

    Fires are judged by the reactions as they were before the round, so their conditions are to move by these too.
    """
    if any(isinstance(event, OccasionsNoted) for event in events):
        events.sort(key=lambda event: not isinstance(event, OccasionsNoted))


def reacted(
    state: State, admission: Admission, names: Names, now_us: int, before: list[e.Event]
) -> tuple[list[e.Event], set[str]]:
    """What reactions do in this round: ends of jobs that are told, fires, jobs; and whose fires were judged.

    `before` are the round's events, which are put in order.
    """
    _heard_first(before)
    reactions = state.schedules.reactions
    told = [event for event in before if isinstance(event, OccasionsNoted)]
    due_us = reactions.next_due_us()
    is_due = due_us is not None and due_us <= now_us
    if not (told or reactions.ends or is_due):
        return [], set()
    ahead = _Ahead(reactions)
    events: list[e.Event] = []
    for event in told:
        for occasion in event.occasions:
            ahead.hear(occasion, event.at_us)
    if reactions.ends:
        ends = dict(islice(reactions.ends.items(), OCCASIONS_MAX))
        occasions = tuple(_of_ends(ends, names(ends), now_us))
        events.append(OccasionsNoted(occasions=occasions, ends=tuple(ends), at_us=now_us))
        for occasion, end in zip(occasions, ends.values(), strict=True):
            ahead.hear(occasion, now_us, end.by)
    if is_due:
        whom = tuple(reactions.due_now(now_us, OCCASIONS_MAX))
        events.append(ConditionsDue(at_us=now_us, whom=whom))
        for key, value in whom:
            ahead.time_passed(key, value, now_us)
    removed = {event.key for event in before if isinstance(event, ScheduleRemoved)}
    for key, fires in ahead.fires.items():
        if key not in removed:
            events += _fires(state.schedules.by_key[key], fires, admission, now_us)
    return events, set(ahead.fires)


class _Ahead:
    """What becomes of this round's events, before they are folded: fires, by the key of their reaction."""

    def __init__(self, reactions: Reactions) -> None:
        self.fires: dict[str, list[Fire]] = {}
        self._reactions = reactions
        self._states: dict[tuple[str, str], KeyState] = {}

    def hear(self, occasion: Occasion, at_us: int, own: str = "") -> None:
        """An occasion; `own` is the reaction whose job's end it is."""
        for key, trigger in self._reactions.concerned(occasion, own):
            if not trigger.given:
                self.fires.setdefault(key, []).append(Fire(occasion.id, (told_of(occasion),)))
                continue
            value = key_of(given_of(trigger), occasion)
            self._moved(key, value, heard(trigger, self._state(key, value), occasion, told_of(occasion), at_us))

    def time_passed(self, key: str, value: str, now_us: int) -> None:
        """Timers have run."""
        self._moved(key, value, time_passed(self._reactions.given(key), self._state(key, value), now_us))

    def _state(self, key: str, value: str) -> KeyState:
        return self._states.get((key, value)) or self._reactions.state(key, value)

    def _moved(self, key: str, value: str, found: tuple[KeyState, list[Fire]]) -> None:
        self._states[key, value], fires = found
        if fires:
            self.fires.setdefault(key, []).extend(fires)


def _fires(standing: Standing, fires: Sequence[Fire], admission: Admission, now_us: int) -> Iterator[e.Event]:
    """Fires of a reaction; the nominal instant of each is now, or a microsecond behind the one before it."""
    first_us = max(now_us, standing.last_us + 1)
    causes = {
        first_us + number: Cause(fire.id, told_together(fire.id, fire.told))
        for number, fire in enumerate(fires)
        if not fire.dropped
    }
    for number, fire in enumerate(fires):
        if fire.dropped:
            yield ScheduleFired(
                key=standing.schedule.key,
                nominal_us=first_us + number,
                outcome=Outcome.SKIPPED,
                reason=Reason.THROTTLED,
                occasion=fire.id,
            )
    verdicts = judge_fires(standing, list(causes), first_us)
    yield from fires_of(standing, verdicts, {}, admission, causes)


def _of_ends(ends: dict[JobKey, End], names: dict[JobKey, tuple[str, str]], now_us: int) -> Iterator[Occasion]:
    for key, end in ends.items():
        public_id, name = names.get(key, (str(key), ""))
        data = {
            "job": public_id,
            "name": name,
            "type": end.type,
            "state": JobState(end.state).name.lower(),
            "reason": Reason(end.reason).name.lower(),
            "attempts": end.attempts,
            "schedule": end.by.partition("\0")[2],
        }
        yield Occasion(
            id=f"job:{public_id}",
            name=end_name(end.state),
            namespace=end.namespace,
            key=end.type,
            data=json.dumps(data),
            at_us=now_us,
            source="kos_ray",
        )
