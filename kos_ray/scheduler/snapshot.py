"""The whole state as plain data and back: what a snapshot holds. Columns by kind; nothing is derived twice."""

from collections import OrderedDict
from typing import Any

from kos_ray.model.dependency import Ended, Rule
from kos_ray.model.events import JobDependency
from kos_ray.model.gang import GangMode, OnFailure
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import JobState, SlotKind, Spec
from kos_ray.model.node import Mark, Node
from kos_ray.model.policy import Policy
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import Resources, add
from kos_ray.model.windows import Windows
from kos_ray.model.wire import from_plain, to_plain
from kos_ray.scheduler import agents, coordination, desk, pressure
from kos_ray.scheduler.desk import Desk
from kos_ray.scheduler.hearing import rebuild_silences
from kos_ray.scheduler.jobs import ClassKey, Gang, Group, Job, SpecEntry, Waiting
from kos_ray.scheduler.learnt import Histogram, Kind
from kos_ray.scheduler.ledger import count_on_nodes
from kos_ray.scheduler.marks import set_marks, set_retires
from kos_ray.scheduler.queues import class_named, rebuild
from kos_ray.scheduler.quota import ROOT, Tree
from kos_ray.scheduler.schedule_snapshot import from_snapshot, to_snapshot
from kos_ray.scheduler.schedules import Schedules
from kos_ray.scheduler.shares import account_of, paths
from kos_ray.scheduler.sites import arrive, named_by
from kos_ray.scheduler.state import Lane, NodeState, State

_JOB_FIELDS = (
    *("spec", "attempt", "failures", "losses", "undelivered", "node", "entered", "due_us", "estimate_us"),
    "recall_asked",
    *("held", "cancelled", "since_us", "started_us", "saved_us", "path_us", "evicted_for", "evictions", "barred"),
)


def state_to_plain(state: State) -> Any:
    """Plain data for a state between two steps (nothing is left to be decided), which goes on without changing them."""
    if state.todo.unsettled:
        raise ValueError("a snapshot is taken between steps")
    return {
        "policy": to_plain(state.policy),
        "epoch": state.epoch,
        "next_key": state.next_key,
        **_jobs_to_plain(state),
        **_waits_to_plain(state),
        **_use_to_plain(state),
        **_nodes_to_plain(state),
        "schedules": to_snapshot(state.schedules),
        "agents": agents.to_snapshot(state.agents),
        "coordination": coordination.to_snapshot(state.coordination),
        "dispatch": desk.to_snapshot(state.dispatch),
    }


def resumed(loaded: tuple[int, Any] | None) -> tuple[int, State]:
    """The sequence number and the state to fold on from: 0 and an empty one without a snapshot that can be read.

    One of another version may lack or have what this one does not expect. The frames have it all.
    """
    if loaded is None:
        return 0, State()
    seq, plain = loaded
    try:
        return seq, state_from_plain(plain)
    except Exception:  # noqa: BLE001 - its form is another version's: nothing is known of how it fails
        return 0, State()


def state_from_plain(plain: Any) -> State:
    """The inverse of `state_to_plain`."""
    state = State(policy=from_plain(Policy, plain["policy"]), epoch=plain["epoch"], next_key=JobKey(plain["next_key"]))
    state.tree = Tree(state.policy.namespaces, state.capacity)
    # classes are made by it
    state.advice = {plugin: dict(ranks) for plugin, ranks in plain["advice"]}
    state.plugins_off = dict(plain["plugins_off"])
    _jobs_from_plain(state, plain)
    _waits_from_plain(state, plain)
    _use_from_plain(state, plain)
    _nodes_from_plain(state, plain)
    _count(state)
    state.left = {word: {NodeId(node): None for node in nodes} for word, nodes in plain["left"]}
    rebuild(state)
    state.touched.clear()
    return state


# --- jobs, and what they are alike in


def _jobs_to_plain(state: State) -> dict[str, Any]:
    numbers = {job_class: number for number, job_class in enumerate(state.classes.values())}
    return {
        "specs": [(key, to_plain(entry.spec), entry.mean_us) for key, entry in state.specs.items()],
        "idle_specs": list(state.idle_specs),
        "classes": [to_plain(name) for name in state.classes],
        "jobs": [
            (
                *(job.key, int(job.state), numbers[job.job_class], int(job.stopped_by)),
                tuple(getattr(job, name) for name in _JOB_FIELDS),
            )
            for job in state.jobs.values()
        ],
        "sizes": list(state.sizes.items()),
        "crashes": list(state.crashes.items()),
    }


def _jobs_from_plain(state: State, plain: Any) -> None:
    classes = [class_named(state, from_plain(ClassKey, name)) for name in plain["classes"]]
    for key, spec_plain, mean_us in plain["specs"]:
        entry = state.specs[key] = SpecEntry(from_plain(Spec, spec_plain))
        entry.mean_us = mean_us
        for word in named_by(entry.spec):
            state.watched[word] = state.watched.get(word, 0) + 1
    state.idle_specs = OrderedDict.fromkeys(plain["idle_specs"])
    for key, job_state, number, stopped_by, values in plain["jobs"]:
        fields = dict(zip(_JOB_FIELDS, values, strict=True))
        entry = state.specs[fields["spec"]]
        entry.live += 1
        job = state.jobs[key] = Job(key, fields["spec"], entry, classes[number], JobState(job_state))
        job.stopped_by = Reason(stopped_by)
        for name, value in fields.items():
            setattr(job, name, value)
        job.barred = None if job.barred is None else (job.barred[0], job.barred[1])
    state.sizes = {JobKey(key): size for key, size in plain["sizes"]}
    state.crashes = {JobKey(key): count for key, count in plain["crashes"]}


# --- what jobs wait for, until when, and who waits for them; schedules and agents, which have jobs


def _waits_to_plain(state: State) -> dict[str, Any]:
    jobs = state.jobs.values()
    return {
        "dependencies": [to_plain(job.dependency) for job in jobs if job.dependency is not None],
        "waiting": [_waiting_to_plain(job.key, job.waiting) for job in jobs if job.waiting is not None],
        "dependents": [(key, list(children)) for key, children in state.dependents.items()],
        "starters": [(key, list(children)) for key, children in state.starters.items()],
        "lines": [(name, list(line)) for name, line in state.lines.items()],
        "children": [(key, list(children)) for key, children in state.children.items()],
        "closing": [(key, *map(int, ended)) for key, ended in state.closing.items()],
        "groups": [
            (name, group.max_failures, group.failed, group.given_up, list(group.live))
            for name, group in state.groups.items()
        ],
        "gangs": [_gang_to_plain(gang) for gang in state.gangs.values()],
        "due": list(state.due),
        "aging": list(state.aging),
        "deadlines": list(state.deadlines),
        "missed": list(state.missed),
        "queue_ends": list(state.queue_ends),
        "queue_over": list(state.queue_over),
        "heard": list(state.heard.items()),
        "longer_lease": state.longer_lease,
        "retry_us": state.retry_us,
    }


def _waiting_to_plain(key: JobKey, waiting: Waiting) -> Any:
    return key, int(waiting.rule), waiting.pending, tuple(waiting.counts), waiting.in_line


def _waits_from_plain(state: State, plain: Any) -> None:
    for dependency_plain in plain["dependencies"]:
        dependency = from_plain(JobDependency, dependency_plain)
        state.jobs[dependency.key].dependency = dependency
    _those_with_jobs_from_plain(state, plain)
    _instants_from_plain(state, plain)
    for key, rule, pending, counts, in_line in plain["waiting"]:
        waiting = state.jobs[key].waiting = Waiting(Rule(rule))
        waiting.pending, waiting.counts, waiting.in_line = pending, list(counts), in_line
    state.dependents = {key: [tuple(child) for child in children] for key, children in plain["dependents"]}
    state.starters = {JobKey(key): list(children) for key, children in plain["starters"]}
    state.lines = {name: dict.fromkeys(keys) for name, keys in plain["lines"]}
    for key, keys in plain["children"]:
        state.children[key] = dict.fromkeys(keys)
        state.parent_of.update(dict.fromkeys(keys, key))
    state.closing = {key: (JobState(outcome), Ended(ended)) for key, outcome, ended in plain["closing"]}
    for name, max_failures, failed, is_given_up, keys in plain["groups"]:
        group = state.groups[name] = Group(max_failures)
        group.failed, group.given_up, group.live = failed, is_given_up, dict.fromkeys(keys)
        state.group_of.update(dict.fromkeys(keys, name))
    _gangs_from_plain(state, plain)


def _those_with_jobs_from_plain(state: State, plain: Any) -> None:
    state.schedules = from_snapshot(plain["schedules"]) if "schedules" in plain else Schedules()
    state.agents = agents.from_snapshot(plain.get("agents", ()))
    state.coordination = coordination.from_snapshot(plain.get("coordination", {}))
    state.dispatch = desk.from_snapshot(plain["dispatch"]) if "dispatch" in plain else Desk()
    state.dispatch.used = state.dispatch.used or any(entry.spec.to is not None for entry in state.specs.values())


def _instants_from_plain(state: State, plain: Any) -> None:
    state.due = [tuple(timer) for timer in plain["due"]]
    state.aging = [(due_us, tuple(keys)) for due_us, keys in plain["aging"]]
    state.deadlines = [(at_us, tuple(keys)) for at_us, keys in plain["deadlines"]]
    state.missed = dict.fromkeys(plain["missed"])
    state.longer_lease = (plain["longer_lease"][0], plain["longer_lease"][1])
    state.queue_ends = [(at_us, tuple(keys)) for at_us, keys in plain["queue_ends"]]
    state.queue_over = dict.fromkeys(plain.get("queue_over", ()))
    state.queue_limits = any(entry.spec.queue_ms for entry in state.specs.values())
    state.heard = {JobKey(key): heard_us for key, heard_us in plain.get("heard", ())}
    rebuild_silences(state)
    state.heartbeats = any(entry.spec.heartbeat_ms for entry in state.specs.values())
    state.retry_us = plain["retry_us"]


# --- what accounts have used, and what is known of run times


def _use_to_plain(state: State) -> dict[str, Any]:
    return {
        "accounts": [(name, account.share, account.at_us, account.burst) for name, account in state.accounts.items()],
        "used": [(place, amount) for place, amount in state.used.items()],
        "buckets": list(state.buckets.items()),
        "advice": [(plugin, list(ranks.items())) for plugin, ranks in state.advice.items()],
        "plugins_off": list(state.plugins_off.items()),
        "learnt": [_kind_to_plain(kind, histogram) for kind, histogram in state.learnt.kinds.items()],
    }


def _use_from_plain(state: State, plain: Any) -> None:
    state.learnt.kinds = OrderedDict(_kind_from_plain(*kind) for kind in plain["learnt"])
    for name, share, at_us, burst in plain["accounts"]:
        account = account_of(state, name)
        account.share, account.at_us, account.burst = share, at_us, (burst[0], burst[1])
    state.used = {(place[0], place[1]): amount for place, amount in plain["used"]}
    state.buckets = {name: (bucket[0], bucket[1]) for name, bucket in plain["buckets"]}


# --- nodes, and what people and they themselves say of them


def _nodes_to_plain(state: State) -> dict[str, Any]:
    return {
        "nodes": [_node_to_plain(node) for node in state.nodes.values()],
        "idle_lanes": [(node, to_plain(kind)) for kind, nodes in state.idle_lanes.items() for node in nodes],
        "starts": list(state.starts.items()),
        "nominated": list(state.nominated.items()),
        "left": [(word, list(nodes)) for word, nodes in state.left.items()],
        **_said_of_nodes(state),
    }


def _nodes_from_plain(state: State, plain: Any) -> None:
    state.starts = dict(plain["starts"])
    state.nominated = {JobKey(key): NodeId(node) for key, node in plain["nominated"]}
    for node_plain in plain["nodes"]:
        node = _node_from_plain(state, node_plain)
        state.nodes[node.node.id] = node
        state.rooms.join(node)
        if node.taken:
            state.taken_nodes[node.node.id] = None
    _said_of_nodes_from_plain(state, plain)
    for node_id, kind_plain in plain["idle_lanes"]:
        kind = from_plain(SlotKind, kind_plain)
        state.idle_lanes.setdefault(kind, {})[NodeId(node_id)] = None
        state.nodes[node_id].lanes[kind].noted = True


def _said_of_nodes(state: State) -> dict[str, Any]:
    return {
        "marks": [to_plain(mark) for mark in state.marks.values()],
        "windows": [to_plain(windows) for windows in state.windows.values()],
        "pressure": pressure.to_snapshot(state.pressure),
    }


def _said_of_nodes_from_plain(state: State, plain: Any) -> None:
    state.pressure = pressure.from_snapshot(plain.get("pressure"))
    for node_id, said in state.pressure.nodes.items():
        state.nodes[node_id].pressed = tuple(said.loads.items())
    windows = [from_plain(Windows, found) for found in plain["windows"]]
    state.windows = {found.scope: found for found in windows}
    set_marks(state, [from_plain(Mark, mark) for mark in plain["marks"]])


def _kind_to_plain(kind: Kind, found: Histogram) -> Any:
    namespace, job_type, shape, size = kind
    asked = None if shape is None else to_plain(shape)
    return (namespace, job_type, asked, size), list(found.weights.items()), found.runs, found.quantiles, found.due


def _kind_from_plain(kind: Any, weights: Any, runs: int, quantiles: Any, due: int) -> tuple[Kind, Histogram]:
    namespace, job_type, asked, size = kind
    found = Histogram()
    found.weights, found.runs, found.due = dict(weights), runs, due
    found.quantiles = (quantiles[0], quantiles[1], quantiles[2])
    return (namespace, job_type, None if asked is None else from_plain(Resources, asked), size), found


def _gang_to_plain(gang: Gang) -> Any:
    said = (gang.name, gang.members, gang.least, int(gang.mode), int(gang.on_failure))
    stands = (gang.going, gang.round, gang.leader, int(gang.over), gang.succeeded)
    return (
        *said,
        list(gang.live),
        *stands,
        list(gang.losses),
        [(node, to_plain(kept)) for node, kept in gang.room.items()],
    )


def _gangs_from_plain(state: State, plain: Any) -> None:
    for name, members, least, mode, on_failure, live, going, number, leader, over, succeeded, losses, room in plain[
        "gangs"
    ]:
        gang = state.gangs[name] = Gang(name, tuple(members), least, GangMode(mode), OnFailure(on_failure))
        gang.live = dict.fromkeys(live)
        gang.going, gang.round, gang.leader, gang.over = going, number, leader, Reason(over)
        gang.succeeded = succeeded
        gang.losses = [(rank, tuple(heirs)) for rank, heirs in losses]
        gang.room = {NodeId(node): from_plain(Resources, kept) for node, kept in room}
        state.gang_of.update(dict.fromkeys(live, gang))


def _count(state: State) -> None:
    """What is kept only to be quick: sums over nodes, lanes and jobs."""
    for node in state.nodes.values():
        add(state.capacity, node.node.resources, 1)
        for lane in node.lanes.values():
            state.lanes.setdefault(lane.kind, {})[node.node.id] = lane
            for name in {ROOT, *paths(lane.kind.namespace)}:
                add(state.reserved.setdefault(name, {}), lane.kind.resources, lane.slots)
            for key in lane.held:
                state.jobs[key].kind = lane.kind
                state.jobs[key].lane = lane
                count_on_nodes(state, state.jobs[key], 1)
                if state.jobs[key].job_class.special:
                    arrive(state, state.jobs[key].job_class, node.node.id, 1)
                if state.jobs[key].state is JobState.STOPPING:
                    state.stopping[key] = None
    for job in state.jobs.values():
        if job.evicted_for is not None and job.node is not None:
            state.making[job.evicted_for] = state.making.get(job.evicted_for, 0) + 1


def _node_to_plain(node: NodeState) -> Any:
    return (
        to_plain(node.node),
        dict(node.free),
        [
            (to_plain(lane.kind), lane.slots, list(lane.held.items()), lane.idle_since_us)
            for lane in node.lanes.values()
        ],
        [(to_plain(kind), until, times) for kind, (until, times) in node.taken.items()],
        (node.battery, node.gpu_free, node.silent, node.retires),
    )


def _node_from_plain(state: State, plain: Any) -> NodeState:
    node_plain, free, lanes, taken, (battery, gpu_free, *closed) = plain
    node = NodeState(from_plain(Node, node_plain))
    node.free = dict(free)
    node.battery, node.gpu_free = battery, tuple(gpu_free)
    # snapshots of before do not say these
    node.silent = bool(closed[0]) if closed else False
    set_retires(state, node, closed[1] if len(closed) > 1 else 0)
    for kind_plain, slots, held, idle_since_us in lanes:
        lane = Lane(from_plain(SlotKind, kind_plain))
        lane.slots, lane.idle_since_us = slots, idle_since_us
        lane.held = {JobKey(key): attempt for key, attempt in held}
        lane.load_us = sum(state.jobs[key].estimate_us for key in lane.held)
        lane.running = sum(state.jobs[key].state is JobState.RUNNING for key in lane.held)
        node.lanes[lane.kind] = lane
        if not lane.kind.receiver:
            node.slots += slots
    node.taken = {from_plain(SlotKind, kind): (until, times) for kind, until, times in taken}
    return node
