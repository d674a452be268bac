"""What is changed for a job that is tried again: more memory, or rather another host than the one that was lost.

Both are a class of its own: which class a job stands in is part of the state, so nothing else has to be kept, and jobs
to which nothing happens pay nothing.
"""

from dataclasses import replace

from kos_ray.model.node import HOST
from kos_ray.model.resources import UNIT, Resources
from kos_ray.model.where import ANYWHERE, Selector
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.queues import class_named, reclass
from kos_ray.scheduler.state import State

#: how much other hosts are preferred: as much as a preference may count that people write
_RATHER = 100
_MEMORY = "memory"


def avoid(state: State, job: Job, host: str) -> None:
    """Let a job start elsewhere than on a host, if anything else would do; members of gangs stay alike."""
    if not host or job.key in state.gang_of:
        return
    name = job.job_class.name
    where = name.where or ANYWHERE
    mine = [one for one in where.labels if (one.label, one.negated, one.weight) == (HOST, True, _RATHER)]
    hosts = sorted({host, *(value for one in mine for value in one.values)})
    rather = Selector(HOST, tuple(hosts), negated=True, weight=_RATHER)
    labels = (*(one for one in where.labels if one not in mine), rather)
    reclass(state, job, class_named(state, replace(name, where=replace(where, labels=labels))))


def more_memory(state: State, job: Job) -> int | None:
    """What a job that ran out of memory is to hold next, in 1/10 000 bytes; None where it is at its limit.

    0 where it goes on with what it had: nobody said otherwise, it said nothing of memory, or it is of a gang.
    """
    wanted = job.entry.spec.on_oom
    amount = dict(job.job_class.kind.resources.amounts).get(_MEMORY, 0)
    if wanted is None or not amount or job.key in state.gang_of:
        return 0
    raised = amount * wanted.thousandths // 1_000
    if wanted.most:
        raised = min(raised, wanted.most * UNIT)
    return raised if raised > amount else None


def raise_memory(state: State, job: Job, amount: int) -> None:
    """Let a job hold so much memory from its next attempt on."""
    name = job.job_class.name
    amounts = dict(name.kind.resources.amounts) | {_MEMORY: amount}
    kind = replace(name.kind, resources=Resources.from_amounts(amounts))
    reclass(state, job, class_named(state, replace(name, kind=kind)))
