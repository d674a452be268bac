"""Where a job stands among those that wait: its class, its rank there, and the class's heap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Any

from kos_ray.model.ids import MS_US, JobKey
from kos_ray.model.job import Demands, JobState
from kos_ray.model.policy import Discipline, Model
from kos_ray.model.where import ANYWHERE
from kos_ray.scheduler.advice import UNADVISED, note_unadvised, rank_by_advice
from kos_ray.scheduler.jobs import OVERDUE, ClassKey, Job, JobClass, SpecEntry
from kos_ray.scheduler.models import under_model
from kos_ray.scheduler.shares import account_of
from kos_ray.scheduler.state import Account, State

#: where those stand whose namespace is blind to bands
_BLIND_BAND = 3
_LOWEST_BAND = 5
#: so many are never too many
_CLASSES_MIN = 256
_NO_DEADLINE = 1 << 62
_RANKED = (Discipline.LIFO, Discipline.DEADLINE, Discipline.DEPENDENCY_GRAPH, Discipline.PLUGIN)


def class_for(
    state: State,
    entry: SpecEntry,
    band: int,
    now_us: int,
    *,
    user: str = "",
    lower: int = 0,
    overdue: bool = False,
    demands: Demands | None = None,
    words: tuple[str, ...] = (),
) -> JobClass:
    """The class of a spec's jobs in a band. `lower`: so many bands behind it, for a burst; `demands`: the spec's."""
    spec = entry.spec
    where = None if spec.where is ANYWHERE else spec.where
    name = ClassKey(band, band, entry.kind, demands or spec.demands, user, _length(entry), where, words)
    name = order_of(state.discipline(spec.namespace), name)
    name = under_model(state, name, spec, now_us)
    if overdue:
        name = replace(name, order=OVERDUE)
    elif lower:
        name = replace(name, order=min(name.order + lower, max(name.order, _LOWEST_BAND)))
    return class_named(state, name)


def _length(entry: SpecEntry) -> int:
    """The declared run time in milliseconds, to four significant bits, so that classes stay few."""
    run_ms = entry.spec.run_ms
    blur = max(0, run_ms.bit_length() - 4)
    return run_ms >> blur << blur


def order_of(discipline: Discipline, name: ClassKey) -> ClassKey:
    """Where a class stands under a discipline."""
    blind = discipline in (Discipline.FIFO, Discipline.LIFO)
    # the user stays known when the discipline changes, and is asked for where users share fairly
    return replace(name, order=_BLIND_BAND if blind else name.band)


def class_named(state: State, name: ClassKey) -> JobClass:
    """The class of that name, made when it is new."""
    found = state.classes.get(name)
    if found is None:
        namespace = name.kind.namespace
        discipline, plugin = state.ordering(namespace)
        by_user = name.user and discipline is Discipline.FAIR_SHARE
        account = f"{namespace}\0{name.user}" if by_user else namespace
        ranked = name.order == OVERDUE or discipline in _RANKED
        plugin = "" if name.order == OVERDUE else plugin
        rotates = state.model(namespace) is Model.ROTATIONAL
        found = state.classes[name] = JobClass(name, account, ranked=ranked, plugin=plugin, rotates=rotates)
    return found


def rank(state: State, job: Job) -> int:
    """Where a job stands in a ranked class, lowest first."""
    name = job.job_class.name
    if name.order == OVERDUE:
        return job.since_us + state.policy.aging_us[name.band]
    if job.job_class.plugin:
        return rank_by_advice(state, job)
    discipline = state.discipline(name.kind.namespace)
    if discipline is Discipline.LIFO:
        return -job.key
    if discipline is Discipline.DEADLINE:
        return job.entry.spec.deadline_us or _NO_DEADLINE
    return -job.path_us


def queue(state: State, job: Job) -> None:
    """Put a READY job into its class's heap, unless an entry of it is still there; of a gang that waits, its leader."""
    if state.gang_of and not stands_itself(state, job.key):
        return
    job_class = job.job_class
    if job.queued is not job_class:
        job.queued = job_class
        heappush(job_class.ready, (rank(state, job), job.key) if job_class.ranked else job.key)
        if job_class.plugin:
            note_unadvised(state, job)


def stands_itself(state: State, key: JobKey) -> bool:
    """Whether a READY job has a place in a queue: all have but members of a gang that waits, for whom one stands."""
    gang = state.gang_of.get(key)
    if gang is None or gang.going or gang.leader == key:
        return True
    state.touched[gang.name] = None
    return False


def queue_anew(state: State, job: Job) -> None:
    """The rank of a job has changed: its entry is stale, and where it is READY it gets another one."""
    if not job.job_class.ranked:
        return
    job.queued = None
    if job.state is JobState.READY and job.key not in state.nominated and stands_itself(state, job.key):
        job.queued = job.job_class
        heappush(job.job_class.ready, (rank(state, job), job.key))


def first_ready(state: State, job_class: JobClass) -> JobKey | None:
    """The first READY job of a class that has its turn; stale entries are dropped on the way."""
    ready, jobs, ranked = job_class.ready, state.jobs, job_class.ranked
    while ready:
        entry = ready[0]
        key: JobKey = entry[1] if ranked else entry
        job = jobs.get(key)
        if job is not None and job.queued is job_class:
            if job.state is not JobState.READY or key in state.nominated:
                job.queued = None
            elif not ranked:
                return key
            elif entry[0] == rank(state, job):
                return None if entry[0] == UNADVISED else key
        heappop(ready)
    return None


def count_ready(job_class: JobClass, jobs: Mapping[JobKey, Job], at_most: int) -> int:
    """How many jobs of a class are READY, counted up to a bound."""
    found: set[JobKey] = set()
    for entry in job_class.ready:
        if len(found) >= at_most:
            break
        key: JobKey = entry[1] if job_class.ranked else entry
        job = jobs.get(key)
        if job is not None and job.queued is job_class and job.state is JobState.READY:
            found.add(key)
    return len(found)


def take_first(state: State, job_class: JobClass) -> None:
    """Take the first READY job out of its queue; an older entry of it that is left there is stale from now on."""
    entry = heappop(job_class.ready)
    state.jobs[entry[1] if job_class.ranked else entry].queued = None


def place_in_class(job_class: JobClass, head: JobKey) -> tuple[int, JobKey]:
    """The rank of a class's head against other classes of its account and order."""
    return (job_class.ready[0][0] if job_class.ranked else 0, head)


def drop_unused(state: State) -> None:
    """Forget classes that no live job is of, once there are twice as many as were left the last time."""
    if len(state.classes) <= max(_CLASSES_MIN, 2 * state.classes_left):
        return
    used = {job.job_class for job in state.jobs.values()}
    state.classes = {name: found for name, found in state.classes.items() if found in used}
    state.classes_left = len(state.classes)


def start_waiting(state: State, jobs: Iterable[Job], now_us: int) -> None:
    """Jobs could start from now on, for the first time or again: note when they will have waited long enough."""
    due: dict[int, list[JobKey]] = {}
    fresh: dict[JobClass, list[JobKey]] = {}
    for job in jobs:
        job_class = job.job_class
        if job.since_us < 0:
            job.since_us = now_us
            fresh.setdefault(job_class, []).append(job.key)
        elif job_class.order != OVERDUE and (wait_us := state.policy.aging_us[job_class.band]):
            due.setdefault(job.since_us + wait_us, []).append(job.key)
    for job_class, keys in fresh.items():
        wait_us = state.policy.aging_us[job_class.band]
        if wait_us:
            due.setdefault(now_us + wait_us, []).extend(keys)
        if state.queue_limits:
            for key in keys:
                if queue_ms := state.jobs[key].entry.spec.queue_ms:
                    heappush(state.queue_ends, (now_us + queue_ms * MS_US, (key,)))
    for due_us, keys in due.items():
        heappush(state.aging, (due_us, tuple(keys)))


def wait_anew(state: State, keys: Sequence[JobKey], now_us: int) -> None:
    """Jobs that were held may start from now on: the time in which they are to be entered begins with it."""
    limits = {key: queue_ms for key in keys if (queue_ms := state.jobs[key].entry.spec.queue_ms)}
    if not limits:
        return
    state.queue_ends = [entry for entry in state.queue_ends if entry[1][0] not in limits]
    heapify(state.queue_ends)
    for key, queue_ms in limits.items():
        if state.jobs[key].since_us >= 0:  # else it begins when it is ready for the first time
            heappush(state.queue_ends, (now_us + queue_ms * MS_US, (key,)))


def burst_of(state: State, namespace: str, count: int, now_us: int) -> bool:
    """Count a submission; whether it comes on top of as many as the policy takes for a burst."""
    policy = state.policy
    if not policy.burst_jobs:
        return False
    account = account_of(state, namespace)
    start_us, jobs = _burst_at(account, policy.burst_us, now_us)
    account.burst = (start_us, jobs + count)
    return jobs >= policy.burst_jobs


def on_top(state: State, namespace: str, count: int, now_us: int) -> bool | None:
    """Whether so many jobs, one by one, come on top of a burst; None: only the last. Nothing is counted."""
    policy = state.policy
    if not policy.burst_jobs:
        return False
    _, jobs = _burst_at(account_of(state, namespace), policy.burst_us, now_us)
    if jobs >= policy.burst_jobs:
        return True
    return False if jobs + count <= policy.burst_jobs else None


def _burst_at(account: Account, burst_us: int, now_us: int) -> tuple[int, int]:
    """When the account's present burst began, and its jobs so far."""
    start_us, jobs = account.burst
    return (now_us, 0) if now_us - start_us >= burst_us else (start_us, jobs)


def reclass(state: State, job: Job, job_class: JobClass) -> None:
    """Move a job to another class; its entry in the old one is stale."""
    job.job_class = job_class
    if job.state is JobState.READY:
        queue(state, job)


def rebuild(state: State, moved: Iterable[tuple[Job, JobClass]] = ()) -> None:
    """Make all heaps anew, after the policy changed or from a snapshot."""
    for job, job_class in moved:
        job.job_class = job_class
    entries: dict[JobClass, list[Any]] = {found: [] for found in state.classes.values()}
    for job in state.jobs.values():
        job.queued = None
        if job.state is JobState.READY and job.key not in state.nominated and stands_itself(state, job.key):
            found = job.queued = job.job_class
            entries[found].append((rank(state, job), job.key) if found.ranked else job.key)
            if found.plugin:
                note_unadvised(state, job)
    for found, ready in entries.items():
        heapify(ready)
        found.ready = ready


def withdraw(state: State, key: JobKey) -> None:
    """No room is being made for a job any more: it waits among the others again."""
    del state.nominated[key]
    job = state.jobs.get(key)
    if job is not None and job.state is JobState.READY:
        queue(state, job)
