"""The journal against the state in memory: two folds of one history must be the same."""

from collections.abc import Callable
from typing import Any

from kos_ray.engine.ports import Frame
from kos_ray.journal.snapshots import MemorySnapshots
from kos_ray.journal.store import Journal
from kos_ray.journal.verify import verify
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.scheduler import invariants
from kos_ray.scheduler.jobs import OVERDUE, JobClass
from kos_ray.scheduler.machine import recover, rehearse
from kos_ray.scheduler.snapshot import state_from_plain, state_to_plain
from kos_ray.scheduler.state import State
from kos_ray.sim.world import Violation


def check_journal(journal: Journal) -> None:
    """The chain holds, and the rows are what the frames say."""
    report = verify(journal)
    if not report.good:
        raise Violation(f"the journal contradicts itself: {report}")


def check_folds(journal: Journal, snapshots: MemorySnapshots, live: State) -> None:
    """From scratch, from every snapshot, and in memory: one state."""
    expected = comparable(live)
    _compare("folded from the beginning", fold(journal), expected)
    snapshot = snapshots.load_newest(journal)
    if snapshot is not None:
        after, plain = snapshot
        _compare(f"folded from the snapshot at {after}", fold(journal, after, state_from_plain(plain)), expected)


def check_again(journal: Journal, look: Callable[[State, Frame], None] = lambda _state, _frame: None) -> None:
    """Every frame of the journal is decided again as it was; `look` is shown the state behind each."""
    state = State()
    for frame in journal.frames():
        found = rehearse(state, frame.events, frame.decisions, frame.now_us)
        if found is not None:
            raise Violation(f"frame {frame.first_seq}..{frame.last_seq} is decided otherwise: {found}")
        look(state, frame)


def fold(journal: Journal, after: int = 0, state: State | None = None) -> State:
    """The state that a journal's frames beyond `after` lead to."""
    state = state or State()
    for frame in journal.frames(after):
        recover(state, frame.events, frame.decisions, frame.now_us)
    return state


def _compare(what: str, state: State, expected: dict[str, Any]) -> None:
    found = invariants.check(state)
    if found:
        raise Violation(f"{what}, an invariant does not hold: {found}")
    actual = comparable(state)
    for name, value in expected.items():
        if actual[name] != value:
            raise Violation(f"{what}, {name} differ: expected {value}, found {actual[name]}")


def comparable(state: State) -> dict[str, Any]:
    """A state as plain data without what has no meaning: the order of sets, heaps and dictionaries, stale entries."""
    plain: dict[str, Any] = dict(state_to_plain(state))
    blocked = {job.key for job in state.jobs.values() if job.state is JobState.BLOCKED}
    names = [repr(name) for name in state.classes]
    plain["jobs"] = sorted(
        (key, value, names[number], why, fields) for key, value, number, why, fields in plain["jobs"]
    )
    plain["dependencies"] = sorted(plain["dependencies"], key=lambda item: item["key"])
    plain["dependents"] = sorted(
        (parent, sorted(child for child in children if child[0] in blocked))
        for parent, children in state.dependents.items()
        if any(child in blocked for child, _ in children)
    )
    plain["starters"] = sorted(
        (parent, sorted(child for child in children if child in blocked))
        for parent, children in state.starters.items()
        if any(child in blocked for child in children)
    )
    plain["waiting"] = sorted(entry for entry in plain["waiting"] if entry[0] in blocked)
    queues = {name: sorted(_queued(state, found)) for name, found in state.classes.items()}
    plain["classes"] = sorted((repr(name), keys) for name, keys in queues.items() if keys)
    plain["aging"] = sorted(
        (due_us, keys)
        for due_us, keys in plain["aging"]
        if any(key in state.jobs and state.jobs[key].job_class.order != OVERDUE for key in keys)
    )
    # of jobs that are over: dropped when their instant comes, which may leave no frame
    plain["deadlines"] = [(at_us, keys) for at_us, keys in plain["deadlines"] if any(key in state.jobs for key in keys)]
    for name in ("nominated", "accounts", "used", "buckets", "lines", "groups", "children", "closing", "gangs"):
        plain[name] = sorted(plain[name])
    plain["windows"] = sorted(repr(windows) for windows in state.windows.values())
    plain["marks"] = sorted(repr(mark) for mark in state.marks.values())
    for name, counts in (("left", state.left), ("present", state.present), ("shunned", state.shunned)):
        plain[name] = sorted((word, sorted(dict(nodes).items())) for word, nodes in counts.items() if nodes)
    plain["watched"] = sorted(state.watched.items())
    for name in ("deadlines", "missed", "starts", "plugins_off", "sizes"):
        plain[name] = sorted(plain[name])
    plain["advice"] = sorted((plugin, sorted(ranks)) for plugin, ranks in plain["advice"])
    # a hint for the next step, which every step makes anew
    plain["retry_us"] = None
    plain["due"] = sorted(
        (due_us, key)
        for due_us, key in state.due
        if (job := state.jobs.get(key)) and job.state is JobState.BACKOFF and job.due_us == due_us
    )
    plain["specs"] = sorted(plain["specs"], key=lambda spec: int(spec[0]))
    plain["idle_lanes"] = sorted((node, repr(kind)) for kind, nodes in state.idle_lanes.items() for node in nodes)
    plain["nodes"] = sorted(_node(state, node_id) for node_id in state.nodes)
    return plain


def _queued(state: State, job_class: JobClass) -> set[JobKey]:
    """The READY jobs that wait in a class; other entries of its heap are stale."""
    keys = (entry[1] if job_class.ranked else entry for entry in job_class.ready)
    jobs = ((key, state.jobs.get(key)) for key in keys)
    return {key for key, job in jobs if job and job.state is JobState.READY and job.queued is job_class}


def _node(state: State, node_id: Any) -> tuple[Any, ...]:
    node = state.nodes[node_id]
    lanes = [
        (
            repr(lane.kind),
            lane.slots,
            lane.load_us,
            lane.running,
            lane.idle and lane.idle_since_us,
            [*lane.held.items()],
        )
        for lane in node.lanes.values()
    ]
    taken = sorted((repr(kind), until_us, times) for kind, (until_us, times) in node.taken.items())
    said = repr((node.node, node.battery, node.gpu_free))
    return node_id, said, sorted(node.free.items()), node.slots, sorted(lanes), taken
