"""What parties want of one another: each wish becomes an event, and how it stands is read off the state afterwards.

Wishes are idempotent by their tickets: whoever got no answer asks again, and whoever waits does so all the time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kos_ray.engine import approvals, barriers, locks, mailboxes
from kos_ray.engine.inbox import CoordinationWish
from kos_ray.engine.parties import Granted
from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.scheduler.state import State

#: fields of a wish, the state, now, the events of the same round, and who wishes it
_Handler = Callable[[Mapping[str, Any], State, int, Sequence[e.Event], str], Granted]
_HANDLERS: dict[str, _Handler] = {
    "lock": locks.lock,
    "leave": locks.leave,
    "break_lock": locks.break_lock,
    "put": mailboxes.put,
    "signal": mailboxes.signal,
    "take": mailboxes.take,
    "await_signal": mailboxes.await_signal,
    "settle_takes": mailboxes.settle,
    "revive": mailboxes.revive,
    "join": barriers.join,
    "reach": barriers.reach,
    "leave_barrier": barriers.leave,
    "answer": approvals.answer,
}
#: those that may wait, by how their tickets stand
_STATUS: dict[str, Callable[[State, Mapping[str, Any]], dict[str, Any]]] = {
    "lock": locks.status_of_lock,
    "take": mailboxes.status_of_take,
    "await_signal": mailboxes.status_of_take,
    "reach": barriers.status_of_reach,
}
#: what people look at
_LOOKS: dict[str, Callable[[State], list[dict[str, Any]]]] = {
    "locks": locks.plain_locks,
    "mailboxes": mailboxes.plain_mailboxes,
    "barriers": barriers.plain_barriers,
    "approvals": approvals.plain_approvals,
}


def coordinated(wish: CoordinationWish, state: State, now_us: int, before: Sequence[e.Event]) -> Granted:
    """The events that make a wish come true, and its answer: a mapping, or `Refused`. `before`: of the same round."""
    try:
        return _HANDLERS[wish.verb](wish.fields, state, now_us, before, wish.by)
    except Refused as refused:
        return [], refused


def status(wish: CoordinationWish, state: State) -> dict[str, Any] | None:
    """How what was asked for stands now; its `state` is "waiting" while that is not decided. None: it has no state."""
    found = _STATUS.get(wish.verb)
    return None if found is None else found(state, wish.fields)


def looked_at(what: str, fields: Mapping[str, Any], state: State) -> list[dict[str, Any]]:
    """How `locks`, `mailboxes`, the `messages` of one, `barriers` or `approvals` stand, as plain data for people."""
    if what == "messages":
        return mailboxes.peeked(state, fields)
    return _LOOKS[what](state)
