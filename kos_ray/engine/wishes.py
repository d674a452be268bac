"""What somebody wants of settings or nodes, merged into what holds; and how the nodes stand then."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kos_ray.engine.admission import Admission
from kos_ray.engine.agents import agent_wished
from kos_ray.engine.coordination import coordinated
from kos_ray.engine.foresight import judged
from kos_ray.engine.inbox import (
    AgentWish,
    CoordinationWish,
    NodesWish,
    OccasionsWish,
    ScheduleWish,
    SettingsWish,
    WindowsWish,
    Wish,
    plugins_named,
)
from kos_ray.engine.reactions import noted
from kos_ray.engine.relatives import verified
from kos_ray.engine.schedules import wished
from kos_ray.engine.windows import AGAIN_US, expanded
from kos_ray.model import events as e
from kos_ray.model.errors import Refused
from kos_ray.model.node import Mark
from kos_ray.model.policy import changed
from kos_ray.model.resources import Resources
from kos_ray.model.schedule import Foreseen
from kos_ray.model.views import NodeStanding
from kos_ray.scheduler.node_advice import NodeKind, advise, waiting
from kos_ray.scheduler.state import NodeState, State


def granted(
    wish: Wish, state: State, admission: Admission, now_us: int, before: Sequence[e.Event]
) -> tuple[Sequence[e.Event], object]:
    """The events that make a wish come true, and its answer; `before` are the events of the same round."""
    try:
        return _granted(wish, state, admission, now_us, before)
    except Exception as error:  # noqa: BLE001 - one wish that makes no sense must not end everybody's scheduler
        return [], Refused(f"what was asked for makes no sense: {type(error).__name__}: {error}")


def _granted(
    wish: Wish, state: State, admission: Admission, now_us: int, before: Sequence[e.Event]
) -> tuple[Sequence[e.Event], object]:
    if isinstance(wish, ScheduleWish):
        return wished(wish, state, admission, now_us, before)
    if isinstance(wish, Foreseen):
        return judged(wish, state, before), None
    if isinstance(wish, OccasionsWish):
        return noted(wish, state, now_us, before)
    if isinstance(wish, AgentWish):
        is_verdict = wish.verb == "verify"
        return verified(wish, state, before) if is_verdict else agent_wished(wish, state, admission, now_us, before)
    if isinstance(wish, CoordinationWish):
        return coordinated(wish, state, now_us, before)
    event, answer = fulfilled(wish, state, before, now_us)
    return ([event] if event is not None else []), answer


def fulfilled(
    wish: SettingsWish | NodesWish | WindowsWish, state: State, before: Sequence[e.Event], now_us: int
) -> tuple[e.Event | None, object]:
    """The event that makes a wish come true, and its answer; `before` are the events of the same round."""
    if isinstance(wish, WindowsWish):
        try:
            windows = expanded(wish.scope, wish.text, now_us)
        except Refused as refused:
            return None, refused
        return e.WindowsChanged(request_id=wish.request_id, windows=windows, by=wish.by), windows
    if isinstance(wish, SettingsWish):
        wished = [event.policy for event in before if isinstance(event, e.PolicyChanged)]
        policy = changed(wished[-1] if wished else state.policy, wish.change)
        again = plugins_named(wish.change)
        return e.PolicyChanged(request_id=wish.request_id, policy=policy, by=wish.by, afresh=again), policy
    known = {**state.marks}
    known.update({mark.name: mark for event in before if isinstance(event, e.NodesMarked) for mark in event.marks})
    marks = _marks(wish, known)
    return e.NodesMarked(request_id=wish.request_id, marks=marks, by=wish.by), marks


def extended(state: State, now_us: int) -> list[e.Event]:
    """More of the windows of which soon nothing would be known."""
    short = [windows for windows in state.windows.values() if windows.until_us - AGAIN_US <= now_us]
    return [e.WindowsChanged(request_id="", windows=expanded(windows.scope, windows.text, now_us)) for windows in short]


def extension_us(state: State) -> int | None:
    """When that is to be done next."""
    return min((windows.until_us - AGAIN_US for windows in state.windows.values()), default=None)


def _marks(wish: NodesWish, known: Mapping[str, Mark]) -> tuple[Mark, ...]:
    """The whole marks of the names in a wish."""
    return tuple(_changed(known.get(name, Mark(name=name)), wish) for name in wish.names)


def _changed(mark: Mark, wish: NodesWish) -> Mark:
    change = dict(wish.change)
    if "labels" in change:
        change["labels"] = tuple(sorted({**dict(mark.labels), **dict(change["labels"])}.items()))
    return replace(mark, **change, by=wish.by or mark.by)


def standings(state: State) -> tuple[NodeStanding, ...]:
    """How the nodes that are there stand, and marks of names that no node has now."""
    found = [_standing(node) for node in state.nodes.values()]
    named = {name for node in state.nodes.values() for name in (node.node.name, node.node.host)}
    return (*found, *(_of_mark(mark) for name, mark in state.marks.items() if name not in named))


def advised(state: State, plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How many nodes of which of these kinds (`resources` as amounts, `at_most`) would help, and who waits still."""
    kinds = [
        NodeKind(name=name, resources=Resources.from_amounts(dict(kind["resources"])), at_most=kind["at_most"])
        for name, kind in plain.items()
    ]
    chosen, left = advise(waiting(state), kinds)
    return {"add": chosen, "waiting": len(left)}


def _standing(node: NodeState) -> NodeStanding:
    mark = node.mark or Mark(name="")
    return NodeStanding(
        id=node.node.id,
        name=node.node.name,
        host=node.node.host,
        cordoned=mark.cordoned,
        draining=mark.draining,
        silent=node.silent,
        retires=node.retires > 0,
        pressed=node.pressed,
        note=mark.note,
        by=mark.by,
        labels=tuple(sorted(node.labels.items())),
        attempts=sum(len(lane.held) for lane in node.lanes.values()),
        slots=node.slots,
        free=tuple(sorted(node.free.items())),
    )


def _of_mark(mark: Mark) -> NodeStanding:
    said = NodeStanding(id="", name=mark.name, cordoned=mark.cordoned, draining=mark.draining)
    return replace(said, note=mark.note, by=mark.by, labels=mark.labels)
