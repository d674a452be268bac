"""Gangs: who stands for one that waits, when it has to start anew, and when it is over.

A gang is *going* or it waits. While it waits, none of its members runs, and one of them, the *leader*, stands in the
queue for all: when its turn comes, so many as are needed start in that pass, or none (`gang_place.py`). So two gangs
never hold each other's room, and a class of gangs that do not fit costs one look. While it goes, members that are left
over stand in the queues like other jobs. When fewer are left than are needed, the rest is stopped and all start again.
Jobs that belong to no gang cost nothing here.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b

from kos_ray.model import decisions as d
from kos_ray.model.events import NewGang
from kos_ray.model.gang import GangMode, Membership, OnFailure
from kos_ray.model.ids import JobKey
from kos_ray.model.job import JobState
from kos_ray.model.reasons import Reason
from kos_ray.scheduler.jobs import Gang, Job
from kos_ray.scheduler.models import expected_us
from kos_ray.scheduler.queues import class_named, queue, reclass
from kos_ray.scheduler.state import State

_RUNS = (JobState.LAUNCHED, JobState.RUNNING)


def join(state: State, new: NewGang) -> None:
    """New jobs that are a gang."""
    members = tuple(JobKey(key) for first, count in new.ranges for key in range(first, first + count))
    gang = state.gangs[new.name] = Gang(new.name, members, new.least, new.mode, new.on_failure)
    state.gang_of.update(dict.fromkeys(members, gang))


def needed(gang: Gang) -> int:
    """How many members have to run at once: those that have succeeded count, and no more than are left."""
    return min(len(gang.live), max(0, gang.least - gang.succeeded))


def jobs(state: State, gang: Gang) -> list[Job]:
    """Its live members, by rank."""
    return [state.jobs[key] for key in gang.live]


def ready(state: State, gang: Gang) -> list[Job]:
    """Its members that wait for room, by rank."""
    return [job for job in jobs(state, gang) if job.state is JobState.READY]


def active(state: State, gang: Gang) -> list[Job]:
    """Its members that run and were not asked to stop, by rank."""
    ended = state.todo.ended
    return [job for job in jobs(state, gang) if job.state in _RUNS and job.key not in ended]


def longest_us(state: State, gang: Gang) -> int:
    """The longest that a member that waits is expected to run, 0 where nobody knows."""
    lengths = [expected_us(state, entry) for entry in {job.entry for job in ready(state, gang)}]
    return max(lengths) if all(lengths) else 0


def is_spare(state: State, job: Job) -> bool:
    """Whether a job that waits is a member by which its gang has shrunk, or may."""
    gang = state.gang_of.get(job.key) if job.entry.shrinks else None
    return gang is not None and gang.going


def memberships(state: State, gang: Gang) -> dict[JobKey, Membership]:
    """What its running members are told of it."""
    places = {job.key: job.node for job in active(state, gang)}
    names = [state.nodes[node].node.name if (node := places.get(member)) else "" for member in gang.members]
    told = Membership(
        name=gang.name,
        rank=0,
        size=len(gang.members),
        round=gang.round,
        nodes=tuple(names),
        losses=tuple(gang.losses),
    )
    return {key: replace(told, rank=rank) for rank, key in enumerate(gang.members) if key in places}


def falling(state: State, leaving: Iterable[JobKey], reason: Reason) -> list[d.StopGang]:
    """The gangs that run no more when these jobs leave."""
    counts: Counter[str] = Counter(state.gang_of[key].name for key in leaving if key in state.gang_of)
    gangs = [(state.gangs[name], count) for name, count in counts.items()]
    return [
        d.StopGang(gang=gang.name, reason=reason)
        for gang, count in gangs
        if gang.going and len(active(state, gang)) - count < needed(gang)
    ]


# --- what must be decided


def verdict(state: State, gang: Gang) -> Reason:
    """GANG_ENDED: members are to end; GANG_RESTARTED: all are to start anew; NONE: nothing is to be done."""
    if gang.over or _doomed(state, gang):
        undone = not gang.over or any(not job.cancelled for job in jobs(state, gang))
        return Reason.GANG_ENDED if undone else Reason.NONE
    if gang.going and len(active(state, gang)) < needed(gang):
        return Reason.GANG_RESTARTED
    return Reason.NONE


def _doomed(state: State, gang: Gang) -> bool:
    """Whether a member is over, or going to be, without which it cannot go on."""
    staying = sum(not job.cancelled for job in jobs(state, gang))
    failed = len(gang.members) - staying - gang.succeeded
    if not failed:
        return False
    if gang.on_failure is OnFailure.ABORT:
        return True
    if gang.on_failure is OnFailure.COMPENSATE and gang.mode is GangMode.ALL:
        return False
    return staying + gang.succeeded < gang.least


def tries_again(state: State, key: JobKey) -> bool:
    """Whether a job whose attempt failed or was lost may be tried again, as far as its gang goes."""
    gang = state.gang_of.get(key)
    if gang is None or gang.on_failure is OnFailure.REPLACE:
        return True
    # where nobody is left to take its share over, it has to do that itself
    heirs = any(other != key and other not in state.todo.ended for other in gang.live)
    return gang.on_failure is OnFailure.COMPENSATE and not heirs


# --- the steps that moves are made of


def stand(state: State) -> None:
    """Of gangs of which something has changed: who stands for them, and whether something must be decided."""
    while state.touched:
        name, _ = state.touched.popitem()
        gang = state.gangs.get(name)
        if gang is None:
            continue
        gang.version += 1
        state.todo.shares[name] = None
        if verdict(state, gang):
            state.todo.gangs[name] = None
        if not gang.going:
            _choose_leader(state, gang)
            state.touched.pop(name, None)


def _choose_leader(state: State, gang: Gang) -> None:
    """Whoever of those that wait is the most urgent stands for all, once so many as are needed wait and none runs."""
    waiting = ready(state, gang)
    complete = (
        waiting
        and not gang.over
        and len(waiting) >= needed(gang)
        and all(job.node is None for job in jobs(state, gang))
    )
    leader = min(waiting, key=lambda job: (job.job_class.order, job.key)) if complete else None
    if gang.leader and (leader is None or leader.key != gang.leader):
        _step_down(state, gang)
    if leader is None:
        return
    gang.leader = leader.key
    name = replace(leader.job_class.name, gang=_shape(gang, waiting))
    if leader.job_class.name != name:
        if leader.key in state.nominated:
            del state.nominated[leader.key]
        reclass(state, leader, class_named(state, name))
    elif leader.key not in state.nominated:
        queue(state, leader)


def _step_down(state: State, gang: Gang) -> None:
    """Nobody stands for the gang any more."""
    leader, gang.leader = state.jobs.get(gang.leader), JobKey(0)
    if leader is None:
        return
    state.nominated.pop(leader.key, None)
    leader.queued = None
    if leader.job_class.name.gang:
        leader.job_class = class_named(state, replace(leader.job_class.name, gang=""))


def _shape(gang: Gang, waiting: list[Job]) -> str:
    """What gangs have in common that are alike for placement: the count, and the shapes where they are several."""
    shapes = Counter(
        (job.entry.kind, job.job_class.demands, repr((job.job_class.where, job.job_class.name.words)))
        for job in waiting
    )
    text = f"{needed(gang)}/{len(waiting)}"
    if len(shapes) == 1:
        return text
    told = repr(sorted(shapes.items()))
    return f"{text} {blake2b(told.encode(), digest_size=8).hexdigest()}"


def start(state: State, gang: Gang, keys: Iterable[JobKey]) -> None:
    """It goes, with these members; the others that wait stand for themselves."""
    _step_down(state, gang)
    gang.going = True
    gang.round += 1
    gang.room.clear()
    starting = frozenset(keys)
    for job in ready(state, gang):
        if job.key not in starting:
            queue(state, job)


def stop(state: State, gang: Gang, reason: Reason, *, final: bool) -> None:
    """It goes no more; whoever waits of it, waits for the others."""
    _step_down(state, gang)
    gang.going = False
    # whoever is away only starts with the others again
    gang.losses = [loss for loss in gang.losses if gang.members[loss[0]] not in gang.live]
    if final:
        gang.over = reason
    for job in ready(state, gang):
        state.nominated.pop(job.key, None)
        job.queued = None
    state.touched[gang.name] = None


def _inherit(gang: Gang, lost: int) -> None:
    """The others take a rank's share over for good, unless some have done so already when it shrank away."""
    away = gang.away()
    live = [rank for rank, member in enumerate(gang.members) if member in gang.live]
    if lost not in away:
        gang.losses.append((lost, tuple(rank for rank in live if rank not in away) or tuple(live)))


def deal_out(state: State) -> None:
    """At the end of a step: those that run do the share of members that shrink and are away, until these run again.

    Not by each decision: a pass launches and evicts in another order than its decisions are folded in.
    """
    for name in state.todo.shares:
        gang = state.gangs.get(name)
        if gang is None or not gang.going or not any(job.entry.shrinks for job in jobs(state, gang)):
            continue
        running = {job.key for job in active(state, gang)}
        heirs = tuple(rank for rank, member in enumerate(gang.members) if member in running)
        losses = [loss for loss in gang.losses if gang.members[loss[0]] not in running]
        known = {rank for rank, _ in losses}
        for rank, member in enumerate(gang.members):
            away = member in gang.live and member not in running and state.jobs[member].entry.shrinks
            if away and heirs and rank not in known:
                losses.append((rank, heirs))
        if losses != gang.losses:
            gang.losses = losses
            gang.version += 1
    state.todo.shares.clear()


def member_over(state: State, key: JobKey, outcome: JobState) -> None:
    """A member is over. Its share goes to the others where they compensate; with the last one the gang is gone."""
    gang = state.gang_of.pop(key, None)
    if gang is None:
        return
    del gang.live[key]
    if outcome is JobState.SUCCEEDED:
        gang.succeeded += 1
        gang.back(key)
    elif gang.on_failure is OnFailure.COMPENSATE and gang.live:
        _inherit(gang, gang.members.index(key))
    if gang.leader == key:
        gang.leader = JobKey(0)
    if gang.live:
        state.touched[gang.name] = None
    else:
        del state.gangs[gang.name]
