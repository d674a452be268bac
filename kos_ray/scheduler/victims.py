"""Who may be asked to make room, what that costs, and the decisions that ask them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kos_ray.model import decisions as d
from kos_ray.model.ids import JobKey, NodeId
from kos_ray.model.job import SlotKind
from kos_ray.model.policy import Against
from kos_ray.model.reasons import Reason
from kos_ray.model.resources import add
from kos_ray.scheduler.gangs import falling
from kos_ray.scheduler.jobs import Job
from kos_ray.scheduler.queues import count_ready
from kos_ray.scheduler.quota import ROOT
from kos_ray.scheduler.shares import paths
from kos_ray.scheduler.state import State

Used = dict[str, dict[str, int]]
#: how much is lost: see `Victim.harm`
Harm = tuple[int, int, int, int, int, int]
Cost = tuple[int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Victim:
    """An attempt that may be taken back, and by which right."""

    job: Job
    reason: Reason
    #: how much is lost, with its gang where that goes as one: 0 where it borrows what is the claimer's, 0 where its
    #: gang shrinks by it, its declared band (lower bands first), 1 where all of a gang goes that shrinks, work in share
    #: times microseconds, then the newest
    harm: Harm
    #: the rest of its gang, which cannot go on without it
    others: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to ask so that a job can run on a node."""

    node: NodeId
    victims: tuple[Victim, ...]


def leaving(victims: Iterable[Victim]) -> list[Job]:
    """Everybody who goes with these victims."""
    return list({job.key: job for victim in victims for job in (victim.job, *victim.others)}.values())


def once(victims: Iterable[Victim]) -> list[Victim]:
    """A gang that goes as one is met at each of its members."""
    return list({victim.job.key: victim for victim in victims}.values())


def count(used: Used, kind: SlotKind, times: int) -> None:
    """Count reservations of a kind for its namespace and all above it."""
    for name in (ROOT, *paths(kind.namespace)):
        add(used.setdefault(name, {}), kind.resources, times)


def cost(victims: list[Victim]) -> Cost:
    """Plans compared: the worst victim's right, band and kind, work lost, how many, and how recently they began."""
    return (
        *max(victim.harm[:4] for victim in victims),
        sum(victim.harm[4] for victim in victims),
        len(leaving(victims)),
        min(victim.harm[5] for victim in victims),
    )


def evictions(state: State, victims: Sequence[Victim], wanted_by: JobKey, target: NodeId) -> list[d.Decision]:
    """Ask victims to make room for a job on a node; gangs that cannot go on without them are stopped first."""
    groups: dict[tuple[NodeId, int, Reason], list[Job]] = {}
    reasons = {job.key: victim.reason for victim in victims for job in (victim.job, *victim.others)}
    for job in leaving(victims):
        assert job.node is not None
        grace_ms = job.entry.spec.grace_ms or state.policy.stop_grace_ms
        groups.setdefault((job.node, grace_ms, reasons[job.key]), []).append(job)
    asked = [
        d.Evict(
            node=node,
            keys=tuple(job.key for job in jobs),
            attempts=tuple(job.attempt for job in jobs),
            grace_ms=grace_ms,
            reason=reason,
            wanted_by=wanted_by,
            target=target,
        )
        for (node, grace_ms, reason), jobs in groups.items()
    ]
    return [*(falling(state, reasons, victims[0].reason) if state.gangs else ()), *asked]


def going(state: State, claimer: Job) -> list[Job]:
    """Those who were asked to make room and have not done so yet; and others who were asked to stop, if enough.

    Enough is as many as wait in the claimer's class: of that only the head is looked at, and it would hold up the rest.
    """
    asked: list[Job] = []
    others: list[Job] = []
    for key in state.stopping:
        job = state.jobs[key]
        if job.evicted_for is not None:
            asked.append(job)
        elif job.lane is not None and len(job.lane.held) <= job.lane.slots:
            # nothing waits ahead that would take its place
            others.append(job)
    enough = count_ready(claimer.job_class, state.jobs, len(others) + 1) <= len(others)
    return asked + others if enough else asked


def allows(against: Against, claimer: Job, job: Job) -> bool:
    """Whether a setting lets a claimer have a job make room."""
    if against is Against.ANY:
        return True
    lower = job.job_class.band > claimer.job_class.band
    if against is Against.LOWER_OR_NEWER:
        return lower or (job.job_class.band == claimer.job_class.band and job.since_us > claimer.since_us)
    return lower and against is Against.LOWER
