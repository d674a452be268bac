"""Schedules at work: which instants are due is asked of their rules here, and enters the state with the events.

What becomes of a fire is decided in `scheduler/schedules.py`. `ScheduleFired` and the job that it makes are in one
frame: there is one job for each nominal instant, whatever dies. A second guard is the job's request id, made of
schedule and instant.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from kos_ray.engine.admission import Admission
from kos_ray.engine.inbox import ScheduleWish
from kos_ray.model import events as e
from kos_ray.model.agents import agent_key
from kos_ray.model.errors import InvalidSpec, Refused
from kos_ray.model.hashing import spec_hash
from kos_ray.model.ids import JobKey
from kos_ray.model.protocol import Array, Submit
from kos_ray.model.reasons import Reason
from kos_ray.model.schedule import (
    FOREIGN,
    SCHEDULE_CHANGES,
    Outcome,
    Schedule,
    ScheduleFired,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleSet,
)
from kos_ray.scheduler.schedules import GRACE_US, Standing, Verdict, Verdicts, judge_fires
from kos_ray.scheduler.state import State
from kos_ray.timing.conditions import given_of
from kos_ray.timing.occasions import check_trigger
from kos_ray.timing.rules import Between, Listed, Rule, Union, Without, jittered, read_calendar, read_rule

#: schedules that one tick deals with, and fires of one; the others come in the next
_SCHEDULES_MAX = 1_000
_FIRES_MAX = 10_000
#: fires that one `backfill` may ask for
_BACKFILL_MAX = 10_000
#: the band of what is filled in
_LOWEST = 5


@lru_cache(maxsize=65_536)
def _rule(
    rules: tuple[str, ...], without: tuple[str, ...], timezone: str, dst: str, start_us: int, end_us: int
) -> Rule:
    found = [read_rule(text, timezone=timezone, dialect=dst) for text in rules]
    rule: Rule = found[0] if len(found) == 1 else Union(tuple(found))
    if without:
        rule = Without(rule, tuple(read_calendar(text, timezone) for text in without))
    return Between(rule, start_us or None, end_us or None) if start_us or end_us else rule


def rule_of(schedule: Schedule) -> Rule:
    """What its texts come to.

    Raises:
        Refused: nobody can read them; with the place.

    """
    if not (schedule.name and schedule.rules):
        raise Refused("a schedule needs a name and a rule that says when it fires, or an event")
    try:
        return _rule(
            schedule.rules, schedule.without, schedule.timezone, schedule.dst, schedule.start_us, schedule.end_us
        )
    except InvalidSpec as error:
        raise Refused(f"schedule {schedule.name}: {error}") from None


def _next(schedule: Schedule, rule: Rule, after_us: int) -> tuple[int, int]:
    """The first fire behind an instant and when that is due, with its jitter; zeros where there is none."""
    at_us = rule.next_after(after_us)
    if at_us is None:
        return 0, 0
    if not schedule.jitter_us:
        return at_us, at_us
    return at_us, jittered(schedule.key, at_us, rule.next_after(at_us), schedule.jitter_us)


# --- fires


class Cause(NamedTuple):
    """What a fire of a reaction is for: the id of the event, and what the job is told, as JSON."""

    id: str
    told: str


def due_fires(
    state: State, admission: Admission, now_us: int, before: Sequence[e.Event], judged: Collection[str] = ()
) -> list[e.Event]:
    """What schedules do now: their fires, the jobs that these make, and what is cancelled for them.

    Where somebody changes a schedule in this round (`before`), they wait for the next one; so do those in `judged`.
    """
    at_us = state.schedules.next_due_us()
    if at_us is None or at_us > now_us or any(isinstance(event, SCHEDULE_CHANGES) for event in before):
        return []
    events: list[e.Event] = []
    for standing in state.schedules.due_now(now_us, _SCHEDULES_MAX):
        if standing.schedule.key in judged:
            continue
        try:
            behind, edge = _due(standing, now_us)
        except Exception as error:  # noqa: BLE001 - one rule that cannot be asked must not end everybody's scheduler
            events.append(_broken(standing, error))
            continue
        events += edge
        events += fires_of(standing, judge_fires(standing, list(behind), now_us), behind, admission, {})
    return events


def _broken(standing: Standing, error: Exception) -> ScheduleFired:
    """A rule that could be read and cannot be asked any more, say for its zone: it is not due until it is set again."""
    skipped = Verdict(standing.next_us, Outcome.SKIPPED, Reason.FIRE_REFUSED)
    return replace(_fired(standing.schedule, skipped, (0, 0)), detail=f"its rule cannot be asked: {error!r}")


def _due(standing: Standing, now_us: int) -> tuple[dict[int, tuple[int, int]], list[e.Event]]:
    """The fires whose time has come, each with the next one; and one event for all that are older than the window."""
    older: list[e.Event] = []
    if not standing.next_us:
        return {}, older  # what is buffered may start; there is no rule to be asked
    schedule, at_us, due_us = standing.schedule, standing.next_us, standing.due_us
    rule = Listed(standing.ahead) if schedule.foreign else rule_of(schedule)
    edge_us = now_us - max(schedule.window_us, GRACE_US)
    if at_us and at_us < edge_us:
        after = _next(schedule, rule, edge_us - 1)
        reason = Reason.SCHEDULE_PAUSED if standing.paused else Reason.MISSED_LONG_AGO
        skipped = Verdict(at_us, Outcome.SKIPPED, reason)
        older.append(replace(_fired(schedule, skipped, after), until_us=edge_us))
        at_us, due_us = after
    behind: dict[int, tuple[int, int]] = {}
    while at_us and due_us <= now_us and len(behind) < _FIRES_MAX:
        behind[at_us] = _next(schedule, rule, at_us)
        at_us, due_us = behind[at_us]
    return behind, older


def fires_of(
    standing: Standing,
    verdicts: Verdicts,
    behind: Mapping[int, tuple[int, int]],
    admission: Admission,
    causes: Mapping[int, Cause],
) -> Iterator[e.Event]:
    """The events of fires that were judged: `behind` has the next ones of rules, `causes` what reactions are for."""
    schedule = standing.schedule
    if verdicts.cancel:
        yield e.CancelRequested(request_id="", keys=tuple(verdicts.cancel), by=f"schedule:{schedule.name}")
    for verdict in verdicts.fires:
        after = behind.get(verdict.nominal_us, (0, 0))
        waited = standing.waiting.get(verdict.nominal_us)
        cause = causes.get(verdict.nominal_us) or (Cause(*waited) if waited else None)
        if verdict.outcome is Outcome.SUBMITTED:
            yield from _submitted(schedule, verdict, after, admission, cause=cause)
        else:
            yield _fired(schedule, verdict, after, cause)


def _fired(schedule: Schedule, verdict: Verdict, after: tuple[int, int], cause: Cause | None = None) -> ScheduleFired:
    return ScheduleFired(
        key=schedule.key,
        nominal_us=verdict.nominal_us,
        outcome=verdict.outcome,
        reason=verdict.reason,
        next_us=after[0],
        due_us=after[1],
        occasion=cause.id if cause else "",
        told=cause.told if cause and verdict.outcome is not Outcome.SKIPPED else "",
    )


def _submitted(
    schedule: Schedule,
    verdict: Verdict,
    after: tuple[int, int],
    admission: Admission,
    *,
    band: int | None = None,
    cause: Cause | None = None,
) -> Iterator[e.Event]:
    """A fire and its job; where that is not accepted, or is there already, the fire is skipped and says so."""
    fired = replace(_fired(schedule, verdict, after, cause), asked=band is not None)
    refused = replace(fired, outcome=Outcome.SKIPPED, reason=Reason.FIRE_REFUSED, told="")
    try:
        accepted, event = admission.admit(_request(schedule, verdict.nominal_us, band, cause.id if cause else ""))
    except Refused as error:
        yield replace(refused, detail=str(error))
        return
    if event is None:
        yield replace(refused, detail=f"job {accepted.first} was made for it before")
        return
    yield event
    yield replace(fired, job=JobKey(accepted.first))


def _request(schedule: Schedule, nominal_us: int, band: int | None, occasion: str = "") -> Submit:
    spec = schedule.spec if band is None or band == schedule.spec.band else replace(schedule.spec, band=band)
    # both may have the signs between them: without quotes another namespace's schedule could be taken for this one
    whose = f"{quote(schedule.namespace, safe=':+')}/{quote(schedule.name, safe=':+')}"
    request_id = f"reaction:{whose}@{occasion}" if occasion else f"schedule:{whose}@{nominal_us}"
    digest = hashlib.sha256(request_id.encode()).digest()
    hash_ = spec_hash(spec)
    array = Array(
        id=str(uuid.UUID(bytes=digest[:16], version=4)),
        count=-1,
        spec=hash_,
        args=(schedule.args,),
        name=f"{schedule.name}@{written(nominal_us)}",
        after=schedule.after,
    )
    return Submit(request_id=request_id, arrays=(array,), specs=((hash_, spec),))


def written(at_us: int) -> str:
    """An instant as it stands in the names of jobs: 2026-03-29T00:30:00Z."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return at.isoformat().replace("+00:00", "Z")


# --- what people want


def wished(
    wish: ScheduleWish, state: State, admission: Admission, now_us: int, before: Sequence[e.Event]
) -> tuple[list[e.Event], object]:
    """The events that make a wish come true, and its answer: a mapping, or `Refused`."""
    try:
        if wish.schedule is not None:
            return _set(wish, state, now_us, before)
        standing = state.schedules.by_key.get(wish.key)
        if standing is None:
            return [], Refused(f"there is no schedule {wish.key.replace(chr(0), '/')}; see `kos schedule ls`")
        if wish.verb == "trigger":
            return _triggered(wish, standing, admission, now_us)
        if wish.verb == "backfill":
            return _backfilled(wish, standing, admission, now_us)
        return [_changed(wish)], {"key": wish.key}
    except Refused as refused:
        return [], refused


def _changed(wish: ScheduleWish) -> e.Event:
    if wish.verb == "remove":
        return ScheduleRemoved(request_id=wish.request_id, key=wish.key, by=wish.by)
    kind = SchedulePaused if wish.verb == "pause" else ScheduleResumed
    return kind(request_id=wish.request_id, key=wish.key, note=wish.note, by=wish.by)


def _set(wish: ScheduleWish, state: State, now_us: int, before: Sequence[e.Event]) -> tuple[list[e.Event], object]:
    assert wish.schedule is not None, "it was looked at before"
    schedule = _zoned(wish.schedule, state)
    asks = _is_foreign(schedule)
    next_us, due_us = (0, 0) if asks or _is_reaction(schedule) else _next(schedule, rule_of(schedule), now_us)
    if any(isinstance(event, ScheduleSet) and event.schedule.key == schedule.key for event in before):
        raise Refused(f"schedule {schedule.name!r} is being set by somebody else: try again")
    there = state.schedules.by_key.get(schedule.key)
    if there is not None and there.schedule != schedule and not wish.replace:
        raise Refused(
            f"schedule {schedule.name!r} is there already in namespace {schedule.namespace!r}, with other settings: "
            "choose another name, or replace it (`--replace`)"
        )
    answer = {"next_us": next_us, "due_us": due_us, "timezone": schedule.timezone}
    if there is not None and there.schedule == schedule:
        return [], answer | {"next_us": there.next_us, "due_us": there.due_us}
    event = ScheduleSet(request_id=wish.request_id, schedule=schedule, next_us=next_us, due_us=due_us, by=wish.by)
    if asks:
        event = replace(event, ask_after_us=max(now_us, schedule.start_us - 1))
    return [event], answer


def _zoned(schedule: Schedule, state: State) -> Schedule:
    """With a zone: where none is named that of the agent that its messages are for."""
    if schedule.timezone:
        return schedule
    standing = state.agents.by_key.get(agent_key(schedule.namespace, schedule.spec.receiver))
    return replace(schedule, timezone=standing.agent.timezone if standing and standing.agent.timezone else "UTC")


def _is_foreign(schedule: Schedule) -> bool:
    """Whether its rule is somebody else's, which stands alone.

    Raises:
        Refused: it does not.

    """
    if not any(rule.startswith(FOREIGN) for rule in schedule.rules):
        return False
    if len(schedule.rules) > 1 or schedule.without or schedule.jitter_us or schedule.on:
        raise Refused(f"schedule {schedule.name}: expected a rule of your own alone, without `without` and jitter")
    return True


def _is_reaction(schedule: Schedule) -> bool:
    """Whether it is for events, which somebody can read.

    Raises:
        Refused: nobody can.

    """
    if schedule.on is None:
        return False
    if schedule.rules or schedule.jitter_us or schedule.start_us or schedule.end_us:
        raise Refused(f"schedule {schedule.name}: expected either events or times, found both")
    try:
        check_trigger(schedule.on)
        given_of(schedule.on)
    except InvalidSpec as error:
        raise Refused(f"schedule {schedule.name}: {error}") from None
    return True


def _triggered(
    wish: ScheduleWish, standing: Standing, admission: Admission, now_us: int
) -> tuple[list[e.Event], object]:
    """One fire now, whatever pause and overlap say: somebody wants it. Asked for again, it is the same job."""
    schedule = standing.schedule
    request = _request(schedule, now_us, None)
    name = f"{request.arrays[0].name}~{wish.request_id[:8]}"
    named = replace(request.arrays[0], id=str(uuid.uuid5(uuid.NAMESPACE_OID, wish.request_id)), name=name)
    accepted, event = admission.admit(replace(request, request_id=f"trigger:{wish.request_id}", arrays=(named,)))
    answer = {"name": name, "key": accepted.first, "nominal_us": now_us}
    if event is None:
        return [], answer
    verdict = Verdict(now_us, Outcome.SUBMITTED)
    return [event, replace(_fired(schedule, verdict, (0, 0)), job=JobKey(accepted.first), asked=True)], answer


def _backfilled(
    wish: ScheduleWish, standing: Standing, admission: Admission, now_us: int
) -> tuple[list[e.Event], object]:
    """The fires of a stretch of the past that have no job yet, all at once, in the lowest band."""
    schedule = standing.schedule
    if schedule.on is not None:
        raise Refused(f"backfill: expected a schedule with times, found {schedule.name}, which is for events")
    if schedule.foreign:
        raise Refused(f"backfill: expected a rule that can be asked here, found {schedule.rules[0]}")
    rule = rule_of(schedule)
    if not wish.from_us < wish.to_us <= now_us:
        raise Refused("backfill: expected a stretch of the past, its beginning before its end")
    nominals: list[int] = []
    at_us = rule.next_after(wish.from_us - 1)
    while at_us is not None and at_us < wish.to_us:
        nominals.append(at_us)
        if len(nominals) > _BACKFILL_MAX:
            raise Refused(f"backfill: expected at most {_BACKFILL_MAX} fires, found more: choose a shorter stretch")
        at_us = rule.next_after(at_us)
    there = [at for at in nominals if admission.journal.request(_request(schedule, at, _LOWEST).request_id)]
    wanted = [at for at in nominals if at not in set(there)]
    answer: dict[str, Any] = {"fires": wanted, "there": there}
    if wish.dry_run:
        return [], answer
    events = [
        event
        for at in wanted
        for event in _submitted(schedule, Verdict(at, Outcome.SUBMITTED), (0, 0), admission, band=_LOWEST)
    ]
    return events, answer
