"""What parties want of barriers."""

from collections.abc import Mapping, Sequence
from typing import Any

from kos_ray.engine.parties import Granted, checked_name, checked_ttl, party_of, until
from kos_ray.model import events as e
from kos_ray.model.barriers import ALL_PARTIES_MAX, PARTIES_MAX, BarrierJoined, BarrierLeft, BarrierReached, OnLoss
from kos_ray.model.errors import Refused
from kos_ray.scheduler.barriers import Barrier
from kos_ray.scheduler.locks import shown
from kos_ray.scheduler.state import State


def join(fields: Mapping[str, Any], state: State, _now: int, before: Sequence[e.Event], _by: str) -> Granted:
    """Take part in a barrier."""
    barriers, ticket = state.coordination.barriers, fields["ticket"]
    ahead = [event for event in before if isinstance(event, BarrierJoined)]
    if ticket in barriers.members or any(event.ticket == ticket for event in ahead):
        return [], {}
    event = BarrierJoined(
        ticket=ticket,
        barrier=f"{fields['namespace']}\0{checked_name(fields['name'], 'barrier')}",
        party=party_of(fields["party"], state),
        parties=fields["parties"],
        batch=fields["batch"],
        on_loss=OnLoss(fields["on_loss"]),
        ttl_ms=checked_ttl(fields["ttl_ms"]),
    )
    if not 0 < event.parties <= PARTIES_MAX:
        raise Refused(f"parties: expected 1 to {PARTIES_MAX}, found {event.parties}")
    if len(barriers.members) + len(ahead) >= ALL_PARTIES_MAX:
        raise Refused(f"{ALL_PARTIES_MAX} take part in barriers, as many as may: try again later")
    there = [one.said for one in _members(barriers.by_name.get(event.barrier))]
    _check_fits(event, [*there, *(one for one in ahead if one.barrier == event.barrier)], state)
    return [event], {}


def reach(fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event], _by: str) -> Granted:
    """Wait for the others."""
    member = state.coordination.barriers.members.get(fields["ticket"])
    number = fields["number"]
    asked = any(isinstance(event, BarrierReached) and event.ticket == fields["ticket"] for event in before)
    if member is None or member.reached >= number or asked:
        return [], {}
    return [BarrierReached(ticket=fields["ticket"], number=number, until_us=until(fields["wait_ms"], now_us))], {}


def leave(fields: Mapping[str, Any], state: State, _now: int, _before: Sequence[e.Event], _by: str) -> Granted:
    """Take part no more: done, or `lost`."""
    known = fields["ticket"] in state.coordination.barriers.members
    return ([BarrierLeft(tickets=(fields["ticket"],), lost=fields["lost"])] if known else []), {}


def status_of_reach(state: State, fields: Mapping[str, Any]) -> dict[str, Any]:
    """How a party that waits stands: waiting, open, broken, or gone."""
    member = state.coordination.barriers.members.get(fields["ticket"])
    if member is None:
        return {"state": "gone"}
    barrier = state.coordination.barriers.by_name[member.said.barrier]
    if member.passed >= fields["number"]:
        return {"state": "open", "round": member.round}
    if barrier.broken:
        reason = barrier.broken
        return {"state": reason.name.lower(), "told": barrier.told, "remedy": reason.remedy}
    return {"state": "waiting"}


def plain_barriers(state: State) -> list[dict[str, Any]]:
    """All barriers as they stand, as plain data for people."""
    return [
        {
            "name": shown(key),
            "namespace": key.partition("\0")[0],
            "parties": one.parties,
            "batch": one.batch,
            "round": one.round,
            "there": [member.said.party.told for member in one.members.values()],
            "waiting": [one.members[ticket].said.party.told for ticket in one.waiting],
            "broken": one.told,
        }
        for key, one in state.coordination.barriers.by_name.items()
    ]


def _members(barrier: Barrier | None) -> list[Any]:
    return [] if barrier is None else list(barrier.members.values())


def _check_fits(event: BarrierJoined, there: Sequence[BarrierJoined], state: State) -> None:
    """Refuse who does not fit those that take part already.

    Raises:
        Refused: the barrier is broken, or full, or the others have said something else.

    """
    name = shown(event.barrier)
    barrier = state.coordination.barriers.by_name.get(event.barrier)
    if barrier is not None and barrier.broken:
        raise Refused(f"barrier {name} is broken ({barrier.told}): it can be used again when all have left it")
    for other in there[:1]:
        terms = [(one.parties, one.batch, OnLoss(one.on_loss).name.lower()) for one in (other, event)]
        if terms[0] != terms[1]:
            raise Refused(
                f"barrier {name}: expected what the others say, {terms[0][0]} parties"
                f"{' in batches' if terms[0][1] else ''}, on_loss {terms[0][2]}; found {terms[1][0]} parties"
                f"{' in batches' if terms[1][1] else ''}, on_loss {terms[1][2]}"
            )
    if not event.batch and len(there) >= event.parties:
        raise Refused(f"barrier {name}: all of its {event.parties} parties are there")
