"""What parties want of mailboxes, and of signals, which are messages to one receiver."""

from collections.abc import Mapping, Sequence
from typing import Any

from kos_ray.engine.parties import Granted, checked_name, checked_ttl, party_of, until
from kos_ray.model import events as e
from kos_ray.model.agents import agent_key
from kos_ray.model.errors import Refused
from kos_ray.model.ids import JobKey
from kos_ray.model.mailboxes import (
    ALL_BYTES_MAX,
    BOXES_MAX,
    BYTES_MAX,
    MESSAGES_MAX,
    VALUE_MAX,
    MessagesPut,
    MessagesRevived,
    TakeAsked,
    TakesEnded,
)
from kos_ray.scheduler.mailboxes import Box, Message, shown_box
from kos_ray.scheduler.state import State

#: takes that may wait or be under way
_TAKES_MAX = 100_000


def put(fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event], by: str) -> Granted:
    """Put messages, `(id, value)` each; answered with the ids that were there before."""
    return _put(_key(fields), fields["messages"], state, now_us, before, by)


def signal(fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event], by: str) -> Granted:
    """Send a signal to a live job, to an agent, or to whoever waits for it first."""
    namespace, name = fields["namespace"], checked_name(fields["name"], "signal")
    if fields["job"]:
        job = state.jobs.get(JobKey(fields["job"]))
        if job is None:
            raise Refused(f"signal {name}: the job is over, expected one that is live")
        key = of_job(job.entry.spec.namespace, job.key, name)
    elif fields["agent"]:
        if agent_key(namespace, fields["agent"]) not in state.agents.by_key:
            raise Refused(f"signal {name}: there is no agent {fields['agent']} in namespace {namespace}")
        key = of_agent(namespace, fields["agent"], name)
    else:
        key = of_all(namespace, name)
    return _put(key, fields["messages"], state, now_us, before, by)


def take(fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event], _by: str) -> Granted:
    """Take a message, under a lease."""
    return _take((_key(fields),), fields, state, now_us, before)


def await_signal(fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event], _by: str) -> Granted:
    """Take a signal: of the job that asks, of the agent that it belongs to, or of anybody."""
    namespace, name = fields["namespace"], checked_name(fields["name"], "signal")
    boxes = [of_all(namespace, name)]
    job = state.jobs.get(JobKey(fields["party"]["job"]))
    if job is not None:
        spec = job.entry.spec
        agent = spec.receiver or (spec.carries.name if spec.carries is not None else "")
        own = [of_agent(spec.namespace, agent, name)] if agent else []
        boxes = [of_job(spec.namespace, job.key, name), *own, *boxes]
    return _take(tuple(boxes), fields, state, now_us, before)


def settle(fields: Mapping[str, Any], state: State, _now: int, _before: Sequence[e.Event], _by: str) -> Granted:
    """What was taken is handled, or goes back. Answered with the tickets that still had something."""
    takes = state.coordination.mailboxes.takes
    known = tuple(ticket for ticket in fields["tickets"] if ticket in takes)
    return ([TakesEnded(tickets=known, handled=fields["handled"])] if known else []), {"known": list(known)}


def revive(fields: Mapping[str, Any], state: State, _now: int, _before: Sequence[e.Event], by: str) -> Granted:
    """Dead messages are handed out again."""
    key = _key(fields)
    box = state.coordination.mailboxes.by_key.get(key)
    dead = len(box.dead) if box is not None else 0
    return ([MessagesRevived(box=key, by=by)] if dead else []), {"messages": dead}


def status_of_take(state: State, fields: Mapping[str, Any]) -> dict[str, Any]:
    """How a take stands: waiting, taken, empty or gone."""
    boxes, ticket = state.coordination.mailboxes, fields["ticket"]
    found = boxes.takes.get(ticket)
    if found is None:
        return {"state": "empty" if ticket in boxes.ended else "gone"}
    if not found.id:
        return {"state": "waiting"}
    message = boxes.by_key[found.box].taken[found.id]
    return {"state": "taken", "value": message.value, **_plain_message(found.id, message)}


def plain_mailboxes(state: State) -> list[dict[str, Any]]:
    """All mailboxes, as plain data for people."""
    return [
        {
            "name": shown_box(key),
            "namespace": key.partition("\0")[0],
            "ready": len(box.ready),
            "taken": len(box.taken),
            "dead": len(box.dead),
            "waiting": len(box.waiting),
            "bytes": box.bytes,
        }
        for key, box in state.coordination.mailboxes.by_key.items()
    ]


def peeked(state: State, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first messages of a mailbox with their values, none of them taken."""
    box = state.coordination.mailboxes.by_key.get(_key(fields), Box())
    messages = box.dead if fields["dead"] else box.ready
    first = list(messages.items())[: fields["most"]]
    return [{"value": message.value, **_plain_message(id_, message)} for id_, message in first]


def _plain_message(id_: str, message: Message) -> dict[str, Any]:
    return {"id": id_, "by": message.by, "at_us": message.at_us, "deliveries": message.deliveries}


def of_job(namespace: str, key: JobKey, name: str) -> str:
    """Where signals to a job wait."""
    return f"{namespace}\0\0job\0{key}\0{name}"


def of_agent(namespace: str, agent: str, name: str) -> str:
    """Where signals to an agent wait."""
    return f"{namespace}\0\0agent\0{agent}\0{name}"


def of_all(namespace: str, name: str) -> str:
    """Where signals to nobody in particular wait."""
    return f"{namespace}\0\0{name}"


def _key(fields: Mapping[str, Any]) -> str:
    return f"{fields['namespace']}\0{checked_name(fields['name'], 'mailbox')}"


def _put(
    key: str, messages: Sequence[tuple[str, bytes]], state: State, now_us: int, before: Sequence[e.Event], by: str
) -> Granted:
    boxes, name = state.coordination.mailboxes, shown_box(key)
    box = boxes.by_key.get(key, Box())
    ahead = [event for event in before if isinstance(event, MessagesPut)]
    coming = {id_ for event in ahead if event.box == key for id_ in event.ids}
    fresh = {id_: value for id_, value in messages if id_ not in box.seen and id_ not in coming}
    for id_, value in fresh.items():
        if not 0 < len(id_) <= 255:
            raise Refused(f"mailbox {name}: expected an id of 1 to 255 signs, found {id_!r}")
        if len(value) > VALUE_MAX:
            raise Refused(
                f"mailbox {name}: expected messages of at most {VALUE_MAX} bytes, found {len(value)}: put what is "
                "large into a file or a job's result, and say where"
            )
    more = sum(map(len, fresh.values()))
    _check_room(key, box, len(fresh), more, state, ahead)
    event = MessagesPut(box=key, ids=tuple(fresh), values=tuple(fresh.values()), by=by, at_us=now_us)
    return ([event] if fresh else []), {"known": [id_ for id_, _ in messages if id_ not in fresh]}


def _check_room(key: str, box: Box, count: int, size: int, state: State, ahead: Sequence[MessagesPut]) -> None:
    """Refuse what there is no room for, with what is `ahead` of it in the same round.

    Raises:
        Refused: with the limit.

    """
    boxes, name = state.coordination.mailboxes, shown_box(key)
    count += box.size + sum(len(event.ids) for event in ahead if event.box == key)
    coming = {event.box: sum(map(len, event.values)) for event in ahead}
    hint = "take some of it first (`kos mailbox ls`)"
    if count > MESSAGES_MAX:
        raise Refused(f"mailbox {name} would hold {count} messages, {MESSAGES_MAX} at most: {hint}")
    if box.bytes + coming.get(key, 0) + size > BYTES_MAX:
        raise Refused(f"mailbox {name} would hold more than {BYTES_MAX >> 20} MiB: {hint}")
    if boxes.bytes + sum(coming.values()) + size > ALL_BYTES_MAX:
        raise Refused(f"all mailboxes together would hold more than {ALL_BYTES_MAX >> 20} MiB: {hint}")
    if key not in boxes.by_key and len(boxes.by_key) >= BOXES_MAX:
        raise Refused(f"there are {BOXES_MAX} mailboxes, as many as there may be")


def _take(
    boxes: tuple[str, ...], fields: Mapping[str, Any], state: State, now_us: int, before: Sequence[e.Event]
) -> Granted:
    known, ticket = state.coordination.mailboxes, fields["ticket"]
    asked = any(isinstance(event, TakeAsked) and event.ticket == ticket for event in before)
    if ticket in known.takes or ticket in known.ended or asked:
        return [], {}
    if len(known.takes) >= _TAKES_MAX:
        raise Refused(f"{_TAKES_MAX} messages are taken or waited for, as many as there may be: try again later")
    event = TakeAsked(
        ticket=ticket,
        boxes=boxes,
        party=party_of(fields["party"], state),
        ttl_ms=checked_ttl(fields["ttl_ms"]),
        until_us=until(fields["wait_ms"], now_us),
        deliveries=fields["deliveries"],
    )
    return [event], {}
