"""What must hold after every step, as named checks. The simulator and the property tests run them all."""

from collections.abc import Callable, Iterator

from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import Eviction, JobState, SlotKind
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add, total
from kos_ray.scheduler import gates
from kos_ray.scheduler.dependencies import judge, line_of, registered
from kos_ray.scheduler.gangs import needed
from kos_ray.scheduler.jobs import LATER
from kos_ray.scheduler.ledger import story
from kos_ray.scheduler.quota import ROOT
from kos_ray.scheduler.shares import paths
from kos_ray.scheduler.sites import arrive, full_word
from kos_ray.scheduler.state import State

_ON_NODE = (JobState.LAUNCHED, JobState.RUNNING, JobState.STOPPING)


def check(state: State) -> list[str]:
    """Every violation, as `check: what was found`; empty when all is well."""
    return [f"{name}: {found}" for name, find in CHECKS.items() for found in find(state)]


def _reservations_fit(state: State) -> Iterator[str]:
    """G5: what our slots reserve and what is free add up to the node, and neither is negative."""
    for node_id, node in state.nodes.items():
        reserved = total(lane.kind.resources for lane in node.lanes.values() for _ in range(lane.slots))
        for name, amount in node.node.resources.amounts:
            free = node.free.get(name, 0)
            if free < 0 or free + reserved.get(name, 0) != amount:
                yield f"node {node_id} {name}: {amount} in all, {reserved.get(name, 0)} reserved, {free} free"
        unknown = set(reserved) - {name for name, _ in node.node.resources.amounts}
        if unknown:
            yield f"node {node_id} has reservations of {sorted(unknown)}, which it has not"
        if node.slots != sum(lane.slots for lane in node.lanes.values() if not lane.kind.receiver):
            yield f"node {node_id} counts {node.slots} slots"


def _one_place(state: State) -> Iterator[str]:
    """A job on a node is held by exactly the lane of its kind there, with its attempt."""
    held: dict[tuple[JobKey, NodeId | None, SlotKind], int] = {
        (key, node_id, lane.kind): attempt
        for node_id, node in state.nodes.items()
        for lane in node.lanes.values()
        for key, attempt in lane.held.items()
    }
    for job in state.jobs.values():
        if job.state in _ON_NODE and job.key not in state.todo.ended:
            place = (job.key, job.node, job.kind)
            if held.pop(place, None) != job.attempt:
                yield f"{story(job)} is not held where it is"
        elif job.node is not None:
            yield f"{story(job)} names a node though it is not on one"
    for key, node_id, _ in held:
        yield f"job {key} is held by {node_id} and should not be"


def _lanes_consistent(state: State) -> Iterator[str]:
    """Counters of a lane equal what they count; attempts wait in a lane only while it has a slot."""
    for node_id, node in state.nodes.items():
        for lane in node.lanes.values():
            running = sum(state.jobs[key].state is JobState.RUNNING for key in lane.held)
            if running != lane.running:
                yield f"lane on {node_id}: {lane.running} running counted, {running} are"
            if lane.load_us != sum(state.jobs[key].estimate_us for key in lane.held):
                yield f"lane on {node_id}: load {lane.load_us} does not add up"
            if lane.held and not lane.slots:
                yield f"lane on {node_id}: {len(lane.held)} attempts and no slot"
            if any(state.jobs[key].lane is not lane for key in lane.held):
                yield f"lane on {node_id} holds a job that is elsewhere"
            if not bool(lane.idle) == lane.noted == (node_id in state.idle_lanes.get(lane.kind, ())):
                yield f"lane on {node_id}: idle {lane.idle}, noted otherwise"


def _ready_queued(state: State) -> Iterator[str]:
    """A READY job stands in the heap of its class, and knows it; one for which room is being made stands aside."""
    queued = {
        id(job_class): {entry[1] if job_class.ranked else entry for entry in job_class.ready}
        for job_class in state.classes.values()
    }
    for key, node in state.nominated.items():
        if key not in state.jobs or state.jobs[key].state is not JobState.READY or node not in state.nodes:
            yield f"room is being made for job {key} on {node}, and it does not wait for it"
    for job in state.jobs.values():
        if (
            job.key not in state.nominated
            and _stands_itself(state, job.key)
            and job.state is JobState.READY
            and (job.queued is not job.job_class or job.key not in queued[id(job.job_class)])
        ):
            yield f"{story(job)} does not stand in its queue"


def _advice_known(state: State) -> Iterator[str]:
    """Who waits for a plug-in's word is known, and nobody has one of a plug-in that has no say."""
    for job in state.jobs.values():
        plugin = job.job_class.plugin
        waits = plugin and job.state is JobState.READY and job.key not in state.nominated
        if (
            waits
            and _stands_itself(state, job.key)
            and job.key not in state.advice.get(plugin, ())
            and job.key not in state.unadvised.get(plugin, ())
        ):
            yield f"{story(job)} waits for the plug-in {plugin!r}, which nobody would ask"
    for plugin, ranks in state.advice.items():
        if plugin in state.plugins_off or not ranks.keys() <= state.jobs.keys():
            yield f"the plug-in {plugin!r} is disabled, or ranks jobs that are over"


def _deadlines_known(state: State) -> Iterator[str]:
    """A job that is to start just in time has a timer for that; who is marked as late is live."""
    timers = {key for _, keys in state.deadlines for key in keys}
    for job in state.jobs.values():
        if job.job_class.order == LATER and job.key not in timers:
            yield f"{story(job)} is to start just in time, and has no timer"
    if not state.missed.keys() <= state.jobs.keys():
        yield "jobs are marked as late that are over"


def _stands_itself(state: State, key: JobKey) -> bool:
    gang = state.gang_of.get(key)
    return gang is None or gang.going or gang.leader == key


def _blocked_waits(state: State) -> Iterator[str]:
    """A BLOCKED job waits for exactly as many live parents as it counts, and its rule lets it wait."""
    for parent in (*state.dependents, *state.starters):
        if parent not in state.jobs and parent not in state.closing:
            yield f"job {parent} is over and others still wait for it"
    waits = registered(state)
    for job in state.jobs.values():
        if job.state is not JobState.BLOCKED:
            continue
        waiting = job.waiting
        if waiting is None or waiting.pending != waits.get(job.key, 0):
            counted = waiting and waiting.pending
            yield f"{story(job)} counts {counted} unmet dependencies, {waits.get(job.key, 0)} are registered"
        elif judge(waiting.rule, waiting.pending, waiting.counts) is not Reason.DEPENDENCY and not waiting.in_line:
            yield f"{story(job)} is blocked by nothing"


def _lines(state: State) -> Iterator[str]:
    """Whoever is first of a line has its turn, all others wait; who is over stands in none."""
    for name, line in state.lines.items():
        for place, key in enumerate(line):
            job = state.jobs.get(key)
            if job is None or line_of(job) != name:
                yield f"job {key} stands in the line {name!r} and should not"
            elif job.waiting is not None and job.waiting.in_line != bool(place):
                yield f"{story(job)} is number {place} of its line and has it otherwise"


def _families(state: State) -> Iterator[str]:
    """Children are live or closing, and know their parent; a parent that is over still has one."""
    known = {child: parent for parent, children in state.children.items() for child in children}
    if known != state.parent_of:
        yield f"children are {known}, noted {state.parent_of}"
    for key in known:
        if key not in state.jobs and key not in state.closing:
            yield f"job {key} is over and still a child"
    for key in state.closing:
        if key in state.jobs or not state.children.get(key):
            yield f"job {key} is closing and has no child, or is not over"


def _groups(state: State) -> Iterator[str]:
    """The items of limited arrays are live, and known as what they are."""
    members = {key: name for name, group in state.groups.items() for key in group.live}
    if members != state.group_of:
        yield f"items of limited arrays are {members}, noted {state.group_of}"
    for key, name in members.items():
        if key not in state.jobs:
            yield f"job {key} is over and still an item of {name!r}"


def _gangs(state: State) -> Iterator[str]:
    """Of a gang that waits nobody runs, of one that goes so many as are needed; and it is known who stands for it."""
    members = {key: gang.name for gang in state.gangs.values() for key in gang.live}
    if members != {key: gang.name for key, gang in state.gang_of.items()}:
        yield f"members of gangs are {members}, noted otherwise"
    for name, gang in state.gangs.items():
        jobs = [state.jobs[key] for key in gang.live]
        running = [job for job in jobs if job.state in (JobState.LAUNCHED, JobState.RUNNING)]
        if gang.going and len(running) < needed(gang):
            yield f"gang {name} goes with {len(running)} of {needed(gang)} members"
        if not gang.going and running:
            yield f"gang {name} waits, and {story(running[0])} runs"
        away = [gang.members[rank] for rank in gang.away() if gang.members[rank] in gang.live]
        if away and (not gang.going or any(job.key in away for job in running)):
            yield f"gang {name} has others do the share of {away}, who are not away"
        if gang.over and any(not job.cancelled for job in jobs):
            yield f"gang {name} is over, and not all of its members are to end"
        waiting = [job.key for job in jobs if job.state is JobState.READY]
        free = not gang.going and not gang.over and all(job.node is None for job in jobs)
        complete = free and bool(waiting) and len(waiting) >= needed(gang)
        if bool(gang.leader) != complete or (gang.leader and gang.leader not in waiting):
            yield f"job {gang.leader} stands for gang {name}, of which {len(waiting)} wait"
    if state.touched or state.todo.shares:
        yield "gangs are left to be looked at"


def _retries_due(state: State) -> Iterator[str]:
    """A job in BACKOFF has a timer."""
    timers = set(state.due)
    for job in state.jobs.values():
        if job.state is JobState.BACKOFF and (job.due_us, job.key) not in timers:
            yield f"{story(job)} has no timer"


def _quotas(state: State) -> Iterator[str]:
    """What is counted as reserved by namespace is what the lanes reserve, and no limit is exceeded by our own doing."""
    reserved: dict[str, dict[str, int]] = {}
    for node in state.nodes.values():
        for lane in node.lanes.values():
            for name in (ROOT, *paths(lane.kind.namespace)):
                add(reserved.setdefault(name, {}), lane.kind.resources, lane.slots)
    for name in set(reserved) | set(state.reserved):
        found, counted = reserved.get(name, {}), state.reserved.get(name, {})
        if {k: v for k, v in found.items() if v} != {k: v for k, v in counted.items() if v}:
            yield f"namespace {name!r} counts {counted}, its slots reserve {found}"


def _counters(state: State) -> Iterator[str]:
    """Counters kept to be quick equal what they count."""
    held = [state.jobs[key] for node in state.nodes.values() for lane in node.lanes.values() for key in lane.held]
    bands = [sum(job.job_class.band == band for job in held) for band in range(len(state.on_nodes))]
    if bands != state.on_nodes:
        yield f"attempts on nodes by band are {bands}, counted {state.on_nodes}"
    savers = sum(job.entry.spec.eviction is Eviction.CHECKPOINT for job in held)
    if savers != state.savers:
        yield f"{savers} attempts can save their state, counted {state.savers}"
    stopping = {job.key for job in held if job.state is JobState.STOPPING}
    if stopping != state.stopping.keys():
        yield f"attempts {sorted(stopping)} are asked to stop, noted {sorted(state.stopping)}"
    making: dict[JobKey, int] = {}
    for job in held:
        if job.evicted_for is not None:
            making[job.evicted_for] = making.get(job.evicted_for, 0) + 1
    if making != state.making:
        yield f"room is being made by {making}, counted {state.making}"


def _demands(state: State) -> Iterator[str]:
    """Licences and concurrency keys are counted as they are held, and no more than there are."""
    held = [state.jobs[key] for node in state.nodes.values() for lane in node.lanes.values() for key in lane.held]
    used: dict[tuple[str, str], int] = {}
    for job in held:
        for place, amount in gates.held(job.job_class):
            used[place] = used.get(place, 0) + amount
    if used != state.used:
        yield f"licences and concurrency keys in use are {used}, counted {state.used}"
    stock = dict(state.policy.licences)
    for (owner, name), amount in used.items():
        if not owner and amount > stock.get(name, amount):
            yield f"{amount} of {stock[name]} licences {name} are in use"


def _neighbours(state: State) -> Iterator[str]:
    """Who is where is counted as it is, and who is to be apart on nodes is."""
    fresh = State()
    held = [
        (node, state.jobs[key])
        for node, found in state.nodes.items()
        for lane in found.lanes.values()
        for key in lane.held
    ]
    for node, job in held:
        arrive(fresh, job.job_class, node, 1)
    if (fresh.present, fresh.shunned) != (state.present, state.shunned):
        yield f"neighbours are {fresh.present}, {fresh.shunned}, counted {state.present}, {state.shunned}"
    for node, job in held:
        for rule in job.job_class.where.jobs:
            apart = {full_word(job.kind.namespace, word) for word in rule.words if rule.apart and not rule.weight}
            for other_node, other in held:
                if other is not job and not rule.by and node == other_node and apart & {*other.job_class.name.words}:
                    yield f"{story(job)} is to be apart from {story(other)}"


def _settled(state: State) -> Iterator[str]:
    """Nothing is left undecided between steps; no final job is kept."""
    if state.todo.unsettled or state.todo.long_lanes:
        yield "events are left to be decided"
    for job in state.jobs.values():
        if job.state.final:
            yield f"{story(job)} is over and still kept"


CHECKS: dict[str, Callable[[State], Iterator[str]]] = {
    "reservations fit": _reservations_fit,
    "one place": _one_place,
    "lanes consistent": _lanes_consistent,
    "ready queued": _ready_queued,
    "advice known": _advice_known,
    "deadlines known": _deadlines_known,
    "blocked waits": _blocked_waits,
    "lines": _lines,
    "groups": _groups,
    "families": _families,
    "gangs": _gangs,
    "retries due": _retries_due,
    "quotas": _quotas,
    "counters": _counters,
    "demands": _demands,
    "neighbours": _neighbours,
    "settled": _settled,
}
