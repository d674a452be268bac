"""The steps that moves are made of: jobs into and out of queues and lanes, and reservations with them.

Used by `apply.py` (events and decisions) and by `place.py`, which changes the state as it goes through its pass.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

from kos_ray.model.errors import IllegalMove
from kos_ray.model.ids import JobKey, NodeId, SpecKey
from kos_ray.model.job import LEGAL_MOVES, JobState, SlotKind
from kos_ray.model.resources import add
from kos_ray.scheduler.state import Job, JobClass, Lane, State


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
    todo.unblocked.pop(key, None)
    todo.unmeetable.pop(key, None)
    todo.cancelled.pop(key, None)
    todo.held.pop(key, None)
    todo.paused.pop(key, None)


def class_of(state: State, band: int, kind: SlotKind) -> JobClass:
    """The class of a band and a kind, made when it is new."""
    job_class = state.classes.get((band, kind))
    if job_class is None:
        job_class = state.classes[band, kind] = JobClass(band, kind)
    return job_class


def queue(job: Job) -> None:
    """Put a READY job into its class's heap, unless an entry of it is still there."""
    if job.queued is not job.job_class:
        job.queued = job.job_class
        heappush(job.job_class.ready, job.key)


def first_ready(state: State, job_class: JobClass) -> JobKey | None:
    """The first READY job of a class; entries of jobs that are READY no more are dropped on the way."""
    ready, jobs = job_class.ready, state.jobs
    while ready:
        job = jobs.get(ready[0])
        if job is not None and job.queued is job_class:
            if job.state is JobState.READY:
                return ready[0]
            job.queued = None
        heappop(ready)
    return None


def take_first(state: State, job_class: JobClass) -> None:
    """Take the first READY job out of its queue; an older entry of it that is left there is stale from now on."""
    state.jobs[heappop(job_class.ready)].queued = None


def launch(
    state: State,
    node_id: NodeId,
    kind: SlotKind,
    keys: Iterable[JobKey],
    now_us: int,
    *,
    attempts: Iterable[int] | None = None,
) -> None:
    """Put jobs into a lane. Placement calls it with each run it chose, recovery with the recorded decision."""
    node = state.nodes[node_id]
    lane = node.lanes.get(kind)
    if lane is None:
        lane = node.lanes[kind] = Lane(kind)
    jobs = state.jobs
    for key in keys:
        job = jobs[key]
        move(job, JobState.LAUNCHED)
        job.attempt += 1
        job.node = node_id
        job.queued = None
        job.recall_asked = False
        job.estimate_us = job.entry.mean_us
        lane.held[key] = job.attempt
        lane.load_us += job.estimate_us
    if attempts is not None:
        for key, attempt in zip(keys, attempts, strict=True):
            if jobs[key].attempt != attempt:
                raise IllegalMove(f"{story(jobs[key])}: the journal launched attempt {attempt}")
    note_idle(state, node_id, lane, now_us)


def lane_of(state: State, job: Job) -> Lane:
    """Where a job's attempt is."""
    assert job.node is not None
    return state.nodes[job.node].lanes[job.job_class.kind]


def leave_lane(state: State, job: Job, now_us: int) -> None:
    """Take a job's attempt out of its lane."""
    lane = lane_of(state, job)
    del lane.held[job.key]
    lane.load_us -= job.estimate_us
    if job.state is JobState.RUNNING:
        lane.running -= 1
    assert job.node is not None
    note_idle(state, job.node, lane, now_us)
    job.node = None


def set_slots(state: State, node_id: NodeId, kind: SlotKind, slots: int, now_us: int) -> None:
    """Change how many reservations a kind holds on a node, and the ledger with it."""
    node = state.nodes[node_id]
    lane = node.lanes.get(kind)
    if lane is None:
        lane = node.lanes[kind] = Lane(kind)
    add(node.free, kind.resources, lane.slots - slots)
    node.slots += slots - lane.slots
    lane.slots = slots
    note_idle(state, node_id, lane, now_us)
    if not lane.slots and not lane.held:
        del node.lanes[kind]
        state.idle_lanes.pop((node_id, kind), None)


def note_idle(state: State, node_id: NodeId, lane: Lane, now_us: int) -> None:
    """Keep the list of lanes with idle slots, and since when they are."""
    place = (node_id, lane.kind)
    if not lane.idle:
        state.idle_lanes.pop(place, None)
    elif place not in state.idle_lanes:
        state.idle_lanes[place] = None
        lane.idle_since_us = now_us


def rest_spec(state: State, key: SpecKey) -> None:
    """Note that a spec has no live job; forget the one that has been idle the longest when there are too many.

    Only here, never while submissions are folded: those rely on the specs that the state had before them.
    """
    state.idle_specs[key] = None
    if len(state.idle_specs) > state.policy.idle_specs_max:
        oldest = next(iter(state.idle_specs))
        del state.idle_specs[oldest]
        del state.specs[oldest]
