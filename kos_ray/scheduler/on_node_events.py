"""What happens to nodes, folded into the state: they come and go, and people and their agents say things of them."""

from kos_ray.model import events as e
from kos_ray.model.job import AttemptEnd
from kos_ray.model.resources import add
from kos_ray.scheduler.fit import reconsider
from kos_ray.scheduler.hearing import begin_anew
from kos_ray.scheduler.ledger import (
    not_idle,
    off_node,
)
from kos_ray.scheduler.marks import is_closed, refresh, set_marks, set_retires, set_windows
from kos_ray.scheduler.queues import (
    withdraw,
)
from kos_ray.scheduler.quota import Tree
from kos_ray.scheduler.shares import reserve
from kos_ray.scheduler.state import NodeState, State


def nodes_joined(state: State, event: e.NodesJoined, _now_us: int) -> None:
    """Nodes have come, or have something else than before."""
    for node in event.nodes:
        known = state.nodes.get(node.id)
        if known is not None:
            add(state.capacity, known.node.resources, -1)
        add(state.capacity, node.resources, 1)
        if state.starts:
            # as many as the least loaded had: a new node is not flooded
            state.starts.setdefault(node.id, min(state.starts.values()))
        if known is None:
            known = state.nodes[node.id] = NodeState(node)
        else:
            known.node = node
            known.free = dict(node.resources.amounts)
            for lane in known.lanes.values():
                add(known.free, lane.kind.resources, -lane.slots)
        refresh(state, known)
        state.rooms.join(known)
    state.tree = Tree(state.policy.namespaces, state.capacity)
    reconsider(state)
    state.steps.clear()
    state.shares_now.clear()


def node_lost(state: State, event: e.NodeLost, now_us: int) -> None:
    """A node is gone: what it held is free, and what ran there is lost."""
    lost = state.nodes.pop(event.node, None)
    if lost is None:
        return
    state.rooms.leave(lost)
    set_retires(state, lost, 0)
    state.taken_nodes.pop(event.node, None)
    state.pressure.forget(event.node)
    add(state.capacity, lost.node.resources, -1)
    state.starts.pop(event.node, None)
    state.tree = Tree(state.policy.namespaces, state.capacity)
    reconsider(state)
    state.steps.clear()
    state.shares_now.clear()
    for kind, lane in lost.lanes.items():
        reserve(state, kind.namespace, kind.resources, -lane.slots, now_us)
        not_idle(state, event.node, kind)
        state.todo.long_lanes.pop((event.node, kind), None)
        state.lanes[kind].pop(event.node)
    # in an order that does not depend on when lanes were made, which a snapshot does not tell
    for key in sorted(key for lane in lost.lanes.values() for key in lane.held):
        off_node(state, state.jobs[key])
        state.todo.ended[key] = AttemptEnd.LOST
        state.todo.lost_on[key] = lost.node.host
    for nodes in state.left.values():
        nodes.pop(event.node, None)
    made = {gang.leader for gang in state.gangs.values() if event.node in gang.room}
    for key in [key for key, node in state.nominated.items() if node == event.node or key in made]:
        withdraw(state, key)


def node_condition(state: State, event: e.NodeCondition, now_us: int) -> None:
    """What a node's agent measured, or that it says nothing."""
    node = state.nodes.get(event.node)
    if node is None:
        return
    node.battery, node.gpu_free = event.battery, event.gpu_free
    if node.silent and not event.silent:
        begin_anew(state, now_us, event.node)
    node.silent = event.silent
    set_retires(state, node, event.retires)
    reconsider(state)
    if node.silent or node.retires:
        for key in [key for key, target in state.nominated.items() if target == event.node]:
            withdraw(state, key)


def windows_changed(state: State, event: e.WindowsChanged, _now_us: int) -> None:
    """When a node or a namespace may be used."""
    set_windows(state, event.windows)
    reconsider(state)


def nodes_marked(state: State, event: e.NodesMarked, _now_us: int) -> None:
    """Nodes were cordoned, drained, labelled, or are free again."""
    set_marks(state, event.marks)
    reconsider(state)
    for key in [key for key, node in state.nominated.items() if is_closed(state.nodes[node])]:
        withdraw(state, key)
