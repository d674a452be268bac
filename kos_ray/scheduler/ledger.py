"""The steps that moves are made of: jobs into and out of queues and lanes, and reservations with them.

Used by `apply.py` (events and decisions) and by `place.py`, which changes the state as it goes through its pass.
"""

from collections.abc import Iterable, Sequence

from kos_ray.model.errors import IllegalMove
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import LEGAL_MOVES, JobState, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler import lineage
from kos_ray.scheduler.fit import reconsider
from kos_ray.scheduler.gates import give_back, take
from kos_ray.scheduler.jobs import Job, JobClass
from kos_ray.scheduler.shares import reserve, started
from kos_ray.scheduler.sites import arrive, unwatch
from kos_ray.scheduler.state import Lane, State


def story(job: Job) -> str:
    """A job in one line, for errors and people."""
    return (
        f"job {job.key} ({job.entry.spec.type}, {job.state.name.lower()}, attempt {job.attempt}, "
        f"failures {job.failures}, losses {job.losses}, node {job.node or 'none'})"
    )


def move(job: Job, to: JobState) -> None:
    """Make a move of the table; any other raises IllegalMove with the job's story."""
    if to not in LEGAL_MOVES[job.state]:
        raise IllegalMove(f"{story(job)}: cannot become {to.name.lower()}")
    job.state = to


def settled(state: State, key: JobKey) -> None:
    """Nothing is left to be decided about a job."""
    todo = state.todo
    todo.ended.pop(key, None)
    if todo.asked_ms:
        todo.asked_ms.pop(key, None)
    if todo.lost_on:
        todo.lost_on.pop(key, None)
    todo.unblocked.pop(key, None)
    todo.unmeetable.pop(key, None)
    todo.cancelled.pop(key, None)
    todo.held.pop(key, None)
    todo.paused.pop(key, None)
    if key in state.gang_of:
        state.touched[state.gang_of[key].name] = None


def launch(
    state: State,
    node_id: NodeId,
    kind: SlotKind,
    keys: Sequence[JobKey],
    now_us: int,
    *,
    attempts: Iterable[int] | None = None,
) -> None:
    """Put jobs into a lane. Placement calls it with each run it chose, recovery with the recorded decision."""
    lane = _lane(state, node_id, kind)
    jobs, nominated = state.jobs, state.nominated
    counts: dict[JobClass, int] = {}
    for key in keys:
        job = jobs[key]
        move(job, JobState.LAUNCHED)
        job.attempt += 1
        job.node = node_id
        job.kind = kind
        job.lane = lane
        job.queued = None
        job.recall_asked = False
        job.stopped_by = Reason.NONE
        job.evicted_for = None
        job.started_us = job.saved_us = now_us
        job.estimate_us = job.entry.mean_us
        lane.held[key] = job.attempt
        lane.load_us += job.estimate_us
        counts[job.job_class] = counts.get(job.job_class, 0) + 1
        if job.entry.saves:
            state.savers += 1
        if nominated:
            nominated.pop(key, None)
    _joined(state, keys)
    if kind.agent and kind.single_use:
        lineage.launched(state, keys)
    if attempts is not None:
        for key, attempt in zip(keys, attempts, strict=True):
            if jobs[key].attempt != attempt:
                raise IllegalMove(f"{story(jobs[key])}: the journal launched attempt {attempt}")
    for job_class, count in counts.items():
        _count_started(state, job_class, node_id, count, now_us)
    note_idle(state, node_id, lane, now_us)


def _joined(state: State, keys: Sequence[JobKey]) -> None:
    """Members of gangs run: what others did of their share is theirs again."""
    if state.gangs:
        state.todo.shares |= {state.gang_of[key].name: None for key in keys if key in state.gang_of}


def _count_started(state: State, job_class: JobClass, node_id: NodeId, count: int, now_us: int) -> None:
    state.on_nodes[job_class.band] += count
    started(state, job_class, count, now_us)
    if job_class.rotates:
        state.starts[node_id] = state.starts.get(node_id, 0) + count
    take(state, job_class, count, now_us)
    if job_class.special:
        arrive(state, job_class, node_id, count)


def count_on_nodes(state: State, job: Job, times: int) -> None:
    """Keep count of what could be asked to make room."""
    state.on_nodes[job.job_class.band] += times
    if job.entry.saves:
        state.savers += times


def off_node(state: State, job: Job) -> None:
    """A job's attempt is on no node any more: what it held besides its slot is free."""
    if job.job_class.special and job.node is not None:
        arrive(state, job.job_class, job.node, -1)
        reconsider(state)
    job.node = job.lane = None
    count_on_nodes(state, job, -1)
    state.stopping.pop(job.key, None)
    if state.heard:
        state.heard.pop(job.key, None)
    if job.evicted_for is not None:
        state.making[job.evicted_for] -= 1
        if not state.making[job.evicted_for]:
            del state.making[job.evicted_for]
    if job.job_class.demanding:
        give_back(state, job.job_class, 1)


def lane_of(job: Job) -> Lane:
    """Where a job's attempt is."""
    assert job.lane is not None
    return job.lane


def stops(state: State, job: Job) -> None:
    """A job's attempt was asked to stop: its room will be free."""
    assert job.node is not None
    state.stopping[job.key] = None
    state.rooms.touched[job.node] = state.nodes[job.node]


def leave_lane(state: State, job: Job, now_us: int) -> None:
    """Take a job's attempt out of its lane."""
    lane = lane_of(job)
    del lane.held[job.key]
    lane.load_us -= job.estimate_us
    if job.state is JobState.RUNNING:
        lane.running -= 1
    assert job.node is not None
    note_idle(state, job.node, lane, now_us)
    off_node(state, job)


def set_slots(state: State, node_id: NodeId, kind: SlotKind, slots: int, now_us: int) -> None:
    """Change how many reservations a kind holds on a node, and the ledger with it."""
    node = state.nodes[node_id]
    lane = _lane(state, node_id, kind)
    add(node.free, kind.resources, lane.slots - slots)
    reserve(state, kind.namespace, kind.resources, slots - lane.slots, now_us)
    if not kind.receiver:  # a lane into an agent's process is no process
        node.slots += slots - lane.slots
    lane.slots = slots
    note_idle(state, node_id, lane, now_us)
    if not lane.slots and not lane.held:
        del node.lanes[kind]
        del state.lanes[kind][node_id]
        if not state.lanes[kind]:
            del state.lanes[kind]
        not_idle(state, node_id, kind)


def _lane(state: State, node_id: NodeId, kind: SlotKind) -> Lane:
    """The lane of a kind on a node, made when it is new."""
    lanes = state.nodes[node_id].lanes
    lane = lanes.get(kind)
    if lane is None:
        lane = lanes[kind] = Lane(kind)
        state.lanes.setdefault(kind, {})[node_id] = lane
    return lane


def note_idle(state: State, node_id: NodeId, lane: Lane, now_us: int) -> None:
    """A lane has changed: keep the list of those with idle slots, and since when they are."""
    state.rooms.touched[node_id] = state.nodes[node_id]
    idle = lane.slots > len(lane.held)
    if idle is lane.noted:
        return
    lane.noted = idle
    if idle:
        state.idle_lanes.setdefault(lane.kind, {})[node_id] = None
        lane.idle_since_us = now_us
    else:
        not_idle(state, node_id, lane.kind)


def not_idle(state: State, node_id: NodeId, kind: SlotKind) -> None:
    """A lane has no idle slot any more, or is no more."""
    nodes = state.idle_lanes.get(kind, {})
    nodes.pop(node_id, None)
    if not nodes:
        state.idle_lanes.pop(kind, None)


def rest_spec(state: State, key: SpecKey) -> None:
    """Note that a spec has no live job; forget the one that has been idle the longest when there are too many.

    Only here, never while submissions are folded: those rely on the specs that the state had before them.
    """
    state.idle_specs[key] = None
    if len(state.idle_specs) > state.policy.idle_specs_max:
        oldest, _ = state.idle_specs.popitem(last=False)
        unwatch(state, state.specs.pop(oldest).spec)
