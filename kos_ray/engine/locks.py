"""What parties want of locks: a wish becomes an event, and how a ticket stands is read off the state."""

from collections.abc import Mapping, Sequence
from typing import Any

from kos_ray.engine.parties import Granted, checked_name, checked_ttl, party_of, until
from kos_ray.model import events as e
from kos_ray.model.coordination import Leased
from kos_ray.model.errors import Refused
from kos_ray.model.locks import ASKS_MAX, WAITING_MAX, LockAsked, LockMode, LocksLeft
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.locks import Ask, shown
from kos_ray.scheduler.state import State

#: of those that are no jobs and say nothing
_BAND = 3


def lock(fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event], _by: str) -> Granted:
    """Ask for a lock."""
    locks, ticket = state.coordination.locks, fields["ticket"]
    asked = [event for event in before if isinstance(event, LockAsked)]
    if ticket in locks.asks or ticket in locks.ended or any(event.ticket == ticket for event in asked):
        return [], {}
    key = f"{fields['namespace']}\0{checked_name(fields['name'], 'lock')}"
    if len(locks.asks) + len(asked) >= ASKS_MAX:
        raise Refused(f"{ASKS_MAX} locks are held or waited for, as many as there may be: try again later")
    if key in locks.by_name and len(locks.by_name[key].queue) >= WAITING_MAX:
        raise Refused(f"{WAITING_MAX} wait for lock {shown(key)}, as many as may: try again later")
    party = party_of(fields["party"], state)
    own = state.jobs[party.job].job_class.band if party.job else _BAND
    event = LockAsked(
        ticket=ticket,
        lock=key,
        party=party,
        mode=LockMode(fields["mode"]),
        ttl_ms=checked_ttl(fields["ttl_ms"]),
        until_us=until(fields["wait_ms"], now_us),
        band=own if fields["band"] < 0 else fields["band"],
    )
    return [event], {}


def leave(fields: Mapping[str, Any], state: State, _now: int, before: Sequence[e.Event], by: str) -> Granted:
    """Let go of tickets of whatever kind; answered with those that there were."""
    asked = {event.ticket for event in before if isinstance(event, Leased)}
    known = tuple(one for one in fields["tickets"] if state.coordination.said(one) is not None or one in asked)
    return ([LocksLeft(tickets=known, by=by)] if known else []), {"released": list(known)}


def break_lock(fields: Mapping[str, Any], state: State, _now: int, _before: Sequence[e.Event], by: str) -> Granted:
    """Take a lock away from who has it."""
    key = f"{fields['namespace']}\0{fields['name']}"
    lock = state.coordination.locks.by_name.get(key)
    if lock is None or not lock.holders:
        raise Refused(f"nobody has lock {fields['name']!r} in namespace {fields['namespace']!r}; see `kos lock ls`")
    had = [ask.said.party.told for ask in lock.holders.values()]
    note = f"{by} took it away" + (f": {fields['note']}" if fields["note"] else "")
    return [LocksLeft(tickets=tuple(lock.holders), broken=True, note=note, by=by)], {"had": had}


def status_of_lock(state: State, fields: Mapping[str, Any]) -> dict[str, Any]:
    """How an ask stands: waiting, held, or why not."""
    locks, ticket = state.coordination.locks, fields["ticket"]
    ask = locks.asks.get(ticket)
    if ask is not None:
        held = {"state": "held", "fence": ask.fence}
        return held if ask.fence else {"state": "waiting", "held_by": locks.held_by(ask.said.lock)}
    reason, told = locks.ended.get(ticket, (int(Reason.NONE), ""))
    return {"state": Reason(reason).name.lower() if reason else "gone", "told": told, "remedy": Reason(reason).remedy}


def plain_locks(state: State) -> list[dict[str, Any]]:
    """All locks that somebody has or waits for, as plain data for people."""
    return [
        {
            "name": shown(key),
            "namespace": key.partition("\0")[0],
            "mode": next((_mode(ask) for ask in lock.holders.values()), ""),
            "fence": next((ask.fence for ask in lock.holders.values()), 0),
            "holders": [_plain_ask(ask) for ask in lock.holders.values()],
            "waiting": [_plain_ask(ask) for ask in lock.queue],
        }
        for key, lock in state.coordination.locks.by_name.items()
    ]


def _plain_ask(ask: Ask) -> dict[str, Any]:
    said = ask.said
    return {"ticket": said.ticket, "by": said.party.told, "mode": _mode(ask), "ttl_ms": said.ttl_ms, "band": said.band}


def _mode(ask: Ask) -> str:
    return LockMode(ask.said.mode).name.lower()
