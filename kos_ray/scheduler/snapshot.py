"""The whole state as plain data and back: what a snapshot holds. Columns by kind; nothing is derived twice."""

from typing import Any

from kos_ray.model.events import JobDependency
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import JobState, SlotKind, Spec
from kos_ray.model.node import Node
from kos_ray.model.policy import Policy
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler.state import Job, JobClass, Lane, NodeState, SpecEntry, State

_JOB_FIELDS = (
    *("spec", "attempt", "failures", "losses", "node", "unmet", "due_us", "estimate_us", "recall_asked"),
    *("held", "cancelled"),
)


def state_to_plain(state: State) -> Any:
    """Plain data for a state between two steps (nothing is left to be decided)."""
    if state.todo.unsettled:
        raise ValueError("a snapshot is taken between steps")
    return {
        "policy": to_plain(state.policy),
        "epoch": state.epoch,
        "next_key": state.next_key,
        "specs": [(key, to_plain(entry.spec), entry.mean_us) for key, entry in state.specs.items()],
        "idle_specs": list(state.idle_specs),
        "classes": [
            (job_class.band, to_plain(job_class.kind), job_class.ready) for job_class in state.classes.values()
        ],
        "jobs": [
            (
                *(job.key, int(job.state), tuple(getattr(job, name) for name in _JOB_FIELDS)),
                *(job.job_class.band, None if job.queued is None else job.queued.band),
            )
            for job in state.jobs.values()
        ],
        "dependencies": [to_plain(job.dependency) for job in state.jobs.values() if job.dependency is not None],
        "dependents": [(key, children) for key, children in state.dependents.items()],
        "due": state.due,
        "nodes": [_node_to_plain(node) for node in state.nodes.values()],
        "idle_lanes": [(node, to_plain(kind)) for node, kind in state.idle_lanes],
    }


def state_from_plain(plain: Any) -> State:
    """The inverse of `state_to_plain`."""
    state = State(policy=from_plain(Policy, plain["policy"]), epoch=plain["epoch"], next_key=JobKey(plain["next_key"]))
    for band, kind_plain, ready in plain["classes"]:
        kind = from_plain(SlotKind, kind_plain)
        job_class = state.classes[band, kind] = JobClass(band, kind)
        job_class.ready = list(ready)
    for key, spec_plain, mean_us in plain["specs"]:
        spec = from_plain(Spec, spec_plain)
        entry = state.specs[key] = SpecEntry(spec, state.classes[spec.band, spec.slot_kind])
        entry.mean_us = mean_us
    state.idle_specs = dict.fromkeys(plain["idle_specs"])
    for key, job_state, values, band, queued_band in plain["jobs"]:
        fields = dict(zip(_JOB_FIELDS, values, strict=True))
        entry = state.specs[fields["spec"]]
        entry.live += 1
        job = state.jobs[key] = Job(key, fields["spec"], entry, JobState(job_state))
        for name, value in fields.items():
            setattr(job, name, value)
        kind = job.job_class.kind
        job.job_class = state.classes[band, kind]
        job.queued = None if queued_band is None else state.classes[queued_band, kind]
    for dependency_plain in plain["dependencies"]:
        dependency = from_plain(JobDependency, dependency_plain)
        state.jobs[dependency.key].dependency = dependency
    state.dependents = {key: [tuple(child) for child in children] for key, children in plain["dependents"]}
    state.due = [tuple(timer) for timer in plain["due"]]
    for node_plain in plain["nodes"]:
        node = _node_from_plain(state, node_plain)
        state.nodes[node.node.id] = node
    state.idle_lanes = {(NodeId(node), from_plain(SlotKind, kind)): None for node, kind in plain["idle_lanes"]}
    return state


def _node_to_plain(node: NodeState) -> Any:
    return (
        to_plain(node.node),
        node.free,
        [
            (to_plain(lane.kind), lane.slots, list(lane.held.items()), lane.idle_since_us)
            for lane in node.lanes.values()
        ],
        [(to_plain(kind), until, times) for kind, (until, times) in node.taken.items()],
    )


def _node_from_plain(state: State, plain: Any) -> NodeState:
    node_plain, free, lanes, taken = plain
    node = NodeState(from_plain(Node, node_plain))
    node.free = dict(free)
    for kind_plain, slots, held, idle_since_us in lanes:
        lane = Lane(from_plain(SlotKind, kind_plain))
        lane.slots, lane.idle_since_us = slots, idle_since_us
        lane.held = {JobKey(key): attempt for key, attempt in held}
        lane.load_us = sum(state.jobs[key].estimate_us for key in lane.held)
        lane.running = sum(state.jobs[key].state is JobState.RUNNING for key in lane.held)
        node.lanes[lane.kind] = lane
        node.slots += slots
    node.taken = {from_plain(SlotKind, kind): (until, times) for kind, until, times in taken}
    return node
